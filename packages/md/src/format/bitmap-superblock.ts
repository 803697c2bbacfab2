/**
 * The write-intent bitmap as it is stored (M17): 256 bytes of superblock, then one bit a chunk, lowest first. Little-endian.
 *
 *     0   u32  magic 0x6d746962      32  u64  events when a bit was last cleared, healthy     56  u32  daemon interval, seconds
 *     4   u32  version 4             40  u64  sectors covered                                 60  u32  write-behind
 *     8   16   array's uuid          48  u32  state: 2 stale, 4 write error                   64  u32  sectors reserved
 *     24  u64  events                52  u32  bytes of a chunk: a power of two                68  188  zero
 *
 * Bit i is in byte 256 + i / 8; its 4 KiB page is (i + 2048) >> 15. A bit that is 1: the members may differ there.
 */
import { KernelError, PAGE_SIZE } from '@tidemark/core';
import { corruptIn, readSafe, SECTOR_BYTES, viewOf } from './fields.js';

const MAGIC = 0x6d746962;
/** Bytes before the first bit. */
export const BITMAP_HEADER_BYTES = 256;
const HEADER_BITS = BITMAP_HEADER_BYTES * 8;
const PAGE_BIT_SHIFT = 15;
/** Bits of a chunk's state. */
export const BitmapState = { STALE: 2, WRITE_ERROR: 4 } as const;
/** Least bytes of a chunk. */
export const CHUNK_BYTES_MIN = 512;
const CHUNK_BYTES_MAX = 2 ** 31;
const DAEMON_SECONDS_MAX = 86_400;
const WRITE_BEHIND_MAX = 16_383;

/** A checked superblock of a bitmap. */
export interface BitmapSuperblock {
  readonly uuid: Uint8Array;
  readonly events: bigint;
  readonly eventsCleared: bigint;
  readonly syncSectors: number;
  readonly state: number;
  readonly chunkBytes: number;
  readonly daemonSeconds: number;
  readonly writeBehind: number;
  readonly reservedSectors: number;
}

/** Chunks, and bits, of a bitmap. */
export function nrChunksOf(syncSectors: number, chunkBytes: number): number {
  return Math.ceil((syncSectors * SECTOR_BYTES) / chunkBytes);
}

/** Bytes of a bitmap with its superblock. */
export function bitmapBytes(nrChunks: number): number {
  return BITMAP_HEADER_BYTES + Math.ceil(nrChunks / 8);
}

/** Pages of 4 KiB of a bitmap. */
export function bitmapPages(nrChunks: number): number {
  return Math.ceil(bitmapBytes(nrChunks) / PAGE_SIZE);
}

/** The page that a chunk's bit is in. */
export function pageOfChunk(chunk: number): number {
  return Math.floor((chunk + HEADER_BITS) / 2 ** PAGE_BIT_SHIFT);
}

/** The bit of a chunk, counted from the first of page 0. */
export function bitOfChunk(chunk: number): number {
  return chunk + HEADER_BITS;
}

/** Writes the superblock into the first 256 bytes of `page`. */
export function encodeBitmapSuperblock(page: Uint8Array, superblock: BitmapSuperblock): void {
  page.fill(0, 0, BITMAP_HEADER_BYTES);
  const view = viewOf(page);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, 4, true);
  page.set(superblock.uuid, 8);
  view.setBigUint64(24, superblock.events, true);
  view.setBigUint64(32, superblock.eventsCleared, true);
  view.setBigUint64(40, BigInt(superblock.syncSectors), true);
  view.setUint32(48, superblock.state, true);
  view.setUint32(52, superblock.chunkBytes, true);
  view.setUint32(56, superblock.daemonSeconds, true);
  view.setUint32(60, superblock.writeBehind, true);
  view.setUint32(64, superblock.reservedSectors, true);
}

/**
 * Reads and checks a bitmap's superblock.
 * @param spaceBytes what there is for the bitmap.
 * @throws KernelError EINVAL if there is none; EOPNOTSUPP for a version of another sort; EUCLEAN naming field and offset.
 */
export function decodeBitmapSuperblock(page: Uint8Array, spaceBytes: number, name: string): BitmapSuperblock {
  const view = viewOf(page);
  const corrupt = corruptIn('the bitmap', name);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  if (u32(0) !== MAGIC) throw new KernelError('EINVAL', `${name} has no write-intent bitmap`);
  const version = u32(4);
  if (version !== 4) throw new KernelError('EOPNOTSUPP', `the bitmap of ${name} is of version ${version}, want 4`);
  const syncSectors = readSafe(view, 40, corrupt, 'sync_size');
  const chunkBytes = u32(52);
  if (chunkBytes < CHUNK_BYTES_MIN || chunkBytes > CHUNK_BYTES_MAX || (chunkBytes & (chunkBytes - 1)) !== 0)
    throw corrupt(`chunks of ${chunkBytes} bytes`, 52);
  if (syncSectors === 0) throw corrupt('it covers nothing', 40);
  const nrChunks = nrChunksOf(syncSectors, chunkBytes);
  if (bitmapBytes(nrChunks) > spaceBytes) throw corrupt(`${nrChunks} bits do not fit into ${spaceBytes} bytes`, 40);
  const state = u32(48);
  if ((state & ~(BitmapState.STALE | BitmapState.WRITE_ERROR)) !== 0) throw corrupt(`state ${state}`, 48);
  const daemonSeconds = u32(56);
  if (daemonSeconds < 1 || daemonSeconds > DAEMON_SECONDS_MAX) throw corrupt(`an interval of ${daemonSeconds} s`, 56);
  if (u32(60) > WRITE_BEHIND_MAX) throw corrupt(`write-behind ${u32(60)}`, 60);
  if (u32(68) !== 0) throw corrupt(`${u32(68)} cluster nodes`, 68);
  return {
    uuid: page.slice(8, 24),
    events: view.getBigUint64(24, true),
    eventsCleared: view.getBigUint64(32, true),
    syncSectors,
    state,
    chunkBytes,
    daemonSeconds,
    writeBehind: u32(60),
    reservedSectors: u32(64),
  };
}
