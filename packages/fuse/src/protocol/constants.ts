/**
 * Numbers of the FUSE kernel protocol, version 7 (Linux, include/uapi/linux/fuse.h). Every integer on the wire is in the machine's own order,
 * which is little-endian wherever Node runs on Linux.
 */

/** The protocol's major version, the newest minor whose structures are used here, and the oldest that is understood. */
export const FUSE_MAJOR = 7;
export const FUSE_MINOR = 36;
export const FUSE_MINOR_LEAST = 23;

/** What a request asks for. */
export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
} as const;

/** What both sides can do: bits of INIT's first word of flags. */
export const InitFlag = {
  ASYNC_READ: 2 ** 0,
  POSIX_LOCKS: 2 ** 1,
  ATOMIC_O_TRUNC: 2 ** 3,
  BIG_WRITES: 2 ** 5,
  FLOCK_LOCKS: 2 ** 10,
  AUTO_INVAL_DATA: 2 ** 12,
  DO_READDIRPLUS: 2 ** 13,
  READDIRPLUS_AUTO: 2 ** 14,
  ASYNC_DIO: 2 ** 15,
  WRITEBACK_CACHE: 2 ** 16,
  PARALLEL_DIROPS: 2 ** 18,
  ABORT_ERROR: 2 ** 21,
  MAX_PAGES: 2 ** 22,
  CACHE_SYMLINKS: 2 ** 23,
  HANDLE_KILLPRIV_V2: 2 ** 28,
} as const;

/** What SETATTR changes. */
export const SetAttribute = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 0x10,
  MTIME: 0x20,
  FH: 0x40,
  ATIME_NOW: 0x80,
  MTIME_NOW: 0x100,
  KILL_SUIDGID: 0x800,
} as const;

/** How a file was opened, told to the kernel. */
export const FopenFlag = { DIRECT_IO: 1, KEEP_CACHE: 2, CACHE_DIR: 8 } as const;

/** Set in GETATTR and WRITE. */
export const GETATTR_HAS_HANDLE = 1;
export const WRITE_KILL_SUIDGID = 4;
/** Set in RELEASE: a lock of the whole file goes with it. */
export const RELEASE_FLOCK_UNLOCK = 2;
/** Set in FSYNC: attributes may wait. */
export const FSYNC_DATA_ONLY = 1;
/** Set in locks: `flock`, not `fcntl`. */
export const LOCK_FLOCK = 1;

/** Kinds of locks. */
export const LockType = { READ: 0, WRITE: 1, NONE: 2 } as const;

/** Where LSEEK looks for. */
export const Whence = { DATA: 3, HOLE: 4 } as const;

/** Bits of FALLOCATE's mode, as Linux has them. */
export const Falloc = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 16 } as const;

/** Bits of SETXATTR's flags. */
export const XattrFlag = { CREATE: 1, REPLACE: 2 } as const;

/** What the kernel is told without being asked. */
export const Notify = { INVAL_INODE: 2, INVAL_ENTRY: 3, INC_EPOCH: 8 } as const;
/** The minor version from which on every name can be made stale at once. */
export const MINOR_WITH_EPOCH = 44;

/** Bytes in front of every request and every reply. */
export const REQUEST_HEAD_BYTES = 40;
export const REPLY_HEAD_BYTES = 16;
/** What stands before the data of a WRITE. */
export const WRITE_HEAD_BYTES = 40;
/** Smallest buffer a request may be read into. */
export const REQUEST_BUFFER_BYTES_LEAST = 8192;

/** The directory that is mounted. */
export const ROOT_NODE_ID = 1;
/** Access to a directory or file beyond this many bytes is refused before it is looked at. */
export const OFFSET_MAX = Number.MAX_SAFE_INTEGER;
