/**
 * Pass 2: every directory, block by block: entries that tile, `.` and `..` where they belong, entries that name inodes in use and know their
 * type, indexes whose leaves hold what their hashes say. Counts the links of passes 3 and 4.
 */
import { isKernelError } from '@tidemark/core';
import {
  type DirectoryBlock,
  entryInode,
  entryName,
  entryNameLength,
  entryType,
  EntryType,
  entryTypeOf,
  isDots,
  nextEntry,
} from '../format/directory-entry.js';
import { Compat, Incompat } from '../format/features.js';
import { findSlot, type IndexBlock, readNode, readRoot, slotBlock, slotCount, slotHash } from '../format/htree.js';
import { FileType, InodeFlag, type RawInode } from '../format/inode.js';
import { type HashVersion, hashName } from '../format/name-hash.js';
import { SuperFlag } from '../format/superblock.js';
import type { BlockMapReader } from './block-map-reader.js';
import type { Findings } from './findings.js';
import { BlockBuffer, type Ext3Image } from './image.js';
import { type CheckTables, NO_TYPE } from './tables.js';

const DIRECTORY_TYPE = FileType.DIRECTORY / 0x1000;
const UNSIGNED = 3;

/** The range of hashes a leaf is for. */
interface LeafRange {
  readonly from: number;
  /** First hash that is the next leaf's; the bit for collisions counts. */
  readonly to: number;
  readonly version: HashVersion;
}

export class DirectoryChecker {
  readonly #image: Ext3Image;
  readonly #tables: CheckTables;
  readonly #findings: Findings;
  readonly #map: BlockMapReader;
  readonly #leaf: BlockBuffer;
  readonly #index: readonly [BlockBuffer, BlockBuffer];
  readonly #seed: readonly number[];
  #directory = 0;

  constructor(image: Ext3Image, tables: CheckTables, findings: Findings, map: BlockMapReader) {
    this.#image = image;
    this.#tables = tables;
    this.#findings = findings;
    this.#map = map;
    const { blockSize } = image.geometry;
    this.#leaf = new BlockBuffer(blockSize);
    this.#index = [new BlockBuffer(blockSize), new BlockBuffer(blockSize)];
    const { hashSeed0, hashSeed1, hashSeed2, hashSeed3 } = image.superblock;
    this.#seed = [hashSeed0, hashSeed1, hashSeed2, hashSeed3];
  }

