/**
 * Changing what an inode is: mode, owner, times, size, extended attributes. Rules as POSIX and Linux have them.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { Changes } from './changes.js';
import { inGroup, isOwner, permission } from './credentials.js';
import { mayUpdate } from './directory-operations.js';
import type { AttributeChange, XattrMode } from './file-system.js';
import type { FileData } from './file-data.js';
import type { Inode } from './inode.js';
import { Access, FileType, ID_MAX, NAME_MAX, PERMISSION_BITS, S_ISGID, S_ISUID, XATTR_SIZE_MAX } from './mode.js';
import { nameBytes } from './name.js';
import { type Steps, settle } from './steps.js';
import type { Caller } from './walk.js';

/** Times to set: milliseconds since 1970, or `'now'`. */
export interface TimesChange {
  readonly accessed?: number | 'now';
  readonly modified?: number | 'now';
}

export class Attributes {
  readonly #data: FileData;
  readonly #changes: Changes;
  readonly #nowMs: () => number;

  constructor(data: FileData, changes: Changes, nowMs: () => number) {
    this.#data = data;
    this.#changes = changes;
    this.#nowMs = nowMs;
  }

  /** Sets the permission bits. `-EPERM` for who does not own it, `-EOPNOTSUPP` for a symbolic link. */
  *changeMode(who: Caller, inode: Inode, mode: number): Steps<NegErrno> {
    return yield* this.#changing(who, inode, (change) => {
      if (!isOwner(who.credentials, inode)) return -Errno.EPERM;
      if (inode.isSymlink) return -Errno.EOPNOTSUPP;
      change.mode = mode & PERMISSION_BITS;
      if (who.credentials.uid !== 0 && !inGroup(who.credentials, inode.gid)) change.mode &= ~S_ISGID;
      return 0;
    });
  }

  /** Gives it to another owner and group; −1 leaves either. Only the superuser gives away; an owner may choose among its groups. */
  *changeOwner(who: Caller, inode: Inode, uid: number, gid: number): Steps<NegErrno> {
    if (!isId(uid) || !isId(gid)) return -Errno.EINVAL;
    const { credentials } = who;
    return yield* this.#changing(who, inode, (change) => {
      if (credentials.uid !== 0) {
        const isMine = credentials.uid === inode.uid;
        const mayBe = uid === -1 || (isMine && uid === inode.uid);
        const mayBeIn = gid === -1 || (isMine && (gid === inode.gid || inGroup(credentials, gid)));
        if (!mayBe || !mayBeIn) return -Errno.EPERM;
      }
      if (uid !== -1) change.uid = uid;
      if (gid !== -1) change.gid = gid;
      if (!inode.isDirectory) change.mode = withoutSetId(inode);
      return 0;
    });
  }

  /** Sets times. Who may write it may set both to now; other times are the owner's. */
  *changeTimes(who: Caller, inode: Inode, times: TimesChange): Steps<NegErrno> {
    for (const time of [times.accessed, times.modified]) if (typeof time === 'number' && !Number.isFinite(time)) return -Errno.EINVAL;
    return yield* this.#changing(who, inode, (change) => {
      const isNow = times.accessed === 'now' && times.modified === 'now';
      if (!isOwner(who.credentials, inode)) {
        if (!isNow) return -Errno.EPERM;
        const refused = permission(who.credentials, inode, Access.WRITE);
        if (refused !== 0) return refused;
      }
      const at = (time: number | 'now'): number => (time === 'now' ? this.#nowMs() : time);
      if (times.accessed !== undefined) change.accessedMs = at(times.accessed);
      if (times.modified !== undefined) change.modifiedMs = at(times.modified);
      return 0;
    });
  }

  *#changing(who: Caller, inode: Inode, decide: (change: AttributeChange) => NegErrno): Steps<NegErrno> {
    const refused = mayUpdate(who, inode.superblock);
    if (refused !== 0) return refused;
    let status = yield* settle(inode.lock.exclusive(who.task));
    if (status < 0) return status;
    const change: AttributeChange = {};
    status = decide(change);
    if (status === 0) {
      const { mode, uid, gid, accessedMs, modifiedMs, changedMs } = inode;
      if (change.mode !== undefined) inode.mode = (mode & FileType.MASK) | change.mode;
      inode.uid = change.uid ?? uid;
      inode.gid = change.gid ?? gid;
      inode.accessedMs = change.accessedMs ?? accessedMs;
      inode.modifiedMs = change.modifiedMs ?? modifiedMs;
      inode.changedMs = this.#nowMs();
      status = yield* settle(inode.superblock.ops.setAttributes(who.task, inode, change));
      if (status < 0) Object.assign(inode, { mode, uid, gid, accessedMs, modifiedMs, changedMs });
      else this.#changes.changed(inode);
    }
    inode.lock.unlockExclusive();
    return status;
  }

  /**
   * Sets the size of a regular file; what is new reads as zeroes. The right to write is checked by the caller, whose file may be open.
   * @returns 0; `-EISDIR`, `-EINVAL` for what has no size, `-EFBIG`, `-ENOSPC`.
   */
  *changeSize(who: Caller, inode: Inode, sizeBytes: number): Steps<NegErrno> {
    if (inode.isDirectory) return -Errno.EISDIR;
    if (!inode.isRegular || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) return -Errno.EINVAL;
    if (sizeBytes > inode.superblock.maxFileSizeBytes) return -Errno.EFBIG;
    const refused = mayUpdate(who, inode.superblock);
    if (refused !== 0) return refused;
    let status = yield* settle(inode.lock.exclusive(who.task));
    if (status < 0) return status;
    status = yield* settle(inode.dataLock.exclusive(who.task));
    if (status === 0) {
      const { modifiedMs, changedMs, mode } = inode;
      inode.modifiedMs = inode.changedMs = this.#nowMs();
      if (who.credentials.uid !== 0) inode.mode = (mode & FileType.MASK) | withoutSetId(inode);
      status = yield* this.#data.changeSize(who.task, inode, sizeBytes);
      if (status < 0) Object.assign(inode, { modifiedMs, changedMs, mode });
      else this.#changes.changed(inode);
      inode.dataLock.unlockExclusive();
    }
    inode.lock.unlockExclusive();
    return status;
  }

  /** The value of an extended attribute. `-ENODATA`, `-EOPNOTSUPP`, `-EACCES`. */
  *getXattr(who: Caller, inode: Inode, name: string): Steps<Uint8Array | NegErrno> {
    const refused = xattrPermission(who, inode, name, Access.READ);
    return refused !== 0 ? refused : yield* settle(inode.superblock.ops.getXattr(who.task, inode, name));
  }

  /** Names of the extended attributes the caller may see. */
  *listXattrs(who: Caller, inode: Inode): Steps<readonly string[] | NegErrno> {
    const names = yield* settle(inode.superblock.ops.listXattrs(who.task, inode));
    return typeof names === 'number' || who.credentials.uid === 0 ? names : names.filter((name) => !name.startsWith('trusted.'));
  }

  /** Sets one. `-EEXIST` if it is there and was to be created, `-ENODATA` if it is not and was to be replaced, `-ERANGE`, `-E2BIG` as EFBIG. */
  *setXattr(who: Caller, inode: Inode, name: string, value: Uint8Array, mode: XattrMode): Steps<NegErrno> {
    if (value.length > XATTR_SIZE_MAX) return -Errno.ERANGE;
    return yield* this.#changingXattr(who, inode, name, () => inode.superblock.ops.setXattr(who.task, inode, name, value, mode));
  }

  /** Removes one. `-ENODATA`. */
  *removeXattr(who: Caller, inode: Inode, name: string): Steps<NegErrno> {
    return yield* this.#changingXattr(who, inode, name, () => inode.superblock.ops.removeXattr(who.task, inode, name));
  }

  *#changingXattr(who: Caller, inode: Inode, name: string, change: () => NegErrno | Promise<NegErrno>): Steps<NegErrno> {
    const refused = mayUpdate(who, inode.superblock) || xattrPermission(who, inode, name, Access.WRITE);
    if (refused !== 0) return refused;
    let status = yield* settle(inode.lock.exclusive(who.task));
    if (status < 0) return status;
    const { changedMs } = inode;
    inode.changedMs = this.#nowMs();
    status = yield* settle(change());
    if (status < 0) inode.changedMs = changedMs;
    inode.lock.unlockExclusive();
    return status;
  }
}

