/**
 * An image as a check reads it: superblock, descriptors, inodes and blocks, straight from the device. Nothing is cached but one block for
 * each use.
 */
import { KernelError } from '@tidemark/core';
import { viewOf } from '../format/bytes.js';
import { type Geometry, GROUP_DESCRIPTOR_BYTES, geometryOf, groupOfInode } from '../format/geometry.js';
import { type GroupDescriptor, getGroupDescriptor } from '../format/group-descriptor.js';
import { getInode, type RawInode } from '../format/inode.js';
import { decodeSuperblock, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, type Superblock } from '../format/superblock.js';

/** Reads from the device, at any offset. Rejections are I/O errors. */
export interface ImageSource {
  readonly name: string;
  readonly sizeBytes: number;
  read(offsetBytes: number, bytes: Uint8Array): Promise<void>;
}

/** A block in memory. */
export class BlockBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.view = viewOf(this.bytes);
  }
}

export class Ext3Image {
  readonly name: string;
  readonly geometry: Geometry;
  readonly #source: ImageSource;
  readonly #table: BlockBuffer;
  #tableBlock = -1;
  readonly #descriptors: BlockBuffer;
  #descriptorBlock = -1;

  private constructor(
    source: ImageSource,
    readonly superblock: Superblock,
  ) {
    this.name = source.name;
    this.#source = source;
    this.geometry = geometryOf(superblock);
    this.#table = new BlockBuffer(this.geometry.blockSize);
    this.#descriptors = new BlockBuffer(this.geometry.blockSize);
  }

  /** @throws KernelError as `decodeSuperblock`. */
  static async open(source: ImageSource): Promise<Ext3Image> {
    const bytes = new Uint8Array(SUPERBLOCK_BYTES);
    if (source.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES)
      throw new KernelError('EINVAL', `${source.name} has ${source.sizeBytes} bytes: too small for an ext3`);
    await source.read(SUPERBLOCK_OFFSET, bytes);
    return new Ext3Image(source, decodeSuperblock(source.name, bytes, source.sizeBytes));
  }

  readBlock(block: number, buffer: BlockBuffer): Promise<void> {
    return this.#source.read(block * this.geometry.blockSize, buffer.bytes);
  }

  /** @throws KernelError EUCLEAN. */
  async descriptor(group: number): Promise<GroupDescriptor> {
    const { firstDataBlock, descriptorsPerBlock } = this.geometry;
    const block = firstDataBlock + 1 + Math.floor(group / descriptorsPerBlock);
    if (block !== this.#descriptorBlock) {
      await this.readBlock(block, this.#descriptors);
      this.#descriptorBlock = block;
    }
    return getGroupDescriptor(this.name, this.geometry, this.#descriptors.view, group);
  }

  /** Counts of a group as its descriptor has them, whatever else is in it. */
  rawCounts(group: number): { freeBlocks: number; freeInodes: number; usedDirs: number } {
    const at = (group % this.geometry.descriptorsPerBlock) * GROUP_DESCRIPTOR_BYTES;
    const { view } = this.#descriptors;
    return {
      freeBlocks: view.getUint16(at + 0xc, true),
      freeInodes: view.getUint16(at + 0xe, true),
      usedDirs: view.getUint16(at + 0x10, true),
    };
  }

  /** Block and byte of an inode. */
  async placeOfInode(inode: number): Promise<{ block: number; at: number }> {
    const { inodesPerGroup, inodesPerBlock, inodeSize } = this.geometry;
    const { inodeTable } = await this.descriptor(groupOfInode(this.geometry, inode));
    const index = (inode - 1) % inodesPerGroup;
    return { block: inodeTable + Math.floor(index / inodesPerBlock), at: (index % inodesPerBlock) * inodeSize };
  }

  /** An inode by its number. @throws KernelError EUCLEAN. */
  async inode(inode: number): Promise<RawInode> {
    const { at } = await this.#loadInode(inode);
    return getInode(`inode ${inode} of ${this.name}`, this.#table.view, at, this.geometry.inodeSize);
  }

  /** The bytes of an inode behind its fields: a view that holds until the next inode is read. */
  async inodeSpace(inode: number, extraBytes: number): Promise<Uint8Array> {
    const { at } = await this.#loadInode(inode);
    return this.#table.bytes.subarray(at + 128 + extraBytes, at + this.geometry.inodeSize);
  }

  /** A word of an inode as it is on disk. */
  async inodeWord(inode: number, offsetBytes: number): Promise<number> {
    const { at } = await this.#loadInode(inode);
    return this.#table.view.getUint32(at + offsetBytes, true);
  }

  async #loadInode(inode: number): Promise<{ at: number }> {
    const { block, at } = await this.placeOfInode(inode);
    if (block !== this.#tableBlock) {
      await this.readBlock(block, this.#table);
      this.#tableBlock = block;
    }
    return { at };
  }
}
