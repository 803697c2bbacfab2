/**
 * Credits: the most blocks of metadata that each operation reads or changes (M7), from the geometry, and T, the most that a transaction has.
 *
 *     taking k blocks        k bitmaps, each perhaps of another group, min(k, descriptor blocks) descriptors, the superblock
 *     a page of b blocks     3 indirect blocks, taking b + 3, its inode; and what it costs to give some of them back
 *     a new entry            3 blocks of the directory that are there or new (leaf, its new half, index node), one more index node, the root, 3
 *                            indirect blocks, taking 2 + 3, the directory's inode
 *     finding an entry       root, node, leaf, 3 indirect blocks; an empty directory: one block at a time
 *     freeing in steps       as many as the step is given
 */
import { PAGE_SIZE } from '@tidemark/core';
import type { Geometry } from '../format/geometry.js';
import { revokeCapacity } from '../format/journal.js';

const INDIRECT_BLOCKS = 3;
const INODE = 1;
const SUPERBLOCK = 1;
/** Credits that must be left for freeing to begin; see free-range.ts. */
const GIVING_BACK = 6;
/** Blocks of a step that frees: its own and two other inodes, the superblock, a path of indirect blocks, and some bitmaps. */
const STEP = 30;

export interface Credits {
  readonly page: number;
  /** Changing an inode and nothing else. */
  readonly inode: number;
  readonly attributes: number;
  readonly create: number;
  readonly link: number;
  readonly remove: number;
  readonly rename: number;
  /** One step of freeing. */
  readonly step: number;
}

/** Credits of each operation. */
export function creditsOf({ blockSize, gdtBlocks }: Pick<Geometry, 'blockSize' | 'gdtBlocks'>): Credits {
  const taking = (count: number): number => count + Math.min(count, gdtBlocks) + SUPERBLOCK;
  const entry = 5 + INDIRECT_BLOCKS + taking(2 + INDIRECT_BLOCKS) + INODE;
  const found = 3 + INDIRECT_BLOCKS;
  const emptiness = 1 + INDIRECT_BLOCKS;
  const newInode = 1 + 1 + INODE;
  return {
    page: INDIRECT_BLOCKS + taking(PAGE_SIZE / blockSize + INDIRECT_BLOCKS) + INODE + GIVING_BACK,
    inode: INODE + SUPERBLOCK,
    attributes: INODE + 2 + taking(1) + GIVING_BACK,
    create: entry + newInode + 1 + taking(1) + GIVING_BACK,
    link: entry + INODE,
    remove: found + emptiness + 3 * INODE + SUPERBLOCK,
    rename: entry + found + emptiness + 1 + 4 * INODE,
    step: STEP,
  };
}

/** T: blocks of one transaction at most, in an arena of `nrFrames`. @param logBlocks of the journal; infinite without one. */
export function transactionBlocks(nrFrames: number, logBlocks: number, blockSize: number, credits: Credits): number {
  const largest = Math.max(...Object.values(credits));
  return Math.min(Math.floor(logBlocks / 4), revokeCapacity(blockSize), Math.max(Math.floor(nrFrames / 32), largest));
}
