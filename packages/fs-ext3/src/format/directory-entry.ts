/**
 * Directory blocks: entries that tile a block exactly.
 *
 *     inode u32 | rec_len u16 | name_len u8 | file_type u8 | name, padded to 4
 *     inode 0: free space. Without the feature `filetype` the name's length has 16 bits.
 *
 * Functions work on one block in place, and check every entry they pass: nothing of an image is trusted.
 */
import { KernelError } from '@tidemark/core';
import { FileType } from './inode.js';

/** `file_type` of an entry. */
export const EntryType = { UNKNOWN: 0, REGULAR: 1, DIRECTORY: 2, CHARACTER: 3, BLOCK: 4, FIFO: 5, SOCKET: 6, SYMLINK: 7 } as const;

export const NAME_BYTES_MAX = 255;
const HEADER_BYTES = 8;
/** An entry with a name of one byte. */
const LEAST_BYTES = 12;

/** Where a directory block is, for messages and for what its numbers may be. */
export interface DirectoryBlock {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Whose it is: `directory 12 of disk.img`. */
  readonly name: string;
  /** Logical block of the directory. */
  readonly logical: number;
  readonly hasFileTypes: boolean;
  /** Highest inode number of the image. */
  readonly inodesMax: number;
}

/** Bytes an entry with a name of `nameBytes` needs. */
export function entryBytes(nameBytes: number): number {
  return (HEADER_BYTES + nameBytes + 3) & ~3;
}

/** The `file_type` for a mode. */
export function entryTypeOf(mode: number): number {
  switch (mode & FileType.MASK) {
    case FileType.REGULAR:
      return EntryType.REGULAR;
    case FileType.DIRECTORY:
      return EntryType.DIRECTORY;
    case FileType.CHARACTER:
      return EntryType.CHARACTER;
    case FileType.BLOCK:
      return EntryType.BLOCK;
    case FileType.FIFO:
      return EntryType.FIFO;
    case FileType.SOCKET:
      return EntryType.SOCKET;
    case FileType.SYMLINK:
      return EntryType.SYMLINK;
    default:
      return EntryType.UNKNOWN;
  }
}

/** Inode of the entry at `at`; 0 if it is free space. */
export function entryInode({ view }: DirectoryBlock, at: number): number {
  return view.getUint32(at, true);
}

/** Type of the entry at `at`. */
export function entryType({ bytes, hasFileTypes }: DirectoryBlock, at: number): number {
  return hasFileTypes ? bytes[at + 7] : EntryType.UNKNOWN;
}

/** Length of its name in bytes. */
export function entryNameLength({ bytes, view, hasFileTypes }: DirectoryBlock, at: number): number {
  return hasFileTypes ? bytes[at + 6] : view.getUint16(at + 6, true);
}

/** Its name; a view of the block. */
export function entryName(block: DirectoryBlock, at: number): Uint8Array {
  return block.bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + entryNameLength(block, at));
}

/** Length of the record: the next entry is there. */
export function recordLength({ view }: DirectoryBlock, at: number): number {
  return view.getUint16(at + 4, true);
}

/**
 * Checks the entry at `at` and says where the next one begins, which may be the end of the block.
 * @throws KernelError EUCLEAN naming the directory, block and offset.
 */
export function nextEntry(block: DirectoryBlock, at: number): number {
  const { bytes, inodesMax } = block;
  const length = recordLength(block, at);
  const nameBytes = entryNameLength(block, at);
  const left = bytes.length - at - length;
  const why =
    length < LEAST_BYTES
      ? `has a record of ${length} bytes`
      : length % 4 !== 0
        ? `has a record of ${length} bytes, no multiple of 4`
        : left < 0 || (left > 0 && left < LEAST_BYTES)
          ? 'leaves no room for another, or ends beyond the block'
          : length < entryBytes(nameBytes)
            ? `has a name of ${nameBytes} bytes in a record of ${length}`
            : entryInode(block, at) > inodesMax
              ? `points to inode ${entryInode(block, at)}, and there are ${inodesMax}`
              : null;
  if (why !== null) throw damaged(block, at, why);
  return at + length;
}