  #say(what: string): void {
    this.#findings.add(2, `directory ${this.#directory}: ${what}`);
  }

  async run(): Promise<void> {
    const { inodesCount } = this.#image.superblock;
    for (let inode = 1; inode <= inodesCount; inode++) if (this.#tables.typeOf(inode) === DIRECTORY_TYPE) await this.#checkDirectory(inode);
  }

  async #checkDirectory(number: number): Promise<void> {
    this.#directory = number;
    const inode = await this.#image.inode(number);
    const nrBlocks = Math.floor(inode.size / this.#image.geometry.blockSize);
    for (let logical = 0; logical < nrBlocks; logical++) {
      const block = await this.#read(inode, logical, this.#leaf);
      if (block !== null) await this.#guard(() => this.#checkBlock(block, logical === 0));
    }
    if ((inode.flags & InodeFlag.INDEX) !== 0) await this.#guard(() => this.#checkIndex(inode, nrBlocks));
  }

  /** What a decoder throws about damage becomes a finding. */
  async #guard(work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isKernelError(error) || error.code !== 'EUCLEAN') throw error;
      this.#say(error.message);
    }
  }

  async #read(inode: RawInode, logical: number, buffer: BlockBuffer): Promise<DirectoryBlock | null> {
    const block = await this.#map.find(inode, logical);
    if (block === 0) return null; // pass 1 has said so
    await this.#image.readBlock(block, buffer);
    return {
      bytes: buffer.bytes,
      view: buffer.view,
      name: `directory ${this.#directory} of ${this.#image.name}`,
      logical,
      hasFileTypes: (this.#image.superblock.featureIncompat & Incompat.FILETYPE) !== 0,
      inodesMax: this.#image.superblock.inodesCount,
    };
  }

  #checkBlock(block: DirectoryBlock, isFirst: boolean): void {
    let nrEntries = 0;
    for (let at = 0, next = 0; at < block.bytes.length; at = next) {
      next = nextEntry(block, at);
      const inode = entryInode(block, at);
      const place = isFirst ? nrEntries : 2;
      nrEntries++;
      if (place < 2) this.#checkDots(block, at, place);
      else if (inode !== 0) this.#checkEntry(block, at, inode);
    }
  }

  #checkDots(block: DirectoryBlock, at: number, place: number): void {
    const name = entryName(block, at);
    const inode = entryInode(block, at);
    if (name.length !== place + 1 || !isDots(name)) this.#say(`its entry ${place} is not ${place === 0 ? '.' : '..'}`);
    else if (place === 0 && inode !== this.#directory) this.#say(`its . is inode ${inode}`);
    else if (block.hasFileTypes && entryType(block, at) !== EntryType.DIRECTORY)
      this.#say(`its entry ${place} says type ${entryType(block, at)}`);
    this.#tables.addLink(inode);
  }

  #checkEntry(block: DirectoryBlock, at: number, inode: number): void {
    const name = entryName(block, at);
    const shown = [...name].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?')).join('');
    const type = this.#tables.typeOf(inode);
    if (entryNameLength(block, at) === 0 || isDots(name) || name.includes(0x2f) || name.includes(0)) {
      this.#say(`has an entry with the name ${JSON.stringify(shown)}`);
    }
    if (type === 0 || type === NO_TYPE) {
      this.#say(`its entry ${shown} names inode ${inode}, which is not in use`);
      return;
    }
    if (block.hasFileTypes && entryType(block, at) !== entryTypeOf(type * 0x1000))
      this.#say(`its entry ${shown} says type ${entryType(block, at)}, and inode ${inode} is ${entryTypeOf(type * 0x1000)}`);
    if (type === DIRECTORY_TYPE) {
      if (this.#tables.parentOf(inode) !== 0) this.#say(`its entry ${shown} is one more name of directory ${inode}`);
      else this.#tables.setParent(inode, this.#directory);
    }
    this.#tables.addLink(inode);
  }

  async #checkIndex(inode: RawInode, nrBlocks: number): Promise<void> {
    if ((this.#image.superblock.featureCompat & Compat.DIR_INDEX) === 0) {
      this.#say('has an index, and the image has none');
      return;
    }
    const block = await this.#read(inode, 0, this.#index[0]);
    if (block === null) return;
    const root = readRoot(block, nrBlocks);
    const shift = (this.#image.superblock.flags & SuperFlag.UNSIGNED_HASH) !== 0 ? UNSIGNED : 0;
    const version = (root.hashVersion + shift) as HashVersion;
    await this.#checkSlots(inode, root, root.levels, nrBlocks, { from: 0, to: 2 ** 32, version });
  }

  async #checkSlots(inode: RawInode, index: IndexBlock, levels: number, nrBlocks: number, range: LeafRange): Promise<void> {
    const count = slotCount(index);
    for (let n = 0; n < count; n++) {
      const part = { ...range, from: n === 0 ? range.from : slotHash(index, n), to: n + 1 < count ? slotHash(index, n + 1) : range.to };
      const logical = slotBlock(index, n);
      if (levels > 0) {
        const block = await this.#read(inode, logical, this.#index[1]);
        if (block !== null) await this.#checkSlots(inode, readNode(block, nrBlocks), levels - 1, nrBlocks, part);
      } else {
        const block = await this.#read(inode, logical, this.#leaf);
        if (block !== null) this.#checkLeaf(block, part);
      }
      if (findSlot(index, slotHash(index, n)) < n) this.#say(`its index finds no slot for hash ${slotHash(index, n)}`);
    }
  }

  #checkLeaf(block: DirectoryBlock, { from, to, version }: LeafRange): void {
    for (let at = 0, next = 0; at < block.bytes.length; at = next) {
      next = nextEntry(block, at);
      if (entryInode(block, at) === 0 || isDots(entryName(block, at))) continue;
      const { major } = hashName(entryName(block, at), version, this.#seed);
      const isFirst = (from & ~1) >>> 0;
      const isLast = (to & 1) === 1 ? to : to - 1;
      if (major < isFirst || major > isLast) this.#say(`block ${block.logical} is for hashes ${from} to ${to}, and holds ${major}`);
    }
  }
}
