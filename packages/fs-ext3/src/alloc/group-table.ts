/**
 * What the group descriptors say, in memory: where bitmaps and inode tables are, which never changes, and the counts of what is free, which is
 * written to the descriptors with each change. 18 bytes a group.
 */
import { KernelError, type Memory, PAGE_SIZE, type StandingCharge, type Steps } from '@tidemark/core';
import { type Geometry, GROUP_DESCRIPTOR_BYTES, groupOfBlock, groupOfInode, groupStart, superblockOverhead } from '../format/geometry.js';
import { type GroupDescriptor, getGroupDescriptor, putGroupDescriptor } from '../format/group-descriptor.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';

/** What each group is charged. */
export const BYTES_PER_GROUP = 18;

export class GroupTable {
  readonly blockBitmap: Uint32Array;
  readonly inodeBitmap: Uint32Array;
  readonly inodeTable: Uint32Array;
  readonly freeBlocks: Uint16Array;
  readonly freeInodes: Uint16Array;
  readonly usedDirs: Uint16Array;
  readonly #charge: StandingCharge;

  /** @throws KernelError ENOMEM. */
  constructor(
    readonly name: string,
    readonly geometry: Geometry,
    memory: Memory,
  ) {
    const { nrGroups } = geometry;
    this.#charge = memory.chargeStanding(`group descriptors of ${name}`, Math.ceil((nrGroups * BYTES_PER_GROUP) / PAGE_SIZE));
    this.blockBitmap = new Uint32Array(nrGroups);
    this.inodeBitmap = new Uint32Array(nrGroups);
    this.inodeTable = new Uint32Array(nrGroups);
    this.freeBlocks = new Uint16Array(nrGroups);
    this.freeInodes = new Uint16Array(nrGroups);
    this.usedDirs = new Uint16Array(nrGroups);
  }

  /** Reads them all. @throws KernelError EUCLEAN naming group and field. */
  *load(reader: BlockReader): Steps<void> {
    for (let group = 0; group < this.geometry.nrGroups; group++) {
      const block = yield* reader.get(this.#blockOf(group));
      const descriptor = getGroupDescriptor(this.name, this.geometry, block.view, group);
      this.blockBitmap[group] = descriptor.blockBitmap;
      this.inodeBitmap[group] = descriptor.inodeBitmap;
      this.inodeTable[group] = descriptor.inodeTable;
      this.freeBlocks[group] = descriptor.freeBlocksCount;
      this.freeInodes[group] = descriptor.freeInodesCount;
      this.usedDirs[group] = descriptor.usedDirsCount;
      reader.put(block);
    }
  }

  /** Block of the descriptor of a group. */
  #blockOf(group: number): number {
    return this.geometry.firstDataBlock + 1 + Math.floor(group / this.geometry.descriptorsPerBlock);
  }

  /** Changes counts of a group by as much. */
  *change(handle: Handle, group: number, blocks: number, inodes: number, dirs: number): Steps<void> {
    const block = yield* handle.change(this.#blockOf(group));
    this.freeBlocks[group] += blocks;
    this.freeInodes[group] += inodes;
    this.usedDirs[group] += dirs;
    const descriptor: Partial<GroupDescriptor> = {
      freeBlocksCount: this.freeBlocks[group],
      freeInodesCount: this.freeInodes[group],
      usedDirsCount: this.usedDirs[group],
    };
    putGroupDescriptor(block.view, (group % this.geometry.descriptorsPerBlock) * GROUP_DESCRIPTOR_BYTES, descriptor);
  }

  /** True if `count` blocks from `block` on are free for data and indirect blocks: not beyond the end, nor part of the filesystem's own structures. */
  mayHoldData(block: number, count = 1): boolean {
    const { geometry } = this;
    if (block <= geometry.firstDataBlock || block + count > geometry.nrBlocks) return false;
    const group = groupOfBlock(geometry, block);
    if (groupOfBlock(geometry, block + count - 1) !== group) return false;
    const overlaps = (first: number, length: number): boolean => block < first + length && block + count > first;
    return !(
      overlaps(groupStart(geometry, group), superblockOverhead(geometry, group)) ||
      overlaps(this.blockBitmap[group], 1) ||
      overlaps(this.inodeBitmap[group], 1) ||
      overlaps(this.inodeTable[group], geometry.inodeTableBlocks)
    );
  }

  /** A block number that was read from disk. @throws KernelError EUCLEAN naming whose it is. */
  checkPointer(block: number, whose: () => string): void {
    if (this.mayHoldData(block)) return;
    throw new KernelError('EUCLEAN', `${whose()} points to block ${block}, which cannot be its`, { details: { block } });
  }

  /** Block of the inode table, and byte in it, of an inode. */
  placeOf(ino: number): { readonly block: number; readonly at: number } {
    const { inodesPerGroup, inodesPerBlock, inodeSize } = this.geometry;
    const index = (ino - 1) % inodesPerGroup;
    const block = this.inodeTable[groupOfInode(this.geometry, ino)] + Math.floor(index / inodesPerBlock);
    return { block, at: (index % inodesPerBlock) * inodeSize };
  }

  dispose(): void {
    this.#charge.free();
  }
}
