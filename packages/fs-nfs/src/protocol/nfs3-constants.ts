/** Numbers of NFS version 3 (RFC 1813) and MOUNT version 3. */
import { Errno, type NegErrno } from '@tidemark/core';

export const NFS_PROGRAM = 100_003;
export const NFS_VERSION = 3;
export const NFS_PORT = 2049;
export const MOUNT_PROGRAM = 100_005;
export const MOUNT_VERSION = 3;

/** Procedures of NFS. */
export const Nfs3 = {
  NULL: 0,
  GETATTR: 1,
  SETATTR: 2,
  LOOKUP: 3,
  ACCESS: 4,
  READLINK: 5,
  READ: 6,
  WRITE: 7,
  CREATE: 8,
  MKDIR: 9,
  SYMLINK: 10,
  MKNOD: 11,
  REMOVE: 12,
  RMDIR: 13,
  RENAME: 14,
  LINK: 15,
  READDIR: 16,
  READDIRPLUS: 17,
  FSSTAT: 18,
  FSINFO: 19,
  PATHCONF: 20,
  COMMIT: 21,
} as const;

/** Procedures of MOUNT. */
export const Mount3 = { NULL: 0, MNT: 1, DUMP: 2, UMNT: 3, UMNTALL: 4, EXPORT: 5 } as const;

/** `nfsstat3`. */
export const NfsStatus = {
  OK: 0,
  PERM: 1,
  NOENT: 2,
  IO: 5,
  NXIO: 6,
  ACCES: 13,
  EXIST: 17,
  XDEV: 18,
  NODEV: 19,
  NOTDIR: 20,
  ISDIR: 21,
  INVAL: 22,
  FBIG: 27,
  NOSPC: 28,
  ROFS: 30,
  MLINK: 31,
  NAMETOOLONG: 63,
  NOTEMPTY: 66,
  DQUOT: 69,
  STALE: 70,
  REMOTE: 71,
  BADHANDLE: 10_001,
  NOT_SYNC: 10_002,
  BAD_COOKIE: 10_003,
  NOTSUPP: 10_004,
  TOOSMALL: 10_005,
  SERVERFAULT: 10_006,
  BADTYPE: 10_007,
  JUKEBOX: 10_008,
} as const;

/** `ftype3`. */
export const NfsType = { REGULAR: 1, DIRECTORY: 2, BLOCK: 3, CHARACTER: 4, SYMLINK: 5, SOCKET: 6, FIFO: 7 } as const;
/** `stable_how`. */
export const Stable = { UNSTABLE: 0, DATA_SYNC: 1, FILE_SYNC: 2 } as const;
/** `createmode3`. */
export const CreateMode = { UNCHECKED: 0, GUARDED: 1, EXCLUSIVE: 2 } as const;
/** Bits of ACCESS. */
export const Access = { READ: 0x1, LOOKUP: 0x2, MODIFY: 0x4, EXTEND: 0x8, DELETE: 0x10, EXECUTE: 0x20 } as const;
/** Bits of the properties in FSINFO. */
export const FsProperty = { LINK: 0x1, SYMLINK: 0x2, HOMOGENEOUS: 0x8, CANSETTIME: 0x10 } as const;

export const HANDLE_BYTES_MAX = 64;
export const NAME_BYTES_MAX = 255;
export const PATH_BYTES_MAX = 4096;
export const MOUNT_PATH_BYTES_MAX = 1024;
export const VERIFIER_BYTES = 8;

/** Statuses and the errno of each, the one that a server answers with first where several mean the same. */
const PAIRS: readonly (readonly [status: number, errno: number])[] = [
  [NfsStatus.PERM, Errno.EPERM],
  [NfsStatus.NOENT, Errno.ENOENT],
  [NfsStatus.IO, Errno.EIO],
  [NfsStatus.NXIO, Errno.ENXIO],
  [NfsStatus.ACCES, Errno.EACCES],
  [NfsStatus.EXIST, Errno.EEXIST],
  [NfsStatus.XDEV, Errno.EXDEV],
  [NfsStatus.NODEV, Errno.ENODEV],
  [NfsStatus.NOTDIR, Errno.ENOTDIR],
  [NfsStatus.ISDIR, Errno.EISDIR],
  [NfsStatus.INVAL, Errno.EINVAL],
  [NfsStatus.FBIG, Errno.EFBIG],
  [NfsStatus.NOSPC, Errno.ENOSPC],
  [NfsStatus.ROFS, Errno.EROFS],
  [NfsStatus.MLINK, Errno.EMLINK],
  [NfsStatus.NAMETOOLONG, Errno.ENAMETOOLONG],
  [NfsStatus.NOTEMPTY, Errno.ENOTEMPTY],
  [NfsStatus.DQUOT, Errno.EDQUOT],
  [NfsStatus.STALE, Errno.ESTALE],
  [NfsStatus.BADHANDLE, Errno.ESTALE],
  [NfsStatus.NOT_SYNC, Errno.EAGAIN],
  [NfsStatus.BAD_COOKIE, Errno.EINVAL],
  [NfsStatus.NOTSUPP, Errno.EOPNOTSUPP],
  [NfsStatus.TOOSMALL, Errno.EINVAL],
  [NfsStatus.SERVERFAULT, Errno.EIO],
  [NfsStatus.BADTYPE, Errno.EINVAL],
  [NfsStatus.JUKEBOX, Errno.EAGAIN],
];
const ERRNO_OF = new Map(PAIRS);
const STATUS_OF = new Map<number, number>([
  ...[...PAIRS].reverse().map(([status, errno]) => [errno, status] as const),
  [Errno.EAGAIN, NfsStatus.JUKEBOX],
  [Errno.ENOMEM, NfsStatus.JUKEBOX],
  [Errno.ETIMEDOUT, NfsStatus.JUKEBOX],
  [Errno.ENFILE, NfsStatus.JUKEBOX],
  [Errno.EINTR, NfsStatus.JUKEBOX],
  [Errno.ESHUTDOWN, NfsStatus.JUKEBOX],
  [Errno.EBADF, NfsStatus.STALE],
  [Errno.EILSEQ, NfsStatus.INVAL],
  [Errno.EUCLEAN, NfsStatus.IO],
  [Errno.ELOOP, NfsStatus.INVAL],
]);

/** The errno for a status; EIO for one that is not in RFC 1813. */
export function errnoOfStatus(status: number): 0 | NegErrno {
  return status === NfsStatus.OK ? 0 : -(ERRNO_OF.get(status) ?? Errno.EIO);
}

/** The status a server answers an errno with. */
export function statusOfErrno(errno: 0 | NegErrno): number {
  return errno === 0 ? NfsStatus.OK : (STATUS_OF.get(-errno) ?? NfsStatus.IO);
}
