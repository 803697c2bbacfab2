/**
 * Which of core's inodes has which handle. A file goes by its fileid; if that is another's in memory, whose handle is stale or who is on another
 * filesystem of the export, by a number that no fileid has.
 */
import { Errno, Gfp, type Inode, type Memory, type NegErrno, SlabCache, type TaskContext } from '@tidemark/core';
import { isSameHandle, NfsNode, NODE_BYTES } from './nfs-node.js';

const ALIAS_FIRST = 2 ** 52;
const ATTEMPTS = 8;

export class InodeTable {
  readonly #memory: Memory;
  readonly #nodes: SlabCache<NfsNode>;
  readonly #byIno = new Map<number, NfsNode>();
  /** Numbers given to files whose fileid another has; of those in memory. */
  readonly #aliases = new Map<number, NfsNode>();
  #nextAlias = ALIAS_FIRST;

  constructor(memory: Memory, name: string) {
    this.#memory = memory;
    this.#nodes = new SlabCache(memory.frameSource(Gfp.SLAB), {
      name: `nodes of ${name}`,
      objectBytes: NODE_BYTES,
      create: () => new NfsNode(),
      reset: (node) => node.reset(),
    });
  }

  /** Nodes in memory. */
  get nodes(): Iterable<NfsNode> {
    return this.#byIno.values();
  }

  /** The node of a handle, if it is in memory. */
  find(fileid: number, handle: Uint8Array): NfsNode | null {
    const node = this.#byIno.get(fileid);
    if (node !== undefined && isSameHandle(node.handle, handle)) return node;
    for (const alias of this.#aliases.values()) if (alias.fileid === fileid && isSameHandle(alias.handle, handle)) return alias;
    return null;
  }

  /** The number a file goes by. */
  numberOf(fileid: number, handle: Uint8Array): number {
    const known = this.find(fileid, handle);
    if (known !== null) return known.ino;
    return fileid > 0 && !this.#byIno.has(fileid) ? fileid : this.newNumber();
  }

  /** A number that nobody has. */
  newNumber(): number {
    while (this.#byIno.has(this.#nextAlias)) this.#nextAlias++;
    return this.#nextAlias++;
  }

  /** A node for an inode whose number is set. @returns it; `-ENOMEM`; the errno of the task's signal. */
  async add(task: TaskContext, inode: Inode, fileid: number, handle: Uint8Array): Promise<NfsNode | NegErrno> {
    const node = await this.#alloc(task);
    if (typeof node === 'number') return node;
    node.inode = inode;
    node.handle = handle;
    node.fileid = fileid;
    node.ino = inode.ino;
    inode.priv = node;
    inode.generation = hashOf(handle);
    this.#byIno.set(node.ino, node);
    if (node.ino !== fileid) this.#aliases.set(node.ino, node);
    return node;
  }

  async #alloc(task: TaskContext): Promise<NfsNode | NegErrno> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const node = this.#nodes.alloc();
      if (node !== null) return node;
      const ended = task.checkSignal();
      if (ended !== 0) return ended;
      await this.#memory.makeRoom(task, 1);
    }
    return -Errno.ENOMEM;
  }

  /** The inode leaves memory. */
  remove(inode: Inode): void {
    const node = inode.priv as NfsNode | null;
    if (node === null) return;
    inode.priv = null;
    if (this.#byIno.get(node.ino) === node) this.#byIno.delete(node.ino);
    this.#aliases.delete(node.ino);
    this.#nodes.free(node);
  }

  dispose(): void {
    this.#nodes.dispose();
  }
}

/** FNV-1a: tells two files apart that have one number one after the other. */
function hashOf(handle: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of handle) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
