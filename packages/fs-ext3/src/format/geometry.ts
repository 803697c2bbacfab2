/**
 * Where things are: pure arithmetic over a checked superblock.
 *
 *     group g         blocks firstDataBlock + g × blocksPerGroup …
 *     inside, if it has a copy:   superblock | group descriptors | reserved for more | block bitmap | inode bitmap | inode table | data
 *     else:                                                                          block bitmap | inode bitmap | inode table | data
 *
 * Actual places of bitmaps and inode tables come from the group descriptors alone.
 */
import { isSparse, type Superblock } from './superblock.js';

export const GROUP_DESCRIPTOR_BYTES = 32;

/** Numbers of an image. Blocks, unless a unit is written. */
export interface Geometry {
  readonly blockSize: number;
  readonly nrBlocks: number;
  readonly nrGroups: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly inodesPerBlock: number;
  readonly inodeTableBlocks: number;
  readonly descriptorsPerBlock: number;
  /** Blocks of the group descriptor table. */
  readonly gdtBlocks: number;
  readonly reservedGdtBlocks: number;
  readonly isSparse: boolean;
}

/** The geometry a superblock describes. */
export function geometryOf(superblock: Superblock): Geometry {
  const blockSize = 1024 << superblock.logBlockSize;
  const nrGroups = Math.ceil((superblock.blocksCount - superblock.firstDataBlock) / superblock.blocksPerGroup);
  const descriptorsPerBlock = blockSize / GROUP_DESCRIPTOR_BYTES;
  return {
    blockSize,
    nrBlocks: superblock.blocksCount,
    nrGroups,
    firstDataBlock: superblock.firstDataBlock,
    blocksPerGroup: superblock.blocksPerGroup,
    inodesPerGroup: superblock.inodesPerGroup,
    inodeSize: superblock.inodeSize,
    inodesPerBlock: blockSize / superblock.inodeSize,
    inodeTableBlocks: (superblock.inodesPerGroup * superblock.inodeSize) / blockSize,
    descriptorsPerBlock,
    gdtBlocks: Math.ceil(nrGroups / descriptorsPerBlock),
    reservedGdtBlocks: superblock.reservedGdtBlocks,
    isSparse: isSparse(superblock),
  };
}

/** First block of a group. */
export function groupStart({ firstDataBlock, blocksPerGroup }: Geometry, group: number): number {
  return firstDataBlock + group * blocksPerGroup;
}

/** Blocks of a group: the last one may be short. */
export function groupBlocks(geometry: Geometry, group: number): number {
  return Math.min(geometry.blocksPerGroup, geometry.nrBlocks - groupStart(geometry, group));
}

/** True if a group holds a copy of the superblock and the group descriptors. */
export function hasSuperblock({ isSparse }: Geometry, group: number): boolean {
  return !isSparse || group <= 1 || isPowerOf(group, 3) || isPowerOf(group, 5) || isPowerOf(group, 7);
}

function isPowerOf(n: number, base: number): boolean {
  let power = base;
  while (power < n) power *= base;
  return power === n;
}

/** Blocks at the start of a group that superblock and descriptors take, those reserved for more of them included. */
export function superblockOverhead(geometry: Geometry, group: number): number {
  return hasSuperblock(geometry, group) ? 1 + geometry.gdtBlocks + geometry.reservedGdtBlocks : 0;
}

/** Group of a block. */
export function groupOfBlock({ firstDataBlock, blocksPerGroup }: Geometry, block: number): number {
  return Math.floor((block - firstDataBlock) / blocksPerGroup);
}

/** Group of an inode; inodes are counted from 1. */
export function groupOfInode({ inodesPerGroup }: Geometry, inode: number): number {
  return Math.floor((inode - 1) / inodesPerGroup);
}
