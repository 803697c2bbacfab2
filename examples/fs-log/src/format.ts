/**
 * What is on the device. Blocks of 4 KiB; numbers little-endian.
 *
 *     [ records, first half | records, second half | data … ]
 *
 *     a record block    magic u32 · crc32 of all behind it u32 · filesystem id u32 · flags u32 · serial number f64 · last inode f64 · bytes used u32
 *     a record          kind u8 · nr of numbers u8 · bytes of text u16 · numbers f64 each · text in UTF-8
 *
 * A half begins with a checkpoint: everything, as records. Behind it transactions are appended, each a run of blocks up to one flagged LAST:
 * all of it counts, or nothing. When a half is full the next checkpoint goes to the other one. Serial numbers have no gaps.
 */
import { decodeUtf8, encodeUtf8 } from '@tidemark/core';

export const BLOCK = 4096;
/** Blocks of a transaction: what makes a commit finite. */
export const TRANSACTION_BLOCKS = 8;
/** Bytes of memory for metadata for each block of the device; as records they take less. */
export const BYTES_PER_BLOCK = 128;
const MAGIC = 0x474f4c54;
const HEADER = 40;
/** Flags: the last block of a transaction; that of a checkpoint. */
export const LAST = 1;
export const COMPLETE = 2;

/** Kinds of records, with their numbers and text. */
export const Kind = {
  /** ino mode uid gid nlink rdev size accessed modified changed created parent; where a link leads. */
  INODE: 1,
  /** dir ino cookie; name. Ino 0: the name is gone. */
  ENTRY: 2,
  /** ino page block: that page is there now. */
  MAP: 3,
  /** ino page: pages from there on are gone; −1: so is the inode. */
  CUT: 4,
} as const;

/** Blocks of a half of the records: a checkpoint as large as they get, and as much again. */
export function blocksOfHalf(nrBlocks: number): number {
  return 2 * Math.ceil((nrBlocks * BYTES_PER_BLOCK) / BLOCK) + 4 * TRANSACTION_BLOCKS;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = (n & 1) !== 0 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Appends a record to a block. @returns bytes used then, or −1 if it does not fit. */
export function putRecord(block: Uint8Array, used: number, kind: number, numbers: readonly number[], text = ''): number {
  const bytes = encodeUtf8(text);
  const view = viewOf(block);
  const at = HEADER + used;
  const end = at + 4 + numbers.length * 8 + bytes.length;
  if (end > BLOCK) return -1;
  view.setUint8(at, kind);
  view.setUint8(at + 1, numbers.length);
  view.setUint16(at + 2, bytes.length, true);
  for (const [i, number] of numbers.entries()) view.setFloat64(at + 4 + i * 8, number, true);
  block.set(bytes, end - bytes.length);
  return end - HEADER;
}

/** The records of a block that `openBlock` has accepted. */
export function* recordsOf(block: Uint8Array, used: number): Generator<{ kind: number; n: number[]; text: string }> {
  const view = viewOf(block);
  for (let at = HEADER; at < HEADER + used; ) {
    const textAt = at + 4 + view.getUint8(at + 1) * 8;
    const end = textAt + view.getUint16(at + 2, true);
    const n = Array.from({ length: view.getUint8(at + 1) }, (_, i) => view.getFloat64(at + 4 + i * 8, true));
    yield { kind: view.getUint8(at), n, text: decodeUtf8(block, textAt, end) ?? '' };
    at = end;
  }
}

/** What a record block says of itself. */
export interface BlockHeader {
  readonly fsid: number;
  readonly flags: number;
  readonly serial: number;
  readonly lastIno: number;
  readonly used: number;
}

/** Closes a block: header and checksum. */
export function sealBlock(block: Uint8Array, { fsid, flags, serial, lastIno, used }: BlockHeader): void {
  const view = viewOf(block);
  for (const [at, value] of [
    [0, MAGIC],
    [8, fsid],
    [12, flags],
    [32, used],
  ])
    view.setUint32(at, value, true);
  view.setFloat64(16, serial, true);
  view.setFloat64(24, lastIno, true);
  view.setUint32(4, crc32(block.subarray(8)), true);
}

/** The header of a block that is whole, or null. */
export function openBlock(block: Uint8Array): BlockHeader | null {
  const view = viewOf(block);
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== crc32(block.subarray(8))) return null;
  const [fsid, flags, used] = [8, 12, 32].map((at) => view.getUint32(at, true));
  return used > BLOCK - HEADER ? null : { fsid, flags, serial: view.getFloat64(16, true), lastIno: view.getFloat64(24, true), used };
}
