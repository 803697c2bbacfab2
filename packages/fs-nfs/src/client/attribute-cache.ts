/**
 * The attribute cache: what replies say of a file becomes core's inode, and tells whether others have changed it.
 *
 * | a reply says | means |
 * |---|---|
 * | another mtime or size than is known | others wrote: what is cached of the contents goes before the next look at it |
 * | another mtime or ctime of a directory | others changed entries: cached names are asked for again |
 * | `wcc_data` whose "before" is a state we know or have made | the change was ours alone |
 * | `wcc_data` whose "before" nobody knows | others may have changed it in between, unless a reply that comes later explains it |
 * | attributes of a call that began before a change of ours ended | maybe a state of before it: believed only if its ctime is later |
 *
 * A size that the server tells counts unless we know better: while pages are dirty or on their way, the file is as long as we made it.
 */
import { type Clock, FILE_SIZE_MAX_BYTES, FileType, type Inode } from '@tidemark/core';
import {
  type FileAttributes,
  isSameTime,
  msOfTime,
  type NfsTime,
  type WeakAttributes,
  type WeakCacheData,
} from '../protocol/attributes.js';
import type { NfsNode } from './nfs-node.js';
import type { NfsTarget } from './url.js';

/** States kept of own changes, and of those nobody knows. */
const STATES_MAX = 16;
/** Device numbers as core has them. */
const MINORS = 2 ** 20;

export class AttributeCache {
  constructor(
    private readonly clock: Clock,
    private readonly target: NfsTarget,
    /** Which call is the latest. */
    private readonly latest: () => number,
  ) {}

  /** The attributes of a file are believed without asking. */
  isFresh(node: NfsNode): boolean {
    return !node.isStale && !node.isDataSuspect && this.clock.nowMs() - node.checkedAtMs < node.validForMs;
  }

  /** They are not, from now on. */
  expire(node: NfsNode): void {
    node.checkedAtMs = -Infinity;
  }

  /**
   * Takes over what a reply says that tells nothing of changes of our own.
   * @param startedAt of the call.
   * @returns false if that may be older than what is known.
   */
  absorb(node: NfsNode, attributes: FileAttributes | null, startedAt: number): boolean {
    const { inode, known } = node;
    if (attributes === null || inode === null) return false;
    if (this.#isOld(node, attributes, startedAt)) return false;
    const hasChanged = known !== null && !isSameState(known, attributes);
    if (hasChanged && !this.#isExplained(node, attributes)) {
      const isContent = !isSameContent(known, attributes);
      if (node.nrWriting === 0 && !node.isResizing) this.#othersChanged(node, inode, isContent);
      else if (isContent) this.#noteUnexplained(node, attributes); // maybe by a write of ours whose reply has not come
    }
    this.#take(node, inode, attributes, hasChanged);
    return true;
  }

  /** Takes over what the reply to a change of our own says. Only if it was alone does what is cached stay. */
  absorbChange(node: NfsNode, { before, after }: WeakCacheData, startedAt: number): void {
    const { inode, known } = node;
    if (inode === null) return;
    const isOld = after !== null && this.#isOld(node, after, startedAt);
    if (before !== null && !this.#isExplained(node, before)) {
      if (inode.isDirectory) this.#othersChanged(node, inode, true);
      else this.#noteUnexplained(node, before);
    }
    if (after !== null) {
      const at = node.unexplained.findIndex((state) => isSameState(state, after));
      if (at >= 0) node.unexplained.splice(at, 1);
      if (node.made.push({ sizeBytes: after.sizeBytes, mtime: after.mtime, ctime: after.ctime }) > STATES_MAX) node.made.shift();
      if (!isOld) this.#take(node, inode, after, known === null || !isSameState(known, after));
    } else this.expire(node);
    node.changedAt = this.latest();
    this.quiet(node);
  }

  #noteUnexplained(node: NfsNode, { sizeBytes, mtime, ctime }: WeakAttributes): void {
    if (node.unexplained.length < STATES_MAX) node.unexplained.push({ sizeBytes, mtime, ctime });
    else node.isDataSuspect = true;
  }

  /** Nothing of our own may be on its way: whose changes were they that nobody explained? */
  quiet(node: NfsNode): void {
    if (node.nrWriting > 0 || node.unexplained.length === 0) return;
    node.unexplained.length = 0;
    node.isDataSuspect = true;
  }

  #isExplained(node: NfsNode, state: WeakAttributes): boolean {
    return node.known === null || isSameState(node.known, state) || node.made.some((made) => isSameState(made, state));
  }

  #isOld(node: NfsNode, { ctime }: FileAttributes, startedAt: number): boolean {
    if (node.known === null || startedAt >= node.changedAt || isLater(ctime, node.known.ctime)) return false;
    this.expire(node);
    return true;
  }

  #othersChanged(node: NfsNode, inode: Inode, isContent: boolean): void {
    if (inode.isDirectory) {
      inode.entriesStamp++;
      node.cookies = null;
    } else if (isContent && inode.isRegular) node.isDataSuspect = true;
    else if (isContent && inode.isSymlink) inode.linkTarget = null;
  }

  #take(node: NfsNode, inode: Inode, attributes: FileAttributes, hasChanged: boolean): void {
    const { mode, nlink, uid, gid, sizeBytes, usedBytes, rdevMajor, rdevMinor, atime, mtime, ctime } = attributes;
    if (inode.mode !== 0 && (inode.mode & FileType.MASK) !== (mode & FileType.MASK)) {
      node.isStale = true; // its handle is another file's
      return;
    }
    inode.mode = mode;
    if (node.silly === null) inode.nlink = nlink;
    inode.uid = uid;
    inode.gid = gid;
    inode.rdev = rdevMajor * MINORS + rdevMinor;
    inode.blocksBytes = usedBytes;
    const hasOwn = hasUnwritten(node, inode);
    inode.accessedMs = msOfTime(atime);
    inode.modifiedMs = hasOwn ? Math.max(inode.modifiedMs, msOfTime(mtime)) : msOfTime(mtime);
    inode.changedMs = hasOwn ? Math.max(inode.changedMs, msOfTime(ctime)) : msOfTime(ctime);
    const size = Math.min(sizeBytes, FILE_SIZE_MAX_BYTES); // what is beyond nobody can read here
    if (!inode.isRegular || (!node.isResizing && (!hasOwn || size > inode.sizeBytes))) inode.sizeBytes = size;
    node.known = { sizeBytes, mtime, ctime };
    const { fileMinMs, fileMaxMs, directoryMinMs, directoryMaxMs } = this.target;
    const [least, most] = inode.isDirectory ? [directoryMinMs, directoryMaxMs] : [fileMinMs, fileMaxMs];
    node.validForMs = hasChanged || node.validForMs === 0 ? least : Math.min(node.validForMs * 2, most);
    node.checkedAtMs = this.clock.nowMs();
  }
}

/** Pages of it are dirty, or on their way. */
export function hasUnwritten(node: NfsNode, inode: Inode): boolean {
  return node.nrWriting > 0 || (inode.pages?.nrDirty ?? 0) > 0;
}

function isSameContent(a: WeakAttributes, b: WeakAttributes): boolean {
  return a.sizeBytes === b.sizeBytes && isSameTime(a.mtime, b.mtime);
}

function isSameState(a: WeakAttributes, b: WeakAttributes): boolean {
  return isSameContent(a, b) && isSameTime(a.ctime, b.ctime);
}

function isLater(a: NfsTime, b: NfsTime): boolean {
  return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanoseconds > b.nanoseconds);
}
