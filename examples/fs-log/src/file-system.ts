/** The operations of a mounted log. Names and attributes are in memory; a change is made there and recorded in the running transaction, in one step. */
import {
  type AddressSpaceOperations,
  type AttributeChange,
  type DirectorySink,
  Errno,
  type FileSystemRoom,
  type FoundEntry,
  type Inode,
  type MaybePromise,
  type Move,
  type NegErrno,
  nameBytes,
  PAGE_SIZE,
  type PinnedFile,
  type PinSpec,
  type SuperblockOps,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { BLOCK, Kind } from './format.js';
import { entryBytes, LogNode, NODE_BYTES, nodeOf } from './node.js';
import { LogPages } from './pages.js';
import { pinFile } from './pinned.js';
import type { Volume } from './volume.js';

const ROOT_INO = 1;
const LINK_TARGET_MAX = 3_000;

export class LogFileSystem implements SuperblockOps {
  readonly apiVersion = 1;
  readonly rootIno = ROOT_INO;
  readonly readOnly = false;
  readonly blockSizeBytes = BLOCK;
  readonly maxFileSizeBytes = 2 ** 40;
  readonly maxLinks = 65_000;
  readonly updatesAtOnce = false;
  readonly name: string;
  readonly pinsThrough: WriteoutNode;

  constructor(
    readonly volume: Volume,
    readonly writeout: NonNullable<SuperblockOps['writeout']>,
  ) {
    this.name = volume.name;
    this.pinsThrough = volume.dataNode;
  }

  readInode(_task: TaskContext, inode: Inode): 0 | NegErrno {
    const node = this.volume.log.nodes.get(inode.ino);
    if (node === undefined) return -Errno.ESTALE;
    node.giveTo(inode);
    return 0;
  }

  forget(inode: Inode): void {
    if (inode.priv instanceof LogNode) inode.priv.inode = null;
  }

  lookup(_task: TaskContext, dir: Inode, name: string, found: FoundEntry): 0 | NegErrno {
    const { entries, parent } = nodeOf(dir);
    const ino = name === '..' ? parent : entries.get(name)?.ino;
    if (ino === undefined) return -Errno.ENOENT;
    found.ino = ino;
    return 0;
  }

  readDirectory(_task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): 0 {
    const entries = [...nodeOf(dir).entries].filter(([, entry]) => entry.cookie > cookie).sort(([, a], [, b]) => a.cookie - b.cookie);
    for (const [name, entry] of entries) {
      const type = this.volume.log.nodes.get(entry.ino)?.type ?? 0;
      if (!sink.add(name, entry.ino, type, entry.cookie)) break;
    }
    return 0;
  }

  /** Makes a change in one step, when its records fit into the running transaction and what it makes into the room for metadata. */
  #change(task: TaskContext, nrBytes: number, work: () => void): MaybePromise<0 | NegErrno> {
    const { log, room } = this.volume;
    if (!log.hasRoom) return log.begin(task).then((status) => (status < 0 ? status : this.#change(task, nrBytes, work)));
    const taken = room.take(nrBytes);
    if (taken === 0) work();
    return taken;
  }

  /** Records what core has set in inodes. */
  #record(...inodes: readonly Inode[]): void {
    for (const inode of inodes) {
      nodeOf(inode).takeFrom(inode);
      this.volume.log.add(Kind.INODE, ...nodeOf(inode).record);
    }
  }

  #setEntry(dir: Inode, name: string, ino: number): void {
    const node = nodeOf(dir);
    const cookie = ++node.nrCookies;
    node.entries.delete(name); // in the order of cookies
    node.entries.set(name, { ino, cookie });
    this.volume.log.add(Kind.ENTRY, [dir.ino, ino, cookie], name);
  }

  #dropEntry(dir: Inode, name: string): void {
    nodeOf(dir).entries.delete(name);
    this.volume.room.take(-entryBytes(name));
    this.volume.log.add(Kind.ENTRY, [dir.ino, 0, 0], name);
  }

  create(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    const target = inode.linkTarget ?? '';
    if (nameBytes(target) > LINK_TARGET_MAX) return -Errno.ENAMETOOLONG;
    return this.#change(task, NODE_BYTES + 2 * target.length + entryBytes(name), () => {
      const { log } = this.volume;
      const node = new LogNode(++log.lastIno);
      inode.ino = node.ino;
      inode.nlink = inode.isDirectory ? 2 : 1;
      inode.sizeBytes = nameBytes(target);
      node.parent = inode.isDirectory ? dir.ino : 0;
      node.linkTarget = target;
      node.takeFrom(inode);
      node.giveTo(inode);
      log.nodes.set(node.ino, node);
      if (inode.isDirectory) dir.nlink++;
      this.#record(inode, dir);
      this.#setEntry(dir, name, inode.ino);
    });
  }

  link(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#change(task, entryBytes(name), () => {
      inode.nlink++;
      this.#record(inode, dir);
      this.#setEntry(dir, name, inode.ino);
    });
  }

  /** An inode has lost its name in `dir`. */
  #unlinked(dir: Inode, inode: Inode): void {
    inode.nlink -= inode.isDirectory ? 2 : 1;
    if (inode.isDirectory) dir.nlink--;
    this.#record(inode);
  }

  remove(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    if (nodeOf(inode).entries.size > 0) return -Errno.ENOTEMPTY;
    return this.#change(task, 0, () => {
      this.#dropEntry(dir, name);
      this.#unlinked(dir, inode);
      this.#record(dir);
    });
  }

  rename(task: TaskContext, { fromDir, fromName, inode, toDir, toName, replaced, isExchange }: Move): MaybePromise<0 | NegErrno> {
    if (isExchange) return -Errno.EOPNOTSUPP;
    if (replaced !== null && nodeOf(replaced).entries.size > 0) return -Errno.ENOTEMPTY;
    return this.#change(task, replaced === null ? entryBytes(toName) : 0, () => {
      this.#dropEntry(fromDir, fromName);
      if (replaced !== null) this.#unlinked(toDir, replaced);
      if (inode.isDirectory) {
        fromDir.nlink--;
        toDir.nlink++;
        nodeOf(inode).parent = toDir.ino;
      }
      this.#setEntry(toDir, toName, inode.ino);
      this.#record(inode, fromDir, toDir);
    });
  }

  setAttributes(task: TaskContext, inode: Inode, change: AttributeChange): MaybePromise<0 | NegErrno> {
    return this.#change(task, 0, () => {
      if (change.sizeBytes !== undefined) this.#cut(inode, Math.ceil(change.sizeBytes / BLOCK), Math.ceil(change.sizeBytes / BLOCK));
      this.#record(inode);
    });
  }

  /** Gives up pages from one on, and says so. */
  #cut(inode: Inode, first: number, said: number): void {
    const { log } = this.volume;
    const node = nodeOf(inode);
    for (const page of [...node.map.keys()]) if (page >= first) log.unmap(node, page);
    log.add(Kind.CUT, [inode.ino, said]);
    inode.blocksBytes = node.map.size * BLOCK;
  }

  deleteInode(task: TaskContext, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#change(task, 0, () => {
      const { log, room } = this.volume;
      const node = nodeOf(inode);
      this.#cut(inode, 0, -1);
      log.dirty.delete(node);
      log.nodes.delete(node.ino);
      room.take(-NODE_BYTES - 2 * node.linkTarget.length);
    });
  }

  readLink(_task: TaskContext, inode: Inode): string {
    return nodeOf(inode).linkTarget;
  }

  addressSpace(inode: Inode): AddressSpaceOperations {
    return new LogPages(this.volume, inode);
  }

  pin(task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile> {
    return pinFile(this.volume, task, inode, spec);
  }

  room(): FileSystemRoom {
    const { space, room } = this.volume;
    const freeBytes = Math.max(space.nrSpare, 0) * PAGE_SIZE;
    const inodes = (nrBytes: number): number => Math.floor(nrBytes / (NODE_BYTES + entryBytes('a name of it')));
    return {
      totalBytes: (space.nrBlocks - space.nrRecordBlocks) * PAGE_SIZE,
      freeBytes,
      availableBytes: freeBytes,
      totalInodes: inodes(room.nrBytes),
      freeInodes: inodes(room.nrBytes - room.nrUsed),
    };
  }

  sync(task: TaskContext): Promise<0 | NegErrno> {
    return this.volume.log.sync(task);
  }

  async unmount(task: TaskContext, isForced: boolean): Promise<0 | NegErrno> {
    const { log, device } = this.volume;
    if (isForced) {
      log.failure ||= -Errno.EIO;
      await device.abort(); // nothing is in flight behind it
    }
    const status = await log.commit(task.withSignal(null));
    this.volume.takeDown();
    return isForced ? 0 : status;
  }
}
