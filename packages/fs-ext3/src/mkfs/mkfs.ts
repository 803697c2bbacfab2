/**
 * Makes an ext3, or an ext2 if it is to have no journal.
 *
 *     each group   its bitmaps and an empty inode table; copies of superblock and descriptors where they belong
 *     root 2       with lost+found 11, which has room set aside
 *     journal 8    in the middle of the device, its log empty
 *     last         the primary superblock: until it is there, there is no filesystem
 *
 * What mke2fs makes, but for one thing: no room is set aside to grow the descriptors (`resize_inode`).
 */
import { KernelError } from '@tidemark/core';
import { Compat, Incompat, RoCompat } from '../format/features.js';
import { ascii, viewOf } from '../format/bytes.js';
import { indirectBlocks } from '../format/block-path.js';
import { clearBlock, type DirectoryBlock, EntryType, insertEntry, putEntry } from '../format/directory-entry.js';
import {
  type Geometry,
  GROUP_DESCRIPTOR_BYTES,
  geometryOf,
  groupBlocks,
  groupStart,
  hasSuperblock,
  superblockOverhead,
} from '../format/geometry.js';
import { putGroupDescriptor } from '../format/group-descriptor.js';
import { EXTRA_BYTES, FileType, OLD_INODE_BYTES, putInode, type RawInode, ReservedInode } from '../format/inode.js';
import { BlockType, JOURNAL_MAGIC, putJournalSuperblock } from '../format/journal.js';
import { HashVersion } from '../format/name-hash.js';
import {
  DYNAMIC_REVISION,
  EXT_MAGIC,
  FsState,
  OnError,
  putSuperblock,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
  type Superblock,
  SuperFlag,
} from '../format/superblock.js';
import { mapFile } from './file-map.js';
import { blocksOf, FreshSpace, type Run, structureBlocks } from './fresh-space.js';
import type { MkfsPlan } from './options.js';

/** What mkfs writes to. */
export interface MkfsTarget {
  /** For messages. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Writes bytes. Rejects with what went wrong. */
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  /** Makes a range read as zeroes. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** Makes all of it durable. */
  flush(): Promise<void>;
}

/** What was made. */
export interface MadeFilesystem {
  readonly superblock: Superblock;
  readonly geometry: Geometry;
  /** Blocks of the journal; 0 for an ext2. */
  readonly journalBlocks: number;
}

const LOST_AND_FOUND = 11;
const LOST_AND_FOUND_BYTES = 16_384;
/** Direct blocks at most. */
const LOST_AND_FOUND_BLOCKS_MAX = 12;
/** A last group with fewer blocks of its own than this is not worth its structures. */
const LAST_GROUP_LEAST = 50;
/** Default mount options: user attributes and ACLs. */
const DEFAULT_MOUNT_OPTIONS = 0xc;

/**
 * Makes the filesystem.
 * @throws KernelError ENOSPC for a device that is too small; what the target rejects with.
 */
export async function mkfs(target: MkfsTarget, plan: MkfsPlan): Promise<MadeFilesystem> {
  const superblock = layOut(target, plan);
  const geometry = geometryOf(superblock);
  const maker = new Maker(target, plan, superblock, geometry);
  await maker.run();
  return { superblock, geometry, journalBlocks: plan.journalBlocks };
}

/** The superblock of an image with nothing in it, every count that depends on the device's size decided. */
function layOut(target: MkfsTarget, plan: MkfsPlan): Superblock {
  const { blockSize, inodeSize, bytesPerInode } = plan;
  const firstDataBlock = blockSize === 1024 ? 1 : 0;
  const blocksPerGroup = 8 * blockSize;
  const inodesPerBlock = blockSize / inodeSize;
  let nrBlocks = Math.floor(target.sizeBytes / blockSize);
  for (;;) {
    const nrGroups = Math.ceil((nrBlocks - firstDataBlock) / blocksPerGroup);
    if (nrGroups < 1) throw tooSmall(target);
    const wantedInodes = Math.max(Math.floor((nrBlocks * blockSize) / bytesPerInode), LOST_AND_FOUND + 1);
    const unit = Math.max(inodesPerBlock, 8);
    const inodesPerGroup = Math.min(Math.ceil(Math.ceil(wantedInodes / nrGroups) / unit) * unit, 8 * blockSize);
    if (inodesPerGroup * nrGroups >= 2 ** 32)
      throw new KernelError('EINVAL', `make ext3 on ${target.name}: too many inodes; raise bytesPerInode`);
    const superblock = freshSuperblock(plan, nrBlocks, nrGroups, inodesPerGroup, blocksPerGroup, firstDataBlock);
    const geometry = geometryOf(superblock);
    const last = nrGroups - 1;
    if (groupBlocks(geometry, last) >= structureBlocks(geometry, last) + LAST_GROUP_LEAST) return superblock;
    if (last === 0) throw tooSmall(target);
    nrBlocks = groupStart(geometry, last);
  }
}

