/**
 * Inodes: 128 bytes, or more with room for nanoseconds. Little-endian.
 *
 *     0x00  mode, owner, sizes, times, links, blocks, flags, i_block[15], generation, attribute block, high halves     128 bytes
 *     0x80  extra_isize: how much of what follows is there: high parts of times, time of birth
 *     128 + extra_isize   attributes in the inode, if there is room
 *
 * `blocks` counts units of 512 bytes, indirect and attribute blocks included.
 */
import { KernelError } from '@tidemark/core';
import { type StructOf, struct } from './struct.js';

/** Inodes with a meaning of their own. */
export const ReservedInode = { BAD_BLOCKS: 1, ROOT: 2, RESIZE: 7, JOURNAL: 8 } as const;

/** Type bits of `mode`. */
export const FileType = {
  MASK: 0xf000,
  FIFO: 0x1000,
  CHARACTER: 0x2000,
  DIRECTORY: 0x4000,
  BLOCK: 0x6000,
  REGULAR: 0x8000,
  SYMLINK: 0xa000,
  SOCKET: 0xc000,
} as const;

/** Bits of `flags`. */
export const InodeFlag = {
  SYNC: 0x8,
  IMMUTABLE: 0x10,
  APPEND: 0x20,
  NODUMP: 0x40,
  NOATIME: 0x80,
  INDEX: 0x1000,
  JOURNAL_DATA: 0x4000,
  DIRSYNC: 0x10000,
  TOPDIR: 0x20000,
  EXTENTS: 0x80000,
  INLINE_DATA: 0x10000000,
} as const;

/** Flags of ext4: encrypted, huge, extents, verity, attribute inode, inline data, case-folded. */
export const LATER_FLAGS = 0x800 | 0x40000 | InodeFlag.EXTENTS | 0x100000 | 0x200000 | InodeFlag.INLINE_DATA | 0x40000000;

export const OLD_INODE_BYTES = 128;
/** Bytes of the inode beyond the first 128 that we write. */
export const EXTRA_BYTES = 32;
/** Pointers in an inode: direct ones, then one each to a tree of one, two and three levels. */
export const DIRECT_BLOCKS = 12;
export const NR_POINTERS = 15;
/** Most links of an inode. */
export const LINKS_MAX = 65_000;
/** Longest target of a symbolic link that lies in `i_block` itself, in bytes. */
export const FAST_SYMLINK_BYTES_MAX = 59;

const BASE_FIELDS = {
  mode: [0x00, 'u16'],
  uidLow: [0x02, 'u16'],
  sizeLow: [0x04, 'u32'],
  atime: [0x08, 's32'],
  ctime: [0x0c, 's32'],
  mtime: [0x10, 's32'],
  dtime: [0x14, 'u32'],
  gidLow: [0x18, 'u16'],
  linksCount: [0x1a, 'u16'],
  sectors: [0x1c, 'u32'],
  flags: [0x20, 'u32'],
  version: [0x24, 'u32'],
  generation: [0x64, 'u32'],
  attributeBlock: [0x68, 'u32'],
  sizeHigh: [0x6c, 'u32'],
  uidHigh: [0x78, 'u16'],
  gidHigh: [0x7a, 'u16'],
} as const;
const BASE = struct(BASE_FIELDS);

const I_BLOCK_OFFSET = 0x28;
const EXTRA_SIZE_OFFSET = 0x80;
/** Extra fields: where each is, and how much of the extra part must be there for it. */
const CTIME_EXTRA = 0x84;
const MTIME_EXTRA = 0x88;
const ATIME_EXTRA = 0x8c;
const BIRTH_TIME = 0x90;
const BIRTH_TIME_EXTRA = 0x94;