function isId(id: number): boolean {
  return Number.isInteger(id) && id >= -1 && id <= ID_MAX;
}

/** Permission bits without what a change of owner or content takes away. */
function withoutSetId(inode: Inode): number {
  const bits = inode.mode & PERMISSION_BITS;
  return bits & ~(S_ISUID | ((bits & 0o010) !== 0 ? S_ISGID : 0));
}

/** `user.` goes by the mode and is for files and directories; `trusted.` is the superuser's; others are the filesystem's own matter. */
function xattrPermission(who: Caller, inode: Inode, name: string, wanted: number): 0 | NegErrno {
  const bytes = nameBytes(name);
  if (bytes < 0) return bytes;
  if (bytes === 0 || bytes > NAME_MAX || name.includes('\0')) return -Errno.ERANGE;
  const space = /^(user|trusted|security|system)\../.exec(name)?.[1];
  if (space === undefined) return -Errno.EOPNOTSUPP;
  if (space === 'trusted') return who.credentials.uid === 0 ? 0 : wanted === Access.WRITE ? -Errno.EPERM : -Errno.ENODATA;
  if (space !== 'user') return wanted === Access.READ || isOwner(who.credentials, inode) ? 0 : -Errno.EPERM;
  if (!inode.isRegular && !inode.isDirectory) return wanted === Access.WRITE ? -Errno.EPERM : -Errno.ENODATA;
  return permission(who.credentials, inode, wanted);
}
