/**
 * Chunks of structured replies, written where a reply was reserved. The cookie of a reply stands at the same place in a chunk and in a simple
 * reply, so an error is written over either.
 */
import type { Extent } from '@tidemark/core';
import { AllocationFlag, Chunk, CHUNK_BYTES, CHUNK_DONE } from '../protocol/constants.js';
import { putChunk, setU64 } from '../protocol/messages.js';
import { wireError } from '../protocol/wire-errors.js';

/** Bytes before the data of a READ: the chunk's own, and where the data belong. */
export const DATA_CHUNK_BYTES = CHUNK_BYTES + 8;
/** Bytes of an error without text. */
export const ERROR_CHUNK_BYTES = CHUNK_BYTES + 6;
/** Number of the one context there is. */
export const ALLOCATION_ID = 1;
/** Most extents of one answer. */
export const EXTENTS_MAX = 128;
const EXTENT_BYTES = 8;
/** Bytes of the longest answer to BLOCK_STATUS. */
export const STATUS_CHUNK_BYTES_MAX = CHUNK_BYTES + 4 + EXTENTS_MAX * EXTENT_BYTES;

/** Writes the head of data that follow. */
export function putDataChunk(
  view: DataView,
  at: number,
  isLast: boolean,
  cookieHigh: number,
  cookieLow: number,
  offsetBytes: number,
  dataBytes: number,
): void {
  putChunk(view, at, isLast ? CHUNK_DONE : 0, Chunk.OFFSET_DATA, cookieHigh, cookieLow, 8 + dataBytes);
  setU64(view, at + CHUNK_BYTES, offsetBytes);
}

/** Writes an error, the end of its reply, over what has a cookie already. */
export function putErrorChunk(view: DataView, at: number, status: number): void {
  putChunk(view, at, CHUNK_DONE, Chunk.ERROR, view.getUint32(at + 8), view.getUint32(at + 12), 6);
  view.setUint32(at + CHUNK_BYTES, wireError(status));
  view.setUint16(at + CHUNK_BYTES + 4, 0);
}

/** Writes how a range is stored, over what has a cookie already. @returns bytes. */
export function putStatusChunk(view: DataView, at: number, extents: readonly Extent[]): number {
  const payload = 4 + extents.length * EXTENT_BYTES;
  putChunk(view, at, CHUNK_DONE, Chunk.BLOCK_STATUS, view.getUint32(at + 8), view.getUint32(at + 12), payload);
  view.setUint32(at + CHUNK_BYTES, ALLOCATION_ID);
  for (const [i, { lengthBytes, isHole, isZero }] of extents.entries()) {
    view.setUint32(at + CHUNK_BYTES + 4 + i * EXTENT_BYTES, lengthBytes);
    view.setUint32(at + CHUNK_BYTES + 8 + i * EXTENT_BYTES, (isHole ? AllocationFlag.HOLE : 0) | (isZero ? AllocationFlag.ZERO : 0));
  }
  return CHUNK_BYTES + payload;
}
