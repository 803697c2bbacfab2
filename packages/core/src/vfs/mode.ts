/**
 * Modes and limits, as POSIX has them. A mode is a type (four bits from 0o10000 on) and twelve permission bits.
 */

/** The type in a mode. */
export const FileType = {
  MASK: 0o170000,
  FIFO: 0o010000,
  CHARACTER_DEVICE: 0o020000,
  DIRECTORY: 0o040000,
  BLOCK_DEVICE: 0o060000,
  REGULAR: 0o100000,
  SYMLINK: 0o120000,
  SOCKET: 0o140000,
} as const;

/** Permission bits beyond read, write and execute. */
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;
/** Every permission bit. */
export const PERMISSION_BITS = 0o7777;

/** What is wanted of a file: the bits of one class of a mode. */
export const Access = { READ: 4, WRITE: 2, EXECUTE: 1 } as const;

/** Longest name in bytes. */
export const NAME_MAX = 255;
/** Longest path in bytes, its end included: 4095 can be used. */
export const PATH_MAX = 4096;
/** Most symbolic links on the way to one file. */
export const SYMLINKS_MAX = 40;
/** Longest value of an extended attribute, and of all names listed, in bytes. */
export const XATTR_SIZE_MAX = 65_536;
/** Largest uid and gid; -1 as an unsigned number means "leave it". */
export const ID_MAX = 0xffff_fffe;

/** How a file is opened: Linux's numbers, which Node uses. */
export const OpenFlag = {
  READ_ONLY: 0,
  WRITE_ONLY: 1,
  READ_WRITE: 2,
  ACCESS_MODE: 3,
  CREATE: 0o100,
  EXCLUSIVE: 0o200,
  TRUNCATE: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DATA_SYNC: 0o10000,
  DIRECTORY: 0o200000,
  NO_FOLLOW: 0o400000,
  SYNC: 0o4010000,
} as const;

/** How `rename` is meant. */
export const RenameFlag = { NO_REPLACE: 1, EXCHANGE: 2 } as const;

/** What `allocate` does with a range. */
export const AllocateMode = {
  /** Blocks for the range, so that later writes cannot fail with ENOSPC; the file grows to cover it. */
  RESERVE: 0,
  /** As RESERVE; the size stays. */
  KEEP_SIZE: 1,
  /** Frees the blocks of the range; it reads as zeroes. */
  PUNCH_HOLE: 3,
  /** Makes the range zeroes. The file grows to cover it. */
  ZERO_RANGE: 16,
} as const;
