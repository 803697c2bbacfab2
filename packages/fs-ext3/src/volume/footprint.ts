/**
 * What a mounted ext3 takes (M5), as pure functions of the arena's size and of a few numbers of the image: the live nodes and a dry run share them.
 *
 *     journal    a unit is a transaction: its blocks, frozen one by one while the originals go, and the log's own blocks; two at once
 *     data       a unit is a page on its way out: its bios stand, and so does what the mount keeps for good
 */
import { deviceIoFrames, type FootprintTerm, type NodeDescription, type NodeFootprint, PAGE_SIZE, planSizes } from '@tidemark/core';
import { BYTES_PER_GROUP } from '../alloc/group-table.js';
import { BIO_FRAMES } from '../device/block-io.js';
import { GROUP_DESCRIPTOR_BYTES } from '../format/geometry.js';
import { pinFrames } from '../inode/pinned-file.js';
import { LOG_RUN_BYTES } from '../journal/log-map.js';
import { logOverhead } from '../journal/log.js';
import { METADATA_BLOCK_BYTES } from '../metadata/metadata-block.js';
import { creditsOf, transactionBlocks } from './credits.js';

/** What it depends on. */
export interface VolumeSizes {
  readonly blockSize: number;
  readonly nrGroups: number;
  readonly gdtBlocks: number;
  /** Blocks of the journal and pieces it lies in; 0 without one, or if it is not written. */
  readonly logBlocks: number;
  readonly logRuns: number;
}

/** T: blocks of one transaction at most. */
export function transactionBlocksOf(nrFrames: number, { blockSize, gdtBlocks, logBlocks }: VolumeSizes): number {
  return transactionBlocks(
    nrFrames,
    logBlocks === 0 ? Number.POSITIVE_INFINITY : logBlocks,
    blockSize,
    creditsOf({ blockSize, gdtBlocks }),
  );
}

/** Objects for metadata blocks that are set aside: those of one running and one committing transaction, however long the log. */
export function nrSpareBlocks(nrFrames: number, blockSize: number, gdtBlocks: number): number {
  return 2 * transactionBlocks(nrFrames, Number.POSITIVE_INFINITY, blockSize, creditsOf({ blockSize, gdtBlocks }));
}

export function journalFootprint(nrFrames: number, sizes: VolumeSizes): NodeFootprint {
  const nrBlocks = transactionBlocksOf(nrFrames, sizes);
  return {
    standing: [],
    unit: [
      { what: 'blocks of a transaction', frames: nrBlocks + 1 },
      { what: 'descriptors, revokes and commit block', frames: logOverhead(nrBlocks, sizes.blockSize) },
    ],
    nrUnits: 2,
  };
}

export function dataFootprint(nrFrames: number, sizes: VolumeSizes): NodeFootprint {
  const { blockSize, nrGroups, gdtBlocks, logBlocks, logRuns } = sizes;
  const framesOf = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE);
  const standing = [
    { what: 'bios', frames: BIO_FRAMES },
    { what: 'metadata blocks of two transactions', frames: framesOf(nrSpareBlocks(nrFrames, blockSize, gdtBlocks) * METADATA_BLOCK_BYTES) },
    { what: 'group descriptors', frames: framesOf(nrGroups * BYTES_PER_GROUP) },
  ];
  if (logBlocks > 0)
    standing.push({ what: 'journal superblock, and where the journal lies', frames: 1 + framesOf(logRuns * LOG_RUN_BYTES) });
  return { standing, unit: [], nrUnits: planSizes(nrFrames).clientUnits };
}

/** An ext3 that is not mounted, for a dry run: as `mkfs` would make it. */
export interface VolumeDescription {
  /** Name of the node of the block device it is to lie on. */
  readonly device: string;
  readonly sizeBytes: number;
  readonly blockSize: number;
  readonly journalBlocks: number;
}

/** Its nodes, the upper one first. */
export function describeExt3({ device, sizeBytes, blockSize, journalBlocks }: VolumeDescription): NodeDescription[] {
  const nrGroups = Math.ceil(Math.floor(sizeBytes / blockSize) / (8 * blockSize));
  const gdtBlocks = Math.ceil((nrGroups * GROUP_DESCRIPTOR_BYTES) / blockSize);
  // mkfs lays a journal down in few pieces: where they lie takes one frame.
  const sizes: VolumeSizes = { blockSize, nrGroups, gdtBlocks, logBlocks: journalBlocks, logRuns: journalBlocks > 0 ? 1 : 0 };
  const data = `ext3:${device} data`;
  return [
    { name: `ext3:${device} journal`, kind: 'filesystem', needs: [data], footprint: (nrFrames) => journalFootprint(nrFrames, sizes) },
    { name: data, kind: 'filesystem', needs: [device], footprint: (nrFrames) => dataFootprint(nrFrames, sizes) },
  ];
}

/**
 * What a mount with a file in use has in memory beside, and no reclaim gives back: the superblock's block, and a frame or two of each kind of object
 * (inodes, names, nodes, metadata blocks, index nodes of pages).
 */
export const MOUNT_OBJECTS: FootprintTerm = { what: 'inodes, names and metadata in use', frames: 8 };

/** Frames that a pin of a file stands for, the device's included. @param maxTransferBytes longest transfer of the device. */
export function ext3PinFrames(sizePages: number, blockSize: number, nrUnits: number, maxTransferBytes: number): number {
  const { map, bios } = pinFrames(sizePages, blockSize, nrUnits);
  return map + bios + deviceIoFrames(1, maxTransferBytes);
}
