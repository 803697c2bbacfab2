/**
 * Changes of names: what makes, links, removes and renames.
 *
 * A call that was sent again, because its connection was lost, may find what it did itself the first time; a server that keeps replies says so,
 * one that has restarted cannot. Then the answer is looked at: a name that is there and means what was wanted is one that we have made.
 *
 * A file that is open when its last name goes is renamed to a name that nobody sees, and removed when it is closed (a "silly rename"): the
 * server knows of no open files.
 */
import {
  encodeName,
  Errno,
  FileType,
  type Inode,
  type Move,
  type NegErrno,
  PERMISSION_BITS,
  type RandomSource,
  S_ISGID,
  type TaskContext,
} from '@tidemark/core';
import { type FileAttributes, type NewAttributes, NO_CHANGE, typeOfMode, type WeakCacheData } from '../protocol/attributes.js';
import { CreateMode, NfsStatus, VERIFIER_BYTES } from '../protocol/nfs3-constants.js';
import type { CreateResult } from '../protocol/results.js';
import type { DirectoryReader } from './directory-reader.js';
import type { InodeTable } from './inode-table.js';
import type { NfsReply } from './nfs-calls.js';
import { isSameHandle, nodeOf, type NfsNode, type SillyName } from './nfs-node.js';
import type { NfsParts } from './nfs-parts.js';
import type { NfsTarget } from './url.js';

const MINORS = 2 ** 20;

/** A name on the server. */
interface There {
  readonly handle: Uint8Array;
  readonly attributes: FileAttributes;
  readonly startedAt: number;
}

export class NameChanges {
  readonly #hidden = new Set<string>();
  #hasExclusive = true;

  constructor(
    private readonly parts: NfsParts,
    private readonly target: NfsTarget,
    private readonly table: InodeTable,
    private readonly random: RandomSource,
    private readonly reader: () => DirectoryReader,
  ) {}

  /** True for a name of a removed file that is still open. */
  isHidden(dir: Inode, name: string): boolean {
    return this.#hidden.has(`${dir.ino}/${name}`);
  }

