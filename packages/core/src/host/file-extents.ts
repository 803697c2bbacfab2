/**
 * Where a file of the host has holes. Node cannot ask for them (no SEEK_HOLE), but it can tell how much room a file takes: one that takes as much
 * as it is long has none, one that takes nothing is all hole, and of any other those blocks are holes that read as zeroes. A block of zeroes
 * that was written counts as a hole then, too, which harms nobody: it reads the same.
 */
import fs from 'node:fs';
import { errnoOf, type NegErrno } from '../base/errno.js';
import type { Extent } from '../block/block-device.js';

const SECTOR_BYTES = 512;
const BLOCK_BYTES = 4096;
/** Read at once. */
const PIECE_BYTES = 2 ** 16;
/** Looked at for one answer, at most. */
const SCAN_BYTES_MAX = 2 ** 22;
const piece = new Uint8Array(PIECE_BYTES);
const words = new Float64Array(piece.buffer);

/** How a range of the file behind `fd` is stored. */
export function fileExtents(fd: number, offsetBytes: number, lengthBytes: number, nrMost: number): readonly Extent[] | NegErrno {
  try {
    const { blocks, size } = fs.fstatSync(fd);
    if (blocks * SECTOR_BYTES >= size) return [{ lengthBytes, isHole: false, isZero: false }];
    if (blocks === 0) return [{ lengthBytes, isHole: true, isZero: true }];
    return scan(fd, offsetBytes, Math.min(lengthBytes, SCAN_BYTES_MAX), nrMost);
  } catch (thrown) {
    return errnoOf(thrown);
  }
}

function scan(fd: number, offsetBytes: number, lengthBytes: number, nrMost: number): readonly Extent[] {
  const extents: { lengthBytes: number; isHole: boolean; isZero: boolean }[] = [];
  for (let done = 0; done < lengthBytes; ) {
    const length = fs.readSync(fd, piece, 0, Math.min(PIECE_BYTES, lengthBytes - done), offsetBytes + done);
    if (length === 0) break;
    for (let at = 0; at < length; ) {
      const end = Math.min(at + BLOCK_BYTES - ((offsetBytes + done + at) % BLOCK_BYTES), length);
      const isZero = isAllZero(at, end);
      const last = extents.at(-1);
      if (last?.isZero === isZero) last.lengthBytes += end - at;
      else if (extents.length === nrMost) return extents;
      else extents.push({ lengthBytes: end - at, isHole: isZero, isZero });
      at = end;
    }
    done += length;
  }
  return extents;
}

/** Whether a part of `piece` is zeroes; its ends are multiples of 512. Minus zero is a word that is not zero, and equal to it. */
function isAllZero(from: number, to: number): boolean {
  if (piece[from] !== 0 || piece[to - 1] !== 0) return false;
  for (let i = from / 8; i < to / 8; i++) if (!Object.is(words[i], 0)) return false;
  return true;
}
