/**
 * Who asks, and what they may do. The superuser (uid 0) may do everything but execute what nobody may; for others the first class that
 * fits counts, owner before group before the rest, as POSIX has it.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { Inode } from './inode.js';
import { Access, FileType, S_ISVTX } from './mode.js';

/** The identity a caller acts under. Immutable. */
export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  /** Further groups. */
  readonly groups: readonly number[];
}

/** The superuser. */
export const SUPERUSER: Credentials = { uid: 0, gid: 0, groups: [] };

/** True if `gid` is one of the caller's groups. */
export function inGroup(who: Credentials, gid: number): boolean {
  return who.gid === gid || who.groups.includes(gid);
}

/** True if the caller may change what only the owner may. */
export function isOwner(who: Credentials, inode: Inode): boolean {
  return who.uid === 0 || who.uid === inode.uid;
}

/**
 * May the caller read, write, execute or search?
 * @param wanted bits of `Access`.
 * @returns 0, or `-EACCES`. Allocates nothing.
 */
export function permission(who: Credentials, inode: Inode, wanted: number): 0 | NegErrno {
  const { mode } = inode;
  if (who.uid === 0) {
    const mayExecute = (mode & 0o111) !== 0 || (mode & FileType.MASK) === FileType.DIRECTORY;
    return (wanted & Access.EXECUTE) !== 0 && !mayExecute ? -Errno.EACCES : 0;
  }
  const shift = who.uid === inode.uid ? 6 : inGroup(who, inode.gid) ? 3 : 0;
  return (wanted & ~(mode >>> shift) & 7) === 0 ? 0 : -Errno.EACCES;
}

/**
 * May the caller take an entry for `inode` out of `dir` (remove it, or move it away)? In a sticky directory only the owner of either may.
 * @returns 0, `-EACCES` without the right to write the directory, `-EPERM` if it is sticky.
 */
export function mayRemove(who: Credentials, dir: Inode, inode: Inode): 0 | NegErrno {
  const status = permission(who, dir, Access.WRITE | Access.EXECUTE);
  if (status !== 0) return status;
  return (dir.mode & S_ISVTX) !== 0 && !isOwner(who, dir) && !isOwner(who, inode) ? -Errno.EPERM : 0;
}