function damaged({ name, logical }: DirectoryBlock, at: number, why: string): KernelError {
  return new KernelError('EUCLEAN', `${name}: the entry at byte ${at} of its block ${logical} ${why}`, {
    details: { logicalBlock: logical, offsetBytes: at },
  });
}

/** Offset of the entry named `name`, or -1. @throws KernelError EUCLEAN. */
export function findEntry(block: DirectoryBlock, name: Uint8Array): number {
  for (let at = 0, next = 0; at < block.bytes.length; at = next) {
    next = nextEntry(block, at);
    if (entryInode(block, at) !== 0 && entryNameLength(block, at) === name.length && isNameAt(block.bytes, at + HEADER_BYTES, name))
      return at;
  }
  return -1;
}

function isNameAt(bytes: Uint8Array, at: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i++) if (bytes[at + i] !== name[i]) return false;
  return true;
}

/** Writes an entry's fields; its record length is as given. */
export function putEntry(block: DirectoryBlock, at: number, length: number, inode: number, type: number, name: Uint8Array): void {
  const { bytes, view, hasFileTypes } = block;
  view.setUint32(at, inode, true);
  view.setUint16(at + 4, length, true);
  if (hasFileTypes) {
    bytes[at + 6] = name.length;
    bytes[at + 7] = type;
  } else view.setUint16(at + 6, name.length, true);
  bytes.set(name, at + HEADER_BYTES);
  bytes.fill(0, at + HEADER_BYTES + name.length, Math.min(at + entryBytes(name.length), at + length));
}

/** Points an entry to another inode: for rename. */
export function setEntryInode(block: DirectoryBlock, at: number, inode: number, type: number): void {
  block.view.setUint32(at, inode, true);
  if (block.hasFileTypes) block.bytes[at + 7] = type;
}

/** Makes a block of free space. */
export function clearBlock(block: DirectoryBlock): void {
  block.bytes.fill(0);
  block.view.setUint16(4, block.bytes.length, true);
}

/** Offset of an entry whose slack holds a name of `nameBytes`, or -1. @throws KernelError EUCLEAN. */
export function findRoom(block: DirectoryBlock, nameBytes: number): number {
  const wanted = entryBytes(nameBytes);
  for (let at = 0, next = 0; at < block.bytes.length; at = next) {
    next = nextEntry(block, at);
    const used = entryInode(block, at) === 0 ? 0 : entryBytes(entryNameLength(block, at));
    if (next - at - used >= wanted) return at;
  }
  return -1;
}

/** Puts an entry into the slack of the one at `at`, which `findRoom` found. */
export function insertEntry(block: DirectoryBlock, at: number, inode: number, type: number, name: Uint8Array): void {
  const length = recordLength(block, at);
  if (entryInode(block, at) === 0) {
    putEntry(block, at, length, inode, type, name);
    return;
  }
  const used = entryBytes(entryNameLength(block, at));
  block.view.setUint16(at + 4, used, true);
  putEntry(block, at + used, length - used, inode, type, name);
}

/** Removes the entry at `at`: its room goes to the one before, or is free space if it is the first. @throws KernelError EUCLEAN. */
export function removeEntry(block: DirectoryBlock, at: number): void {
  let before = -1;
  for (let entry = 0; entry < at; entry = nextEntry(block, entry)) before = entry;
  if (before < 0) block.view.setUint32(at, 0, true);
  else block.view.setUint16(before + 4, recordLength(block, before) + recordLength(block, at), true);
}

/** True if nothing but `.` and `..` is in the block. @throws KernelError EUCLEAN. */
export function isEmptyBlock(block: DirectoryBlock): boolean {
  for (let at = 0, next = 0; at < block.bytes.length; at = next) {
    next = nextEntry(block, at);
    if (entryInode(block, at) !== 0 && !isDots(entryName(block, at))) return false;
  }
  return true;
}

/** True for `.` and `..`. */
export function isDots(name: Uint8Array): boolean {
  return name.length <= 2 && name.every((byte) => byte === 0x2e);
}
