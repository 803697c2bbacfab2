/**
 * Replies, and what stands in them. A reply is a head of 16 bytes and a body whose length the kernel checks to the byte.
 *
 *     head    0 length   4 error (0 or negative)   8 unique
 *     attr    88 bytes   entry   128: node, generation, how long each is good, attr   open   16: handle, flags
 */
import { encodeName, FileType, type FileSystemRoom, type Inode } from '@tidemark/core';
import { REPLY_HEAD_BYTES } from './constants.js';

const HIGH = 2 ** 32;
const SECTOR_BYTES = 512;
const NS_PER_MS = 1e6;
const MS_PER_S = 1000;
/** Device numbers of an inode: major × 2^20 + minor. */
const MINOR_BITS = 2 ** 20;

export const ATTR_BYTES = 88;
export const ATTR_OUT_BYTES = 16 + ATTR_BYTES;
export const ENTRY_BYTES = 40 + ATTR_BYTES;
export const OPEN_BYTES = 16;
export const STATFS_BYTES = 80;
export const LOCK_BYTES = 24;
/** What stands before the name of an entry of a directory. */
const DIRENT_HEAD_BYTES = 24;

/** How long the kernel may believe what it is told, in seconds. */
export interface Validity {
  readonly entrySeconds: number;
  readonly attributeSeconds: number;
}

/** Where a reply is put together. */
export class Reply {
  readonly view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes a body can have. */
  get roomBytes(): number {
    return this.bytes.length - REPLY_HEAD_BYTES;
  }

  u32(at: number, value: number): void {
    this.view.setUint32(REPLY_HEAD_BYTES + at, value >>> 0, true);
  }

  u64(at: number, value: number): void {
    this.u32(at, value % HIGH);
    this.u32(at + 4, Math.floor(value / HIGH));
  }

  /** Milliseconds since 1970: seconds at one place, the rest in nanoseconds at another. */
  time(secondsAt: number, nanosecondsAt: number, ms: number): void {
    const seconds = Math.floor(ms / MS_PER_S);
    this.u32(secondsAt, seconds % HIGH);
    this.view.setInt32(REPLY_HEAD_BYTES + secondsAt + 4, Math.floor(seconds / HIGH), true);
    this.u32(nanosecondsAt, Math.min(Math.round((ms - seconds * MS_PER_S) * NS_PER_MS), 999_999_999));
  }

  /** Writes the head. @returns the bytes to send. */
  finish(uniqueLow: number, uniqueHigh: number, error: number, bodyBytes: number): Uint8Array {
    const length = REPLY_HEAD_BYTES + bodyBytes;
    this.view.setUint32(0, length, true);
    this.view.setInt32(4, error, true);
    this.view.setUint32(8, uniqueLow, true);
    this.view.setUint32(12, uniqueHigh, true);
    return this.bytes.subarray(0, length);
  }

  /** The attributes of a file. @param ino its number as programs see it. */
  attributes(at: number, inode: Inode, ino: number): void {
    this.u64(at, ino);
    this.u64(at + 8, inode.sizeBytes);
    this.u64(at + 16, Math.ceil(inode.blocksBytes / SECTOR_BYTES));
    this.time(at + 24, at + 48, inode.accessedMs);
    this.time(at + 32, at + 52, inode.modifiedMs);
    this.time(at + 40, at + 56, inode.changedMs);
    this.u32(at + 60, inode.mode);
    this.u32(at + 64, inode.nlink);
    this.u32(at + 68, inode.uid);
    this.u32(at + 72, inode.gid);
    this.u32(at + 76, encodeDevice(inode.rdev));
    this.u32(at + 80, inode.superblock.blockSizeBytes);
    this.u32(at + 84, 0);
  }

  attributesOut(at: number, inode: Inode, ino: number, { attributeSeconds }: Validity): void {
    this.u64(at, attributeSeconds);
    this.u64(at + 8, 0);
    this.attributes(at + 16, inode, ino);
  }

  entry(at: number, nodeId: number, inode: Inode, ino: number, { entrySeconds, attributeSeconds }: Validity): void {
    this.u64(at, nodeId);
    this.u64(at + 8, nodeId === 1 ? 0 : inode.generation >>> 0);
    this.u64(at + 16, entrySeconds);
    this.u64(at + 24, attributeSeconds);
    this.u64(at + 32, 0);
    this.attributes(at + 40, inode, ino);
  }

  /** An entry without a file: the kernel may believe for so long that the name stands for nothing, or, in a list, that it was not looked at. */
  noEntry(at: number, entrySeconds: number): void {
    this.bytes.fill(0, REPLY_HEAD_BYTES + at, REPLY_HEAD_BYTES + at + ENTRY_BYTES);
    this.u64(at + 16, entrySeconds);
  }

  opened(at: number, handle: number, flags: number): void {
    this.u64(at, handle);
    this.u32(at + 8, flags);
    this.u32(at + 12, 0);
  }

  room(room: FileSystemRoom, blockSizeBytes: number, nameBytes: number): void {
    const blocks = (bytes: number): number => Math.floor(bytes / blockSizeBytes);
    this.bytes.fill(0, REPLY_HEAD_BYTES, REPLY_HEAD_BYTES + STATFS_BYTES);
    this.u64(0, blocks(room.totalBytes));
    this.u64(8, blocks(room.freeBytes));
    this.u64(16, blocks(room.availableBytes));
    this.u64(24, room.totalInodes);
    this.u64(32, room.freeInodes);
    this.u32(40, blockSizeBytes);
    this.u32(44, nameBytes);
    this.u32(48, blockSizeBytes);
  }

  /**
   * One entry of a directory.
   * @param type the type bits of its mode, 0 if not known. @param cookie where reading goes on behind it.
   * @returns where the next entry goes, or −1 if it does not fit below `end`.
   */
  directoryEntry(at: number, end: number, ino: number, cookie: number, type: number, name: Uint8Array): number {
    const next = at + direntBytes(name);
    if (next > end) return -1;
    this.u64(at, ino);
    this.u64(at + 8, cookie);
    this.u32(at + 16, name.length);
    this.u32(at + 20, (type & FileType.MASK) >>> 12);
    const from = REPLY_HEAD_BYTES + at + DIRENT_HEAD_BYTES;
    this.bytes.set(name, from);
    this.bytes.fill(0, from + name.length, REPLY_HEAD_BYTES + next);
    return next;
  }

  /** Text at the start of the body. @returns its bytes, or −1 if there is no room for it. */
  text(text: string): number {
    const bytes = encodeName(text);
    if (bytes.length > this.roomBytes) return -1;
    this.bytes.set(bytes, REPLY_HEAD_BYTES);
    return bytes.length;
  }
}

/** Bytes of an entry of a directory with a name of so many. */
export function direntBytes(name: Uint8Array): number {
  return Math.ceil((DIRENT_HEAD_BYTES + name.length) / 8) * 8;
}

/** A device number as the kernel encodes it in 32 bits. */
export function encodeDevice(rdev: number): number {
  const major = Math.floor(rdev / MINOR_BITS);
  const minor = rdev % MINOR_BITS;
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** The inverse of `encodeDevice`. */
export function decodeDevice(encoded: number): number {
  const major = (encoded >>> 8) & 0xfff;
  const minor = (encoded & 0xff) | ((encoded >>> 12) & 0xfff00);
  return major * MINOR_BITS + minor;
}
