/**
 * The way to a block of a file: from the inode's 15 pointers through at most three indirect blocks.
 *
 *     logical < 12              pointer
 *     then p blocks             pointer 12 → indirect                        p = block size / 4
 *     then p² blocks            pointer 13 → double → indirect
 *     then p³ blocks            pointer 14 → triple → double → indirect
 */
import { DIRECT_BLOCKS } from './inode.js';

/** Most steps from an inode to a block. */
export const PATH_MAX_STEPS = 4;

/** Indexes to follow: the first into the inode's pointers, the others into the indirect blocks on the way. */
export type BlockPath = readonly number[];

/** The way to a logical block, or null if no file is that long. */
export function blockPath(logical: number, pointersPerBlock: number): BlockPath | null {
  const p = pointersPerBlock;
  if (logical < DIRECT_BLOCKS) return [logical];
  let rest = logical - DIRECT_BLOCKS;
  if (rest < p) return [DIRECT_BLOCKS, rest];
  rest -= p;
  if (rest < p * p) return [DIRECT_BLOCKS + 1, Math.floor(rest / p), rest % p];
  rest -= p * p;
  if (rest < p * p * p) return [DIRECT_BLOCKS + 2, Math.floor(rest / (p * p)), Math.floor(rest / p) % p, rest % p];
  return null;
}

/** Blocks of a file that one pointer at `depth` steps from the data covers: 1, p, p², p³. */
export function coverage(depth: number, pointersPerBlock: number): number {
  return pointersPerBlock ** depth;
}

/** Largest size of a regular file in bytes: what the pointers reach, and what `sectors` of 32 bits can count with the indirect blocks. */
export function maxFileBytes(blockSize: number): number {
  const p = blockSize / 4;
  const reach = DIRECT_BLOCKS + p + p * p + p ** 3;
  const sectorsPerBlock = blockSize / 512;
  const countable = Math.floor((2 ** 32 - 1) / sectorsPerBlock);
  if (reach + indirectBlocks(reach, p) <= countable) return reach * blockSize;
  let low = 0;
  let high = reach;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (middle + indirectBlocks(middle, p) <= countable) low = middle;
    else high = middle - 1;
  }
  return low * blockSize;
}

/** Indirect blocks of a file of `nrBlocks` blocks without holes. */
export function indirectBlocks(nrBlocks: number, pointersPerBlock: number): number {
  const p = pointersPerBlock;
  let rest = nrBlocks - DIRECT_BLOCKS;
  let count = 0;
  for (let depth = 1; depth <= 3 && rest > 0; depth++) {
    const covered = Math.min(rest, p ** depth);
    for (let level = 1; level <= depth; level++) count += Math.ceil(covered / p ** level);
    rest -= covered;
  }
  return count;
}