/** A moment: seconds since 1970, and nanoseconds. */
export interface Timestamp {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** An inode as the rest of the package sees it. */
export interface RawInode {
  mode: number;
  uid: number;
  gid: number;
  /** Bytes. */
  size: number;
  atime: Timestamp;
  ctime: Timestamp;
  mtime: Timestamp;
  /** Time of birth, where the inode has room. */
  birthTime: Timestamp | null;
  /** When it was deleted; of an orphan, the next one. */
  dtime: number;
  linksCount: number;
  /** Units of 512 bytes. */
  sectors: number;
  flags: number;
  version: number;
  generation: number;
  /** Block of attributes, or 0. */
  attributeBlock: number;
  /** 15 words: block numbers, the text of a short symbolic link, or a device number. */
  block: Uint32Array;
  /** Bytes beyond the first 128 that are in use by fields. */
  extraBytes: number;
}

/** The text of a short symbolic link, as the pointers hold it: 60 bytes, zeroes behind the text. */
export function fastSymlinkText(block: Uint32Array): Uint8Array {
  return Uint8Array.from({ length: 4 * NR_POINTERS }, (_, i) => block[i >>> 2] >>> ((i & 3) * 8));
}

/** Bytes behind an inode's fields that attributes may take; 0 if there is no room for any. */
export function attributeSpace(inodeSize: number, extraBytes: number): number {
  const room = inodeSize - OLD_INODE_BYTES - extraBytes;
  return inodeSize > OLD_INODE_BYTES && room >= 4 ? room : 0;
}

/** Reads the inode at `at`. Nothing is checked but the length of its extra part. @throws KernelError EUCLEAN. */
export function getInode(name: string, view: DataView, at: number, inodeSize: number): RawInode {
  const base = BASE.get(view, at);
  const extraBytes = inodeSize > OLD_INODE_BYTES ? view.getUint16(at + EXTRA_SIZE_OFFSET, true) : 0;
  if (extraBytes > inodeSize - OLD_INODE_BYTES || extraBytes % 4 !== 0)
    throw new KernelError('EUCLEAN', `${name}: extra_isize is ${extraBytes} in an inode of ${inodeSize} bytes`);
  const has = (offset: number): boolean => offset + 4 <= OLD_INODE_BYTES + extraBytes;
  const time = (seconds: number, extraOffset: number): Timestamp =>
    has(extraOffset) ? joinTime(seconds, view.getUint32(at + extraOffset, true)) : { seconds, nanoseconds: 0 };
  const isRegular = (base.mode & FileType.MASK) === FileType.REGULAR;
  return {
    mode: base.mode,
    uid: base.uidLow + base.uidHigh * 0x10000,
    gid: base.gidLow + base.gidHigh * 0x10000,
    size: base.sizeLow + (isRegular ? base.sizeHigh * 2 ** 32 : 0),
    atime: time(base.atime, ATIME_EXTRA),
    ctime: time(base.ctime, CTIME_EXTRA),
    mtime: time(base.mtime, MTIME_EXTRA),
    birthTime: has(BIRTH_TIME) ? time(view.getInt32(at + BIRTH_TIME, true), BIRTH_TIME_EXTRA) : null,
    dtime: base.dtime,
    linksCount: base.linksCount,
    sectors: base.sectors,
    flags: base.flags,
    version: base.version,
    generation: base.generation,
    attributeBlock: base.attributeBlock,
    block: Uint32Array.from({ length: NR_POINTERS }, (_, i) => view.getUint32(at + I_BLOCK_OFFSET + 4 * i, true)),
    extraBytes,
  };
}

/** Writes the inode at `at`; bytes that no field names, attributes among them, stay. */
export function putInode(view: DataView, at: number, inodeSize: number, inode: RawInode): void {
  const isRegular = (inode.mode & FileType.MASK) === FileType.REGULAR;
  const values: StructOf<typeof BASE_FIELDS> = {
    mode: inode.mode,
    uidLow: inode.uid & 0xffff,
    sizeLow: inode.size % 2 ** 32,
    atime: inode.atime.seconds | 0,
    ctime: inode.ctime.seconds | 0,
    mtime: inode.mtime.seconds | 0,
    dtime: inode.dtime,
    gidLow: inode.gid & 0xffff,
    linksCount: inode.linksCount,
    sectors: inode.sectors,
    flags: inode.flags,
    version: inode.version,
    generation: inode.generation,
    attributeBlock: inode.attributeBlock,
    sizeHigh: isRegular ? Math.floor(inode.size / 2 ** 32) : 0,
    uidHigh: inode.uid >>> 16,
    gidHigh: inode.gid >>> 16,
  };
  BASE.put(view, at, values);
  inode.block.forEach((word, i) => void view.setUint32(at + I_BLOCK_OFFSET + 4 * i, word, true));
  if (inodeSize <= OLD_INODE_BYTES) return;
  view.setUint16(at + EXTRA_SIZE_OFFSET, inode.extraBytes, true);
  const putExtra = (offset: number, value: number): void => {
    if (offset + 4 <= OLD_INODE_BYTES + inode.extraBytes) view.setUint32(at + offset, value, true);
  };
  putExtra(ATIME_EXTRA, extraOf(inode.atime));
  putExtra(CTIME_EXTRA, extraOf(inode.ctime));
  putExtra(MTIME_EXTRA, extraOf(inode.mtime));
  if (inode.birthTime === null) return;
  putExtra(BIRTH_TIME, inode.birthTime.seconds);
  putExtra(BIRTH_TIME_EXTRA, extraOf(inode.birthTime));
}

/** Two bits more for the seconds, 30 for the nanoseconds. */
function joinTime(base: number, extra: number): Timestamp {
  return { seconds: base + (extra & 3) * 2 ** 32, nanoseconds: extra >>> 2 };
}

function extraOf({ seconds, nanoseconds }: Timestamp): number {
  const epoch = Math.floor((seconds - (seconds | 0)) / 2 ** 32) & 3;
  return ((nanoseconds << 2) | epoch) >>> 0;
}