function tooSmall(target: MkfsTarget): KernelError {
  return new KernelError('ENOSPC', `make ext3 on ${target.name}: ${target.sizeBytes} bytes are too few`);
}

function freshSuperblock(
  plan: MkfsPlan,
  nrBlocks: number,
  nrGroups: number,
  inodesPerGroup: number,
  blocksPerGroup: number,
  firstDataBlock: number,
): Superblock {
  const { blockSize, inodeSize, nowSeconds, journalBlocks } = plan;
  const seed = new DataView(plan.hashSeed.buffer, plan.hashSeed.byteOffset, 16);
  const hasRoom = inodeSize > OLD_INODE_BYTES;
  return {
    inodesCount: inodesPerGroup * nrGroups,
    blocksCount: nrBlocks,
    reservedBlocksCount: Math.floor((nrBlocks * plan.reservedPercent) / 100),
    freeBlocksCount: 0,
    freeInodesCount: 0,
    firstDataBlock,
    logBlockSize: Math.log2(blockSize / 1024),
    logFragmentSize: Math.log2(blockSize / 1024),
    blocksPerGroup,
    fragmentsPerGroup: blocksPerGroup,
    inodesPerGroup,
    mountTime: 0,
    writeTime: nowSeconds,
    mountCount: 0,
    maxMountCount: -1,
    magic: EXT_MAGIC,
    state: FsState.VALID,
    errors: OnError.CONTINUE,
    minorRevision: 0,
    lastCheck: nowSeconds,
    checkInterval: 0,
    creatorOs: 0,
    revision: DYNAMIC_REVISION,
    reservedUid: 0,
    reservedGid: 0,
    firstInode: LOST_AND_FOUND,
    inodeSize,
    blockGroupNr: 0,
    featureCompat: Compat.EXT_ATTR | (journalBlocks > 0 ? Compat.HAS_JOURNAL : 0) | (plan.dirIndex ? Compat.DIR_INDEX : 0),
    featureIncompat: Incompat.FILETYPE,
    featureRoCompat: RoCompat.LARGE_FILE | (plan.sparseSuper ? RoCompat.SPARSE_SUPER : 0),
    reservedGdtBlocks: 0,
    journalInode: journalBlocks > 0 ? ReservedInode.JOURNAL : 0,
    journalDevice: 0,
    lastOrphan: 0,
    hashSeed0: seed.getUint32(0, true),
    hashSeed1: seed.getUint32(4, true),
    hashSeed2: seed.getUint32(8, true),
    hashSeed3: seed.getUint32(12, true),
    defaultHashVersion: HashVersion.HALF_MD4,
    journalBackupType: journalBlocks > 0 ? 1 : 0,
    descriptorSize: 0,
    defaultMountOptions: DEFAULT_MOUNT_OPTIONS,
    firstMetaGroup: 0,
    mkfsTime: nowSeconds,
    minExtraInodeSize: hasRoom ? EXTRA_BYTES : 0,
    wantExtraInodeSize: hasRoom ? EXTRA_BYTES : 0,
    flags: SuperFlag.SIGNED_HASH,
    errorCount: 0,
    uuid: plan.uuid,
    label: plan.label,
    journalBlocks: new Uint32Array(17),
  };
}

/** One making. */
class Maker {
  readonly #space: FreshSpace;
  readonly #inodes = new Map<number, RawInode>();
  readonly #block: Uint8Array;
  readonly #view: DataView;

  constructor(
    readonly target: MkfsTarget,
    readonly plan: MkfsPlan,
    readonly superblock: Superblock,
    readonly geometry: Geometry,
  ) {
    this.#space = new FreshSpace(target.name, geometry);
    this.#block = new Uint8Array(geometry.blockSize);
    this.#view = viewOf(this.#block);
  }

  async run(): Promise<void> {
    // No superblock of before may be found should this not come to its end.
    await this.target.zero(0, Math.max(SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES, this.geometry.blockSize));
    await this.#makeRoot();
    if (this.plan.journalBlocks > 0) await this.#makeJournal();
    for (let group = 0; group < this.geometry.nrGroups; group++) await this.#makeGroup(group);
    await this.#makeTable();
    await this.target.flush();
    await this.#putSuperblock(0);
    await this.target.flush();
  }

