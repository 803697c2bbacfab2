/**
 * What the kernel knows files by: a number for each file it has been told of, counted as often as it was told, until it forgets.
 *
 * | a node | holds its inode |
 * |---|---|
 * | the root | always |
 * | of a file that is open | yes |
 * | of a file whose last name was taken away through this mount | until the kernel forgets it: somebody may stand in a removed directory |
 * | any other | no: it is found again by number and generation, and is ESTALE if it is another file by then |
 *
 * So what the kernel remembers keeps no inodes in memory, only these small objects, which are charged for. If there is no memory for one more,
 * the file cannot be looked at (ENOMEM).
 */
import {
  Errno,
  type FileLocks,
  Gfp,
  type Inode,
  type Memory,
  type NegErrno,
  SlabCache,
  type Steps,
  settle,
  type TaskContext,
  type Vfs,
} from '@tidemark/core';
import { ROOT_NODE_ID } from '../protocol/constants.js';
import type { LockOwner } from './locks.js';

/** Bytes of the JS heap: the object, its places in two tables, its name. */
const NODE_BYTES = 320;
/** Files of different filesystems in one mount must not look like one file: numbers of all but the root's are this far apart. */
const INO_SPACE = 2 ** 44;
/** Times memory is asked for before a node is refused. */
const ATTEMPTS = 8;

/** One file that the kernel knows. */
export class Node {
  id = 0;
  fsid = 0;
  ino = 0;
  generation = 0;
  /** Times the kernel was told of it and has not forgotten. */
  nrLookups = 0;
  /** Handles that are open on it. */
  nrOpen = 0;
  /** With a reference, while it is to be kept. */
  inode: Inode | null = null;
  /** The kernel's pages of it are what is in it: nobody else has changed it since it was last opened. */
  isCacheTrue = false;
  /** Locks of the whole file, and who has locks of any kind; made with the first. */
  wholeLocks: FileLocks | null = null;
  lockOwners: Map<string, LockOwner> | null = null;

  reset(): void {
    this.inode = this.wholeLocks = this.lockOwners = null;
    this.id = this.fsid = this.ino = this.generation = this.nrLookups = this.nrOpen = 0;
    this.isCacheTrue = false;
  }
}

export class Nodes {
  readonly root: Node;
  readonly #vfs: Vfs;
  readonly #memory: Memory;
  readonly #slab: SlabCache<Node>;
  readonly #rootFsid: number;
  readonly #byId = new Map<number, Node>();
  /** By filesystem, then by number of the inode. */
  readonly #byIno = new Map<number, Map<number, Node>>();
  #lastId = ROOT_NODE_ID;

  /** Takes over the caller's reference to `root`. @throws KernelError ENOMEM. */
  constructor(vfs: Vfs, memory: Memory, root: Inode) {
    this.#vfs = vfs;
    this.#memory = memory;
    this.#slab = new SlabCache(memory.frameSource(Gfp.SLAB), {
      name: 'fuse node',
      objectBytes: NODE_BYTES,
      create: () => new Node(),
      reset: (node) => node.reset(),
    });
    this.#rootFsid = root.superblock.fsid;
    const node = this.#slab.alloc();
    if (node === null) throw memory.shortOf('a node of a fuse mount', 1);
    this.root = node;
    this.#enter(this.root, ROOT_NODE_ID, root);
    this.root.nrLookups = 1;
    this.root.inode = root;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Frames charged. */
  get nrFrames(): number {
    return this.#slab.nrFrames;
  }

  #enter(node: Node, id: number, inode: Inode): void {
    node.id = id;
    node.fsid = inode.superblock.fsid;
    node.ino = inode.ino;
    node.generation = inode.generation;
    this.#byId.set(id, node);
    this.#table(node.fsid).set(node.ino, node);
  }

  #table(fsid: number): Map<number, Node> {
    let table = this.#byIno.get(fsid);
    if (table === undefined) {
      table = new Map();
      this.#byIno.set(fsid, table);
    }
    return table;
  }

  /** The node of a number from the kernel, or null. */
  byId(id: number): Node | null {
    return this.#byId.get(id) ?? null;
  }

  /** The node of an inode, if the kernel has been told of it. */
  of(inode: Inode): Node | null {
    const node = this.#byIno.get(inode.superblock.fsid)?.get(inode.ino);
    return node !== undefined && node.generation === inode.generation ? node : null;
  }

  /** The number of a file as programs see it. */
  inoOf(inode: Inode): number {
    const { fsid } = inode.superblock;
    return fsid === this.#rootFsid ? inode.ino : inode.ino + fsid * INO_SPACE;
  }

  /** The kernel is about to be told of a file: its node, counted once more. `-ENOMEM`; the errno of the task's signal. */
  *grant(task: TaskContext, inode: Inode): Steps<Node | NegErrno> {
    for (let attempt = 0; ; attempt++) {
      const known = this.of(inode);
      const node = known ?? this.#slab.alloc(task);
      if (node !== null) {
        if (known === null) this.#enter(node, ++this.#lastId, inode);
        node.nrLookups++;
        return node;
      }
      const ended = attempt === ATTEMPTS ? -Errno.ENOMEM : task.checkSignal();
      if (ended !== 0) return ended;
      yield* settle(this.#memory.makeRoom(task, 1));
    }
  }

  /** The kernel has forgotten a node so many times. */
  forget(node: Node, nrLookups: number): void {
    node.nrLookups = Math.max(node.nrLookups - nrLookups, 0);
    this.#dropIfUnused(node);
  }

  #dropIfUnused(node: Node): void {
    if (node.nrLookups > 0 || node.nrOpen > 0 || node === this.root) return;
    this.#letGo(node);
    this.#byId.delete(node.id);
    const table = this.#byIno.get(node.fsid);
    if (table?.get(node.ino) === node) table.delete(node.ino);
    this.#slab.free(node);
  }

  #letGo(node: Node): void {
    const { inode } = node;
    node.inode = null;
    inode?.superblock.put(inode);
  }

  /** The inode of a node, with a reference; `-ESTALE` if it is gone. */
  *inode(task: TaskContext, node: Node): Steps<Inode | NegErrno> {
    const { inode, fsid, ino, generation } = node;
    if (inode === null) return yield* this.#vfs.byHandle(task, { fsid, ino, generation });
    inode.nrRefs++;
    return inode;
  }

  /** A file of the node was opened: the inode stays. */
  opened(node: Node, inode: Inode): void {
    node.nrOpen++;
    this.keep(node, inode);
  }

  /** A file of the node was closed. */
  closed(node: Node): void {
    node.nrOpen--;
    if (node.nrOpen === 0 && node !== this.root && node.inode !== null && node.inode.nlink > 0) this.#letGo(node);
    this.#dropIfUnused(node);
  }

  /** Keeps an inode for its node until the kernel forgets it. */
  keep(node: Node, inode: Inode): void {
    if (node.inode !== null) return;
    inode.nrRefs++;
    node.inode = inode;
  }

  /** A name of an inode was taken away through this mount; if it was the last one, the inode stays for who knows it. */
  lostName(inode: Inode): void {
    if (inode.nlink > 0 && !inode.isDead) return;
    const node = this.of(inode);
    if (node !== null) this.keep(node, inode);
  }

  /** Lets go of everything: the mount is over. */
  dispose(): void {
    for (const node of this.#byId.values()) this.#letGo(node);
    for (const node of this.#byId.values()) this.#slab.free(node);
    this.#byId.clear();
    this.#byIno.clear();
    this.#slab.dispose();
  }
}
