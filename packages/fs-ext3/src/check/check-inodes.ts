/**
 * Pass 1: every inode in use, and every block it claims.
 *
 * What is checked: type and flags; times of deletion; each pointer inside the image, outside the groups' own structures, and claimed once;
 * sectors and size against what is mapped; symbolic links; attributes in the inode and in blocks, and how many share a block.
 */
import { isKernelError } from '@tidemark/core';
import { attributeSpaceOf } from './attribute-space.js';
import { getAttributeBlock, getInodeAttributes } from '../format/attributes.js';
import { maxFileBytes } from '../format/block-path.js';
import { groupStart, hasSuperblock, superblockOverhead } from '../format/geometry.js';
import {
  DIRECT_BLOCKS,
  FAST_SYMLINK_BYTES_MAX,
  FileType,
  InodeFlag,
  LATER_FLAGS,
  fastSymlinkText,
  NR_POINTERS,
  type RawInode,
  ReservedInode,
} from '../format/inode.js';
import type { Findings } from './findings.js';
import { BlockBuffer, type Ext3Image } from './image.js';
import { type CheckTables, NO_TYPE } from './tables.js';

/** Attribute blocks whose references are counted. */
const ATTRIBUTE_BLOCKS_MAX = 65_536;
const TYPES: readonly number[] = [
  FileType.FIFO,
  FileType.CHARACTER,
  FileType.DIRECTORY,
  FileType.BLOCK,
  FileType.REGULAR,
  FileType.SYMLINK,
  FileType.SOCKET,
];

/** Fields that only later formats use, and, but for regular files, the high half of the size. Byte offsets. */
const SIZE_HIGH_AT = 0x6c;
const FRAGMENT_AT = 0x70;
const HIGH_HALVES_AT = 0x74;

/** What the blocks of one inode come to. */
interface Claim {
  nrBlocks: number;
  /** Highest logical block that is mapped, or −1. */
  lastLogical: number;
  nrMapped: number;
}

export class InodeChecker {
  readonly #image: Ext3Image;
  readonly #tables: CheckTables;
  readonly #findings: Findings;
  readonly #indirect: BlockBuffer[];
  readonly #attributes: BlockBuffer;
  /** References of an attribute block: those it says, and those found. */
  readonly #shared = new Map<number, { said: number; found: number }>();
  #inode = 0;

  constructor(image: Ext3Image, tables: CheckTables, findings: Findings) {
    this.#image = image;
    this.#tables = tables;
    this.#findings = findings;
    const { blockSize } = image.geometry;
    this.#indirect = Array.from({ length: 3 }, () => new BlockBuffer(blockSize));
    this.#attributes = new BlockBuffer(blockSize);
  }

