/**
 * A mounted export as core sees it (`SuperblockOps`). Others change the tree as well, so attributes and names are refreshed before they are
 * believed; permissions are the server's to judge (ACCESS), by the credentials of the mount.
 */
import {
  Access as Want,
  type AddressSpaceOperations,
  type AttributeChange,
  decodeName,
  type DirectorySink,
  encodeName,
  Errno,
  type FileSystemRoom,
  type FoundEntry,
  type Inode,
  type MaybePromise,
  type Move,
  type NegErrno,
  type PinnedFile,
  type PinSpec,
  type SuperblockOps,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { type FileAttributes, type NewAttributes, timeOfMs } from '../protocol/attributes.js';
import { Access } from '../protocol/nfs3-constants.js';
import type { DirectoryReader } from './directory-reader.js';
import { FilePages } from './file-pages.js';
import type { InodeTable } from './inode-table.js';
import type { NameChanges } from './name-changes.js';
import type { NfsParts } from './nfs-parts.js';
import { pinInode } from './pinned-file.js';
import { isSameHandle, type NfsNode, nodeOf } from './nfs-node.js';

/** Times attributes are asked for until they are not older than a change of our own. */
const ATTEMPTS = 4;
const PERMISSION_BITS = 0o7777;

/** What a lookup found, for `readInode` and `refresh`. */
interface Found {
  readonly handle: Uint8Array;
  readonly attributes: FileAttributes;
  readonly startedAt: number;
}

/** What has happened since the mount. */
export interface NfsStatistics {
  readonly nrRetransmissions: number;
  readonly nrReplays: number;
  readonly nrCommits: number;
  readonly nrLosses: number;
  readonly nrJukebox: number;
  /** Pages that the server has and may lose, now. */
  readonly nrUnstablePages: number;
}

/** What a volume is mounted with, and how it is taken down. */
export interface NfsMounting {
  readonly rootHandle: Uint8Array;
  readonly rootFileid: number;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly maxFileSizeBytes: number;
  readonly maxLinks: number;
  readonly writeout: SuperblockOps['writeout'];
  /** For how long what READDIRPLUS said of an entry is believed. */
  readonly primedMs: number;
  /** Its nodes were admitted to the writeout graph. */
  admitted(): void;
  close(task: TaskContext, isForced: boolean): Promise<void>;
}

export class NfsVolume implements SuperblockOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly rootIno: number;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly maxFileSizeBytes: number;
  readonly maxLinks: number;
  readonly updatesAtOnce = false;
  readonly flushesOnClose = true;
  readonly writeout: SuperblockOps['writeout'];
  /** Pinned files have calls of their own: they need the connection, and none of the units of ordinary writeout. */
  readonly pinsThrough: WriteoutNode;

  constructor(
    readonly parts: NfsParts,
    readonly mounting: NfsMounting,
    readonly table: InodeTable,
    readonly reader: DirectoryReader,
    readonly changes: NameChanges,
  ) {
    this.name = parts.name;
    this.rootIno = mounting.rootFileid > 0 ? mounting.rootFileid : table.newNumber();
    this.readOnly = mounting.readOnly;
    this.blockSizeBytes = mounting.blockSizeBytes;
    this.maxFileSizeBytes = mounting.maxFileSizeBytes;
    this.maxLinks = mounting.maxLinks;
    this.writeout = mounting.writeout;
    this.pinsThrough = parts.nodes.rpc;
  }

  async readInode(task: TaskContext, inode: Inode, hint: unknown): Promise<0 | NegErrno> {
    const { rootHandle, rootFileid } = this.mounting;
    const found = hint as Found | null;
    if (found === null && inode.ino !== this.rootIno) return -Errno.ESTALE; // handles are not to be had by number
    if (found === null) this.mounting.admitted(); // core reads the root when it has admitted our nodes, and not before
    const node = await this.table.add(task, inode, found?.attributes.fileid ?? rootFileid, found?.handle ?? rootHandle);
    if (typeof node === 'number') return node;
    if (found !== null && this.parts.cache.absorb(node, found.attributes, found.startedAt)) return 0;
    const status = await this.#ask(task, node);
    if (status < 0) this.table.remove(inode);
    return status;
  }

  refresh(task: TaskContext, inode: Inode, hint: unknown): MaybePromise<0 | NegErrno> {
    const node = nodeOf(inode);
    const found = hint as Found | null;
    if (found !== null) {
      if (!isSameHandle(found.handle, node.handle)) return -Errno.ESTALE;
      this.parts.cache.absorb(node, found.attributes, found.startedAt);
    }
    return this.parts.cache.isFresh(node) ? 0 : this.#refresh(task, inode, node);
  }

  async #refresh(task: TaskContext, inode: Inode, node: NfsNode): Promise<0 | NegErrno> {
    const status = await this.#ask(task, node);
    return status < 0 ? status : this.#dropSuspect(task, inode, node);
  }

  /** Lets go of contents that others may have changed. */
  async #dropSuspect(task: TaskContext, inode: Inode, node: NfsNode): Promise<0 | NegErrno> {
    if (!node.isDataSuspect) return 0;
    node.isDataSuspect = false;
    const status = (await inode.pages?.invalidate(task)) ?? 0;
    return status === -Errno.EBUSY || status === -Errno.EBADF ? 0 : status; // what is dirty is ours, and stays
  }

  /** Asks for attributes, until they tell of no state before a change of our own. */
  async #ask(task: TaskContext, node: NfsNode): Promise<0 | NegErrno> {
    const { calls, cache } = this.parts;
    node.isStale = false; // what one reply has said another one may take back
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const reply = await calls.getAttributes(task, node.handle);
      if (typeof reply === 'number') return reply;
      if (reply.ok === null) return this.#failed(node, reply.status);
      if (cache.absorb(node, reply.ok, reply.startedAt)) break;
    }
    return node.isStale ? this.#failed(node, -Errno.ESTALE) : 0;
  }

  /** A file that the server does not know any more: whoever comes by its name asks for it again. */
  #failed(node: NfsNode, status: NegErrno): NegErrno {
    if (status !== -Errno.ESTALE || node.inode === null) return status;
    node.isStale = true;
    for (const { inode } of this.table.nodes) if (inode?.isDirectory) inode.entriesStamp++;
    return status;
  }

  forget(inode: Inode): void {
    this.table.remove(inode);
  }

  deleteInode(task: TaskContext, inode: Inode): Promise<0 | NegErrno> {
    return this.changes.removeSilly(task, nodeOf(inode));
  }

  /** Before a file is opened: close-to-open consistency, and the server's word on whether it may be. */
  async open(task: TaskContext, inode: Inode, wanted: number, isNew: boolean): Promise<0 | NegErrno> {
    const node = nodeOf(inode);
    const status = isNew ? 0 : await this.#mayOpen(task, inode, node, wanted);
    if (status === 0) node.nrOpen++;
    return status;
  }

  async #mayOpen(task: TaskContext, inode: Inode, node: NfsNode, wanted: number): Promise<0 | NegErrno> {
    const { calls, cache } = this.parts;
    const reads = (wanted & Want.READ) !== 0 ? Access.READ : 0;
    const writes = (wanted & Want.WRITE) !== 0 ? Access.MODIFY | Access.EXTEND : 0;
    const bits = reads | writes | (inode.isDirectory ? Access.LOOKUP : Access.EXECUTE);
    const reply = await calls.access(task, node.handle, bits);
    if (typeof reply === 'number') return reply;
    const { ok, status, startedAt } = reply;
    if (ok === null) return this.#failed(node, status);
    if (!cache.absorb(node, ok.attributes, startedAt)) {
      const asked = await this.#ask(task, node);
      if (asked < 0) return asked;
    }
    const isReadable = (ok.allowed & (inode.isDirectory ? Access.READ : Access.READ | Access.EXECUTE)) !== 0;
    if (reads !== 0 && !isReadable) return -Errno.EACCES;
    if (writes !== 0 && (ok.allowed & writes) !== writes) return -Errno.EACCES;
    return this.#dropSuspect(task, inode, node);
  }

  close(inode: Inode): void {
    const node = inode.priv as NfsNode | null;
    if (node !== null) node.nrOpen--;
  }

  async lookup(task: TaskContext, dir: Inode, name: string, found: FoundEntry): Promise<0 | NegErrno> {
    const { calls, cache } = this.parts;
    const node = nodeOf(dir);
    const primed = this.reader.takePrimed(dir, name, this.mounting.primedMs);
    if (primed !== null) return this.#found(found, primed);
    const reply = await calls.lookup(task, node.handle, encodeName(name));
    if (typeof reply === 'number') return reply;
    const { ok, failure, status, startedAt } = reply;
    cache.absorb(node, ok === null ? failure.first.after : ok.directory, startedAt);
    if (ok === null) return this.#failed(node, status);
    if (ok.attributes !== null) return this.#found(found, { handle: ok.handle, attributes: ok.attributes, startedAt });
    const asked = await calls.getAttributes(task, ok.handle);
    if (typeof asked === 'number') return asked;
    if (asked.ok === null) return asked.status;
    return this.#found(found, { handle: ok.handle, attributes: asked.ok, startedAt: asked.startedAt });
  }

  #found(found: FoundEntry, { handle, attributes, startedAt }: Found): 0 {
    found.ino = isSameHandle(handle, this.mounting.rootHandle) ? this.rootIno : this.table.numberOf(attributes.fileid, handle);
    found.hint = { handle, attributes, startedAt } satisfies Found;
    return 0;
  }

  readDirectory(task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): Promise<0 | NegErrno> {
    return this.reader.read(task, dir, cookie, sink);
  }

  create(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    return this.changes.create(task, dir, name, inode);
  }

  link(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    return this.changes.link(task, dir, name, inode);
  }

  remove(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    return this.changes.remove(task, dir, name, inode);
  }

  rename(task: TaskContext, move: Move): Promise<0 | NegErrno> {
    return this.changes.rename(task, move);
  }

  /** What was written before is written out first: it must not come after, and set the times again, or the size. */
  async setAttributes(task: TaskContext, inode: Inode, change: AttributeChange): Promise<0 | NegErrno> {
    const { calls, cache } = this.parts;
    const node = nodeOf(inode);
    let status: NegErrno = change.sizeBytes !== undefined && node.nrPins > 0 ? -Errno.ETXTBSY : 0;
    const { pages } = inode;
    if (status === 0 && pages !== null && (pages.nrDirty > 0 || node.nrWriting > 0)) {
      await pages.sync(task, pages.errorCursor()); // a failure is the file's openers' to hear of
      status = task.checkSignal();
    }
    const reply = status < 0 ? status : await calls.setAttributes(task, node.handle, newAttributes(change));
    if (change.sizeBytes !== undefined) node.isResizing = false;
    if (typeof reply !== 'number') {
      cache.absorbChange(node, reply.ok ?? reply.failure.first, reply.startedAt);
      status = reply.ok === null ? this.#failed(node, reply.status) : 0;
    } else status = reply;
    if (status < 0 && change.sizeBytes !== undefined) {
      if (node.known !== null) inode.sizeBytes = node.known.sizeBytes;
      cache.expire(node);
    }
    return status;
  }

  async readLink(task: TaskContext, inode: Inode): Promise<string | NegErrno> {
    const node = nodeOf(inode);
    const reply = await this.parts.calls.readLink(task, node.handle);
    if (typeof reply === 'number') return reply;
    const { ok, failure, status, startedAt } = reply;
    this.parts.cache.absorb(node, ok === null ? failure.first.after : ok.attributes, startedAt);
    if (ok === null) return this.#failed(node, status);
    return ok.target.includes(0) ? -Errno.EPROTO : decodeName(ok.target);
  }

  addressSpace(inode: Inode): AddressSpaceOperations {
    return new FilePages(this.parts, inode, nodeOf(inode));
  }

  async room(task: TaskContext): Promise<FileSystemRoom | NegErrno> {
    const reply = await this.parts.calls.status(task, this.mounting.rootHandle);
    if (typeof reply === 'number') return reply;
    if (reply.ok === null) return reply.status;
    const { totalBytes, freeBytes, availableBytes, totalFiles, freeFiles } = reply.ok;
    return { totalBytes, freeBytes, availableBytes, totalInodes: totalFiles, freeInodes: freeFiles };
  }

  /** What was changed was durable when it was answered, and pages are when they are written. */
  sync(): 0 {
    return 0;
  }

  /** Calls sent again over the same connection and over another, COMMITs and those that found something lost, answers that said "later". */
  get statistics(): NfsStatistics {
    const { calls, committer } = this.parts;
    const { nrRetransmissions, nrReplays } = calls;
    const { nrCommits, nrLosses, nrUnstablePages } = committer;
    return { nrRetransmissions, nrReplays, nrCommits, nrLosses, nrUnstablePages, nrJukebox: calls.nrJukebox };
  }

  /** Pins a regular file that core has brought to rest. */
  pin(task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile> {
    return pinInode(this.parts, task, inode, spec);
  }

  async unmount(task: TaskContext, isForced: boolean): Promise<0> {
    await this.mounting.close(task, isForced);
    return 0;
  }
}

function newAttributes({ mode, uid, gid, sizeBytes, accessedMs, modifiedMs }: AttributeChange): NewAttributes {
  return {
    mode: mode === undefined ? null : mode & PERMISSION_BITS,
    uid: uid ?? null,
    gid: gid ?? null,
    sizeBytes: sizeBytes ?? null,
    atime: accessedMs === undefined ? null : timeOfMs(accessedMs),
    mtime: modifiedMs === undefined ? null : timeOfMs(modifiedMs),
  };
}