  #absorbChange(dir: Inode, wcc: WeakCacheData, startedAt: number): void {
    this.parts.cache.absorbChange(nodeOf(dir), wcc, startedAt);
  }

  /** What a name means to the server now. */
  async #look(task: TaskContext, directory: Uint8Array, name: string): Promise<There | NegErrno> {
    const { calls } = this.parts;
    const found = await calls.lookup(task, directory, encodeName(name));
    if (typeof found === 'number') return found;
    if (found.ok === null) return found.status;
    const { handle, attributes } = found.ok;
    if (attributes !== null) return { handle, attributes, startedAt: found.startedAt };
    const asked = await calls.getAttributes(task, handle);
    if (typeof asked === 'number') return asked;
    return asked.ok === null ? asked.status : { handle, attributes: asked.ok, startedAt: asked.startedAt };
  }

  async create(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    const directory = nodeOf(dir).handle;
    this.reader().forget(dir, name);
    const isFile = inode.isRegular;
    const attributes = this.#attributesOf(dir, inode);
    const reply = isFile
      ? await this.#createFile(task, directory, encodeName(name), attributes)
      : await this.#make(task, directory, encodeName(name), inode, attributes);
    if (typeof reply === 'number') return reply;
    this.#absorbChange(dir, reply.ok?.directory ?? reply.failure.first, reply.startedAt);
    if (reply.ok === null) {
      const isMaybeOurs = reply.wasSentAgain && reply.nfsStatus === NfsStatus.EXIST;
      if (!isMaybeOurs) return this.#refused(dir, reply.status);
    }
    const there = await this.#made(task, directory, name, reply);
    if (typeof there === 'number') return there;
    if (reply.ok === null && !(await this.#isOurs(task, there, inode))) return this.#refused(dir, reply.status);
    return this.#adopt(task, dir, name, inode, there, isFile && this.#hasExclusive ? attributes : null);
  }

  /** Somebody else was faster: what is cached of the directory is not true. */
  #refused(dir: Inode, status: NegErrno): NegErrno {
    if (status === -Errno.EEXIST || status === -Errno.ENOENT) {
      dir.entriesStamp++;
      this.parts.cache.expire(nodeOf(dir));
    }
    return status;
  }

  /** Exclusively, by a verifier: sent again it finds its own file. Then it has no attributes yet. */
  async #createFile(
    task: TaskContext,
    directory: Uint8Array,
    name: Uint8Array,
    attributes: NewAttributes,
  ): Promise<NfsReply<CreateResult> | NegErrno> {
    const { calls } = this.parts;
    if (this.#hasExclusive) {
      const verifier = new Uint8Array(VERIFIER_BYTES);
      this.random.fill(verifier);
      const reply = await calls.create(task, { directory, name, mode: CreateMode.EXCLUSIVE, attributes: null, verifier });
      if (typeof reply === 'number' || reply.nfsStatus !== NfsStatus.NOTSUPP) return reply;
      this.#hasExclusive = false;
    }
    return calls.create(task, { directory, name, mode: CreateMode.GUARDED, attributes, verifier: null });
  }

  #make(
    task: TaskContext,
    directory: Uint8Array,
    name: Uint8Array,
    inode: Inode,
    attributes: NewAttributes,
  ): Promise<NfsReply<CreateResult> | NegErrno> {
    const { calls } = this.parts;
    const where = { directory, name, attributes };
    if (inode.isDirectory) return calls.makeDirectory(task, where);
    if (inode.isSymlink) return calls.makeSymlink(task, { ...where, target: encodeName(inode.linkTarget ?? '') });
    const rdevMajor = Math.floor(inode.rdev / MINORS);
    return calls.makeNode(task, { ...where, type: typeOfMode(inode.mode), rdevMajor, rdevMinor: inode.rdev % MINORS });
  }

  /** Who owns it is the server's to say, unless it is to be another than the superuser who calls. */
  #attributesOf(dir: Inode, { mode, uid, gid }: Inode): NewAttributes {
    return {
      ...NO_CHANGE,
      mode: mode & PERMISSION_BITS,
      uid: uid === 0 || this.target.uid !== 0 ? null : uid,
      gid: gid === this.target.gid || this.target.uid !== 0 || (dir.mode & S_ISGID) !== 0 ? null : gid,
    };
  }

  async #made(
    task: TaskContext,
    directory: Uint8Array,
    name: string,
    { ok, startedAt }: NfsReply<CreateResult>,
  ): Promise<There | NegErrno> {
    if (ok === null || ok.handle === null) return this.#look(task, directory, name);
    const { handle, attributes } = ok;
    if (attributes !== null) return { handle, attributes, startedAt };
    const asked = await this.parts.calls.getAttributes(task, handle);
    if (typeof asked === 'number') return asked;
    return asked.ok === null ? asked.status : { handle, attributes: asked.ok, startedAt: asked.startedAt };
  }

  /** What is there is what was to be made. */
  async #isOurs(task: TaskContext, { handle, attributes }: There, inode: Inode): Promise<boolean> {
    if ((attributes.mode & FileType.MASK) !== (inode.mode & FileType.MASK)) return false;
    if (inode.isRegular) return false; // an exclusive creation knows for itself
    if (inode.isDirectory) return attributes.nlink <= 2 && (attributes.mode & 0o777) === (inode.mode & 0o777);
    if (!inode.isSymlink) return attributes.rdevMajor * MINORS + attributes.rdevMinor === inode.rdev;
    const read = await this.parts.calls.readLink(task, handle);
    return typeof read !== 'number' && read.ok !== null && isSameHandle(read.ok.target, encodeName(inode.linkTarget ?? ''));
  }

  /** The new inode has its number, and what the server says of it. @param pending attributes that are still to be set. */
  async #adopt(
    task: TaskContext,
    dir: Inode,
    name: string,
    inode: Inode,
    there: There,
    pending: NewAttributes | null,
  ): Promise<0 | NegErrno> {
    const { calls, cache } = this.parts;
    const { handle, attributes, startedAt } = there;
    inode.ino =
      this.table.find(attributes.fileid, handle) === null ? this.table.numberOf(attributes.fileid, handle) : this.table.newNumber();
    const node = await this.table.add(task, inode, attributes.fileid, handle);
    if (typeof node === 'number') return node;
    let status: NegErrno = 0;
    if (pending === null) cache.absorb(node, attributes, startedAt);
    else {
      const set = await calls.setAttributes(task, handle, { ...pending, atime: 'server', mtime: 'server' });
      if (typeof set === 'number') status = set;
      else {
        status = set.status;
        if (set.ok?.after !== undefined && set.ok.after !== null) cache.absorb(node, set.ok.after, set.startedAt);
        else if (status === 0) cache.absorb(node, attributes, startedAt);
      }
    }
    if (status === 0 && node.known !== null && !node.isStale) return 0;
    this.table.remove(inode);
    const removed = await calls.remove(task, { directory: nodeOf(dir).handle, name: encodeName(name) }, false);
    if (typeof removed !== 'number') this.#absorbChange(dir, removed.ok ?? removed.failure.first, removed.startedAt);
    return status || -Errno.EPROTO;
  }

  async link(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    const { calls, cache } = this.parts;
    const node = nodeOf(inode);
    const directory = nodeOf(dir).handle;
    this.reader().forget(dir, name);
    const reply = await calls.link(task, { handle: node.handle, to: { directory, name: encodeName(name) } });
    if (typeof reply === 'number') return reply;
    const { ok, failure, startedAt, nfsStatus, wasSentAgain } = reply;
    this.#absorbChange(dir, ok?.directory ?? failure.second, startedAt);
    const after = ok === null ? failure.first.after : ok.attributes;
    this.parts.cache.absorbChange(node, { before: null, after }, startedAt);
    let { status } = reply;
    if (status < 0 && wasSentAgain && nfsStatus === NfsStatus.EXIST) {
      const there = await this.#look(task, directory, name);
      if (typeof there !== 'number' && isSameHandle(there.handle, node.handle)) status = 0;
    }
    if (status < 0) return this.#refused(dir, status);
    if (after === null) {
      inode.nlink++;
      cache.expire(node);
    }
    return 0;
  }

  async remove(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    const node = nodeOf(inode);
    this.reader().forget(dir, name);
    if (!inode.isDirectory && (node.nrOpen > 0 || node.nrPins > 0)) {
      const asked = await this.#freshLinks(task, node);
      if (asked < 0) return asked;
      if (inode.nlink <= 1) return this.#hide(task, dir, name, inode);
    }
    const { isDirectory } = inode;
    const reply = await this.parts.calls.remove(task, { directory: nodeOf(dir).handle, name: encodeName(name) }, isDirectory);
    if (typeof reply === 'number') return reply;
    const { ok, failure, startedAt, status, nfsStatus, wasSentAgain } = reply;
    this.#absorbChange(dir, ok ?? failure.first, startedAt);
    const isGone = status === 0 || (wasSentAgain && nfsStatus === NfsStatus.NOENT);
    if (!isGone) return this.#refused(dir, status);
    this.#lostName(node, inode);
    return 0;
  }

  async #freshLinks(task: TaskContext, node: NfsNode): Promise<0 | NegErrno> {
    const asked = await this.parts.calls.getAttributes(task, node.handle);
    if (typeof asked === 'number') return asked;
    if (asked.ok === null) return asked.status;
    this.parts.cache.absorb(node, asked.ok, asked.startedAt);
    return 0;
  }

  #lostName(node: NfsNode, inode: Inode): void {
    inode.nlink = inode.isDirectory ? 0 : Math.max(inode.nlink - 1, 0);
    node.changedAt = this.parts.calls.serial;
    this.parts.cache.expire(node);
  }

  /** The last name of an open file: it gets one that nobody sees. */
  async #hide(task: TaskContext, dir: Inode, name: string, inode: Inode): Promise<0 | NegErrno> {
    const node = nodeOf(inode);
    const directory = nodeOf(dir).handle;
    const bytes = new Uint8Array(8);
    this.random.fill(bytes);
    const silly = `.nfs${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
    const key = `${dir.ino}/${silly}`;
    this.#hidden.add(key);
    const from = { directory, name: encodeName(name) };
    const status = await this.#rename(task, dir, dir, from, { directory, name: encodeName(silly) }, node);
    if (status < 0) {
      this.#hidden.delete(key);
      return this.#refused(dir, status);
    }
    node.silly = { directory, name: silly, key };
    inode.nlink = 0;
    this.parts.cache.expire(node);
    return 0;
  }

  /** A hidden file is closed. */
  async removeSilly(task: TaskContext, node: NfsNode): Promise<0 | NegErrno> {
    const { silly } = node;
    if (silly === null) return 0;
    const reply = await this.parts.calls.remove(task, { directory: silly.directory, name: encodeName(silly.name) }, false);
    this.#hidden.delete(silly.key);
    node.silly = null;
    for (const { inode, handle } of this.table.nodes)
      if (inode?.isDirectory && isSameHandle(handle, silly.directory) && typeof reply !== 'number')
        this.#absorbChange(inode, reply.ok ?? reply.failure.first, reply.startedAt);
    if (typeof reply === 'number') return reply;
    return reply.nfsStatus === NfsStatus.NOENT ? 0 : reply.status;
  }

  async rename(task: TaskContext, { fromDir, fromName, inode, toDir, toName, replaced, isExchange }: Move): Promise<0 | NegErrno> {
    if (isExchange) return -Errno.EINVAL;
    this.reader().forget(fromDir, fromName);
    this.reader().forget(toDir, toName);
    const old = replaced === null ? null : nodeOf(replaced);
    if (replaced !== null && old !== null && !replaced.isDirectory && (old.nrOpen > 0 || old.nrPins > 0)) {
      const asked = await this.#freshLinks(task, old);
      if (asked < 0) return asked;
      const hidden = replaced.nlink <= 1 ? await this.#hide(task, toDir, toName, replaced) : 0;
      if (hidden < 0) return hidden;
    }
    const from = { directory: nodeOf(fromDir).handle, name: encodeName(fromName) };
    const to = { directory: nodeOf(toDir).handle, name: encodeName(toName) };
    const status = await this.#rename(task, fromDir, toDir, from, to, nodeOf(inode));
    if (status < 0) {
      if (old !== null && replaced !== null && old.silly !== null) await this.#unhide(task, toDir, to, old, replaced);
      toDir.entriesStamp++;
      return this.#refused(fromDir, status);
    }
    this.parts.cache.expire(nodeOf(inode));
    if (replaced !== null && old !== null && old.silly === null) this.#lostName(old, replaced);
    return 0;
  }

  /** What was hidden to be replaced is not replaced. */
  async #unhide(
    task: TaskContext,
    dir: Inode,
    to: { directory: Uint8Array; name: Uint8Array },
    node: NfsNode,
    inode: Inode,
  ): Promise<void> {
    const { name, directory, key } = node.silly as SillyName;
    const status = await this.#rename(task, dir, dir, { directory, name: encodeName(name) }, to, node);
    if (status < 0) return; // it stays hidden, and goes with its last opener
    this.#hidden.delete(key);
    node.silly = null;
    inode.nlink = 1;
  }

  async #rename(
    task: TaskContext,
    fromDir: Inode,
    toDir: Inode,
    from: { directory: Uint8Array; name: Uint8Array },
    to: { directory: Uint8Array; name: Uint8Array },
    node: NfsNode,
  ): Promise<0 | NegErrno> {
    const { calls } = this.parts;
    const reply = await calls.rename(task, { from, to });
    if (typeof reply === 'number') return reply;
    const { ok, failure, startedAt, status, nfsStatus, wasSentAgain } = reply;
    this.#absorbChange(fromDir, ok?.from ?? failure.first, startedAt);
    if (toDir !== fromDir) this.#absorbChange(toDir, ok?.to ?? failure.second, startedAt);
    if (status === 0 || !wasSentAgain || nfsStatus !== NfsStatus.NOENT) return status;
    const found = await calls.lookup(task, to.directory, to.name);
    const isDone = typeof found !== 'number' && found.ok !== null && isSameHandle(found.ok.handle, node.handle);
    return isDone ? 0 : status;
  }
}