  #say(what: string): void {
    this.#findings.add(1, `inode ${this.#inode}: ${what}`);
  }

  async run(): Promise<void> {
    await this.#claimStructures();
    const { inodesCount } = this.#image.superblock;
    for (let inode = 1; inode <= inodesCount; inode++) await this.#checkInode(inode);
    for (const [block, { said, found }] of this.#shared)
      if (said !== found) this.#findings.add(1, `attribute block ${block}: ${said} references, and ${found} inodes have it`);
  }

  /** Blocks that belong to the groups. */
  async #claimStructures(): Promise<void> {
    const { geometry } = this.#image;
    for (let group = 0; group < geometry.nrGroups; group++) {
      const start = groupStart(geometry, group);
      if (hasSuperblock(geometry, group)) for (let i = 0; i < superblockOverhead(geometry, group); i++) this.#tables.use(start + i);
      const { blockBitmap, inodeBitmap, inodeTable } = await this.#image.descriptor(group);
      this.#tables.use(blockBitmap);
      this.#tables.use(inodeBitmap);
      for (let i = 0; i < geometry.inodeTableBlocks; i++) this.#tables.use(inodeTable + i);
    }
  }

  async #checkInode(number: number): Promise<void> {
    this.#inode = number;
    let inode: RawInode;
    try {
      inode = await this.#image.inode(number);
    } catch (error) {
      if (!isKernelError(error) || error.code !== 'EUCLEAN') throw error;
      this.#say(error.message);
      return;
    }
    const isReserved = number < this.#image.superblock.firstInode && number !== ReservedInode.ROOT;
    if (inode.linksCount === 0 && !isReserved) {
      if (inode.mode !== 0 && inode.dtime === 0) this.#say('is deleted, and its time of deletion is zero');
      return;
    }
    if (isReserved) this.#tables.setType(number, NO_TYPE);
    if (isReserved && inode.linksCount === 0 && inode.mode === 0 && inode.block.every((word) => word === 0)) return;
    if (inode.dtime !== 0 && inode.linksCount > 0) this.#say('is in use, and has a time of deletion');
    if ((inode.flags & LATER_FLAGS) !== 0) this.#say('has flags of ext4');
    const isDirectory = (inode.mode & FileType.MASK) === FileType.DIRECTORY;
    if ((inode.flags & InodeFlag.INDEX) !== 0 && !isDirectory) this.#say('has the flag of an index, and is no directory');
    if (number === ReservedInode.RESIZE) await this.#checkResizeInode(inode);
    else await this.#checkKind(number, inode, isReserved);
  }

  async #checkKind(number: number, inode: RawInode, isReserved: boolean): Promise<void> {
    const type = inode.mode & FileType.MASK;
    if (!TYPES.includes(type) && !(isReserved && type === 0)) {
      this.#say(`has mode ${inode.mode.toString(8)}, which is no type`);
      return;
    }
    this.#tables.setType(number, type === 0 ? NO_TYPE : type / 0x1000);
    for (const at of [SIZE_HIGH_AT, FRAGMENT_AT, HIGH_HALVES_AT])
      if (!(at === SIZE_HIGH_AT && type === FileType.REGULAR) && (await this.#image.inodeWord(number, at)) !== 0)
        this.#say(`its word at byte ${at} should be zero`);
    const attributeBlocks = await this.#checkAttributes(number, inode);
    const sectorsPerBlock = this.#image.geometry.blockSize / 512;
    const hasBlocks =
      type === FileType.REGULAR ||
      type === FileType.DIRECTORY ||
      type === 0 ||
      (type === FileType.SYMLINK && inode.sectors > attributeBlocks * sectorsPerBlock);
    const claim: Claim = { nrBlocks: attributeBlocks, lastLogical: -1, nrMapped: 0 };
    if (hasBlocks) await this.#claimBlocks(inode, claim);
    if (inode.sectors !== claim.nrBlocks * sectorsPerBlock)
      this.#say(`counts ${inode.sectors} sectors, and has ${claim.nrBlocks * sectorsPerBlock}`);
    if (type === FileType.SYMLINK) await this.#checkSymlink(inode, hasBlocks);
    else if (type === FileType.DIRECTORY || type === FileType.REGULAR) this.#checkSize(inode, claim);
  }

  #checkSize(inode: RawInode, { lastLogical, nrMapped }: Claim): void {
    const { blockSize } = this.#image.geometry;
    const mappedBytes = (lastLogical + 1) * blockSize;
    if ((inode.mode & FileType.MASK) === FileType.DIRECTORY) {
      if (inode.size === 0 || inode.size !== mappedBytes) this.#say(`is a directory of ${inode.size} bytes with blocks for ${mappedBytes}`);
      else if (nrMapped !== lastLogical + 1) this.#say('is a directory with holes');
    } else if (inode.size > maxFileBytes(blockSize)) this.#say(`has ${inode.size} bytes, more than any file`);
    else if (inode.size < lastLogical * blockSize || (lastLogical >= 0 && inode.size <= lastLogical * blockSize))
      this.#say(`has ${inode.size} bytes, and a block at ${lastLogical * blockSize}`);
  }

  async #checkSymlink(inode: RawInode, isSlow: boolean): Promise<void> {
    const { blockSize } = this.#image.geometry;
    if (isSlow) {
      if (inode.size === 0 || inode.size >= blockSize || inode.block[0] === 0) {
        this.#say(`is a symbolic link of ${inode.size} bytes`);
        return;
      }
      await this.#image.readBlock(inode.block[0], this.#indirect[0]);
      if (this.#indirect[0].bytes.indexOf(0) !== inode.size) this.#say('is a symbolic link whose text is of another length');
      return;
    }
    const text = fastSymlinkText(inode.block);
    if (inode.size === 0 || inode.size > FAST_SYMLINK_BYTES_MAX || text.indexOf(0) !== inode.size)
      this.#say(`is a short symbolic link of ${inode.size} bytes, and its text has ${text.indexOf(0)}`);
  }

  async #claimBlocks(inode: RawInode, claim: Claim): Promise<void> {
    const p = this.#image.geometry.blockSize / 4;
    let logical = 0;
    for (let i = 0; i < NR_POINTERS; i++) {
      const depth = Math.max(0, i - DIRECT_BLOCKS + 1);
      await this.#claimTree(inode.block[i], depth, logical, claim);
      logical += p ** depth;
    }
  }

  async #claimTree(block: number, depth: number, logical: number, claim: Claim): Promise<void> {
    if (block === 0) return;
    if (!this.#claim(block)) return;
    claim.nrBlocks++;
    if (depth === 0) {
      claim.nrMapped++;
      claim.lastLogical = logical;
      return;
    }
    const buffer = this.#indirect[depth - 1];
    await this.#image.readBlock(block, buffer);
    const p = buffer.bytes.length / 4;
    for (let i = 0; i < p; i++) {
      const next = buffer.view.getUint32(4 * i, true);
      if (next !== 0) await this.#claimTree(next, depth - 1, logical + i * p ** (depth - 1), claim);
    }
  }

  /** @returns false if the block cannot be claimed. */
  #claim(block: number): boolean {
    const { firstDataBlock, nrBlocks } = this.#image.geometry;
    if (block <= firstDataBlock || block >= nrBlocks) {
      this.#say(`claims block ${block}, which is outside`);
      return false;
    }
    if (this.#tables.use(block)) return true;
    this.#say(`claims block ${block}, which is in use already`);
    return false;
  }

  /** @returns 1 if it has an attribute block. */
  async #checkAttributes(number: number, inode: RawInode): Promise<number> {
    try {
      const space = await attributeSpaceOf(this.#image, number, inode);
      if (space !== null) getInodeAttributes(`inode ${number}`, space);
      const block = inode.attributeBlock;
      if (block === 0) return 0;
      const known = this.#shared.get(block);
      if (known !== undefined) {
        known.found++;
        return 1;
      }
      if (!this.#claim(block)) return 0;
      await this.#image.readBlock(block, this.#attributes);
      const { references } = getAttributeBlock(`attribute block ${block}`, this.#attributes.bytes);
      if (this.#shared.size < ATTRIBUTE_BLOCKS_MAX) this.#shared.set(block, { said: references, found: 1 });
      else if (references > 1) this.#say(`has attribute block ${block}, whose references are not counted: there are too many such blocks`);
      return 1;
    } catch (error) {
      if (!isKernelError(error) || error.code !== 'EUCLEAN') throw error;
      this.#say(error.message);
      return 0;
    }
  }

  /** The room set aside to grow the descriptors: one doubly indirect block, over blocks that belong to the groups. */
  async #checkResizeInode(inode: RawInode): Promise<void> {
    this.#tables.setType(ReservedInode.RESIZE, FileType.REGULAR / 0x1000);
    const top = inode.block[DIRECT_BLOCKS + 1];
    if (top === 0) return;
    if (!this.#claim(top)) return;
    const { geometry } = this.#image;
    let nrCopies = 0;
    for (let group = 0; group < geometry.nrGroups; group++) if (hasSuperblock(geometry, group)) nrCopies++;
    const sectors = (1 + geometry.reservedGdtBlocks * nrCopies) * (geometry.blockSize / 512);
    if (inode.sectors !== sectors) this.#say(`counts ${inode.sectors} sectors, and should have ${sectors}`);
  }
}