  #write(block: number): Promise<void> {
    return this.target.write(block * this.geometry.blockSize, this.#block);
  }

  /** An inode with what every one of ours has. */
  #inode(mode: number, linksCount: number, runs: readonly Run[], sizeBytes: number): RawInode {
    const now = { seconds: this.plan.nowSeconds, nanoseconds: 0 };
    const nrBlocks = runs.reduce((sum, { count }) => sum + count, 0);
    const hasRoom = this.geometry.inodeSize > OLD_INODE_BYTES;
    return {
      mode,
      uid: 0,
      gid: 0,
      size: sizeBytes,
      atime: now,
      ctime: now,
      mtime: now,
      birthTime: hasRoom ? now : null,
      dtime: 0,
      linksCount,
      sectors: nrBlocks * (this.geometry.blockSize / 512),
      flags: 0,
      version: 0,
      generation: 0,
      attributeBlock: 0,
      block: new Uint32Array(15),
      extraBytes: hasRoom ? EXTRA_BYTES : 0,
    };
  }

  #directoryBlock(inode: number, logical: number): DirectoryBlock {
    const block: DirectoryBlock = {
      bytes: this.#block,
      view: this.#view,
      name: `directory ${inode} of ${this.target.name}`,
      logical,
      hasFileTypes: true,
      inodesMax: this.superblock.inodesCount,
    };
    clearBlock(block);
    return block;
  }

  #putDots(block: DirectoryBlock, self: number, parent: number): void {
    putEntry(block, 0, 12, self, EntryType.DIRECTORY, ascii('.'));
    putEntry(block, 12, block.bytes.length - 12, parent, EntryType.DIRECTORY, ascii('..'));
  }

  async #makeRoot(): Promise<void> {
    const { blockSize } = this.geometry;
    const root = this.#space.take(1, 0);
    const block = this.#directoryBlock(ReservedInode.ROOT, 0);
    this.#putDots(block, ReservedInode.ROOT, ReservedInode.ROOT);
    insertEntry(block, 12, LOST_AND_FOUND, EntryType.DIRECTORY, ascii('lost+found'));
    await this.#write(root[0].first);
    const inode = this.#inode(FileType.DIRECTORY | 0o755, 3, root, blockSize);
    inode.block[0] = root[0].first;
    this.#inodes.set(ReservedInode.ROOT, inode);

    const nrBlocks = Math.max(2, Math.min(Math.ceil(LOST_AND_FOUND_BYTES / blockSize), LOST_AND_FOUND_BLOCKS_MAX));
    const runs = this.#space.take(nrBlocks, 0);
    const lost = this.#inode(FileType.DIRECTORY | 0o700, 2, runs, nrBlocks * blockSize);
    let logical = 0;
    for (const number of blocksOf(runs)) {
      const free = this.#directoryBlock(LOST_AND_FOUND, logical);
      if (logical === 0) this.#putDots(free, LOST_AND_FOUND, ReservedInode.ROOT);
      await this.#write(number);
      lost.block[logical++] = number;
    }
    this.#inodes.set(LOST_AND_FOUND, lost);
  }

  async #makeJournal(): Promise<void> {
    const { blockSize, nrGroups } = this.geometry;
    const nrBlocks = this.plan.journalBlocks;
    const pointersPerBlock = blockSize / 4;
    const runs = this.#space.take(nrBlocks + indirectBlocks(nrBlocks, pointersPerBlock), Math.floor(nrGroups / 2));
    for (const { first, count } of runs) await this.target.zero(first * blockSize, count * blockSize);
    const inode = this.#inode(FileType.REGULAR | 0o600, 1, runs, nrBlocks * blockSize);
    inode.block = await mapFile(blocksOf(runs), nrBlocks, pointersPerBlock, (block, pointers) => {
      this.#block.fill(0);
      pointers.forEach((pointer, i) => void this.#view.setUint32(4 * i, pointer, true));
      return this.#write(block);
    });
    this.#inodes.set(ReservedInode.JOURNAL, inode);
    this.superblock.journalBlocks.set(inode.block);
    this.superblock.journalBlocks.set([Math.floor(inode.size / 2 ** 32), inode.size % 2 ** 32], 15);
    this.#block.fill(0);
    putJournalSuperblock(this.#block, {
      magic: JOURNAL_MAGIC,
      type: BlockType.SUPERBLOCK_V2,
      blockSize,
      maxlen: nrBlocks,
      first: 1,
      sequence: 1,
      start: 0,
      errno: 0,
      featureCompat: 0,
      featureIncompat: 0,
      featureRoCompat: 0,
      nrUsers: 1,
      head: 0,
      uuid: this.plan.uuid,
    });
    await this.#write(inode.block[0]);
  }

  /** Bitmaps and inode table of a group. */
  async #makeGroup(group: number): Promise<void> {
    const { geometry, superblock } = this;
    const { blockSize, inodesPerGroup, inodeTableBlocks } = geometry;
    const bitmap = groupStart(geometry, group) + superblockOverhead(geometry, group);
    const used = this.#space.used(group);
    const inGroup = groupBlocks(geometry, group);
    this.#fillBitmap(used, inGroup);
    await this.#write(bitmap);
    const nrReserved = group === 0 ? LOST_AND_FOUND : 0;
    this.#fillBitmap(nrReserved, inodesPerGroup);
    await this.#write(bitmap + 1);
    superblock.freeBlocksCount += inGroup - used;
    superblock.freeInodesCount += inodesPerGroup - nrReserved;
    const table = bitmap + 2;
    await this.target.zero(table * blockSize, inodeTableBlocks * blockSize);
    if (group === 0) await this.#putInodes(table);
  }

  /** The first `nrUsed` bits are set, and those that stand for nothing. */
  #fillBitmap(nrUsed: number, nrBits: number): void {
    for (let byte = 0; byte < this.#block.length; byte++) {
      let bits = 0;
      for (let bit = 0; bit < 8; bit++) {
        const at = byte * 8 + bit;
        if (at < nrUsed || at >= nrBits) bits |= 1 << bit;
      }
      this.#block[byte] = bits;
    }
  }

  async #putInodes(table: number): Promise<void> {
    const { inodeSize, inodesPerBlock } = this.geometry;
    // What is reserved has no type and no links, as mke2fs leaves it.
    for (let inode = 1; inode < LOST_AND_FOUND; inode++)
      if (!this.#inodes.has(inode)) this.#inodes.set(inode, { ...this.#inode(0, 0, [], 0), birthTime: null, extraBytes: 0 });
    const nrBlocks = Math.ceil(LOST_AND_FOUND / inodesPerBlock);
    for (let n = 0; n < nrBlocks; n++) {
      this.#block.fill(0);
      for (let i = 0; i < inodesPerBlock; i++) {
        const inode = this.#inodes.get(n * inodesPerBlock + i + 1);
        if (inode !== undefined) putInode(this.#view, i * inodeSize, inodeSize, inode);
      }
      await this.#write(table + n);
    }
  }

  /** The descriptors, in every group that has them, and the backups of the superblock. */
  async #makeTable(): Promise<void> {
    const { geometry } = this;
    for (let n = 0; n < geometry.gdtBlocks; n++) {
      this.#block.fill(0);
      for (let i = 0; i < geometry.descriptorsPerBlock; i++) {
        const group = n * geometry.descriptorsPerBlock + i;
        if (group < geometry.nrGroups) putGroupDescriptor(this.#view, i * GROUP_DESCRIPTOR_BYTES, this.#descriptor(group));
      }
      for (let group = 0; group < geometry.nrGroups; group++)
        if (hasSuperblock(geometry, group)) await this.#write(groupStart(geometry, group) + 1 + n);
    }
    for (let group = 1; group < geometry.nrGroups; group++) if (hasSuperblock(geometry, group)) await this.#putSuperblock(group);
  }

  #descriptor(group: number): Parameters<typeof putGroupDescriptor>[2] {
    const { geometry } = this;
    const blockBitmap = groupStart(geometry, group) + superblockOverhead(geometry, group);
    return {
      blockBitmap,
      inodeBitmap: blockBitmap + 1,
      inodeTable: blockBitmap + 2,
      freeBlocksCount: groupBlocks(geometry, group) - this.#space.used(group),
      freeInodesCount: geometry.inodesPerGroup - (group === 0 ? LOST_AND_FOUND : 0),
      usedDirsCount: group === 0 ? 2 : 0,
    };
  }

  /** The primary is at byte 1024; a copy at the start of its group. */
  async #putSuperblock(group: number): Promise<void> {
    const bytes = new Uint8Array(SUPERBLOCK_BYTES);
    putSuperblock(bytes, { ...this.superblock, blockGroupNr: group });
    await this.target.write(group === 0 ? SUPERBLOCK_OFFSET : groupStart(this.geometry, group) * this.geometry.blockSize, bytes);
  }
}
