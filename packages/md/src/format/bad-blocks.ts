/**
 * The log of bad blocks of a member: little-endian u64, start << 10 | length, in units of 2^shift sectors from the start of the
 * device, up to the first entry that is all ones. It is only read: what it lists is not read from that member.
 */
import { SECTOR_BYTES, viewOf } from './fields.js';
import type { BadBlockLogPlace } from './superblock.js';

/** A run of sectors of a member's data. */
export interface SectorRange {
  readonly from: number;
  readonly to: number;
}

/** The ranges of the member's data that a log lists; `bytes` is the log as stored. */
export function decodeBadBlocks(bytes: Uint8Array, { sectors, shift }: BadBlockLogPlace, dataOffset: number): SectorRange[] {
  const view = viewOf(bytes);
  const ranges: SectorRange[] = [];
  for (let at = 0; at + 8 <= Math.min(sectors * SECTOR_BYTES, bytes.length); at += 8) {
    const entry = view.getBigUint64(at, true);
    if (entry === 0xffff_ffff_ffff_ffffn) break;
    const from = Number(entry >> 10n) * 2 ** shift - dataOffset;
    const length = Number(entry & 0x3ffn) * 2 ** shift;
    if (length > 0) ranges.push({ from, to: from + length });
  }
  return ranges;
}
