/**
 * The superblock: 1024 bytes at byte 1024 of the device, whatever the block size. Little-endian.
 *
 * `decodeSuperblock` checks every field that anything else is computed from, so that nobody behind it has to.
 */
import { KernelError, PAGE_SIZE } from '@tidemark/core';
import { copyOf, viewOf } from './bytes.js';
import { Compat, RoCompat, unknownIncompat, unknownRoCompat } from './features.js';
import { type StructOf, struct } from './struct.js';

/** Where it is, and how long. Bytes. */
export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 1024;
export const EXT_MAGIC = 0xef53;

/** `state`. */
export const FsState = { VALID: 1, ERROR: 2, ORPHAN: 4 } as const;
/** `errors`: what to do when the image turns out to be damaged. */
export const OnError = { CONTINUE: 1, READ_ONLY: 2, PANIC: 3 } as const;
/** `flags`. */
export const SuperFlag = { SIGNED_HASH: 1, UNSIGNED_HASH: 2 } as const;
/** First version with inode sizes and features. */
export const DYNAMIC_REVISION = 1;

const FIELDS = {
  inodesCount: [0x00, 'u32'],
  blocksCount: [0x04, 'u32'],
  reservedBlocksCount: [0x08, 'u32'],
  freeBlocksCount: [0x0c, 'u32'],
  freeInodesCount: [0x10, 'u32'],
  firstDataBlock: [0x14, 'u32'],
  logBlockSize: [0x18, 'u32'],
  logFragmentSize: [0x1c, 'u32'],
  blocksPerGroup: [0x20, 'u32'],
  fragmentsPerGroup: [0x24, 'u32'],
  inodesPerGroup: [0x28, 'u32'],
  mountTime: [0x2c, 'u32'],
  writeTime: [0x30, 'u32'],
  mountCount: [0x34, 'u16'],
  maxMountCount: [0x36, 's16'],
  magic: [0x38, 'u16'],
  state: [0x3a, 'u16'],
  errors: [0x3c, 'u16'],
  minorRevision: [0x3e, 'u16'],
  lastCheck: [0x40, 'u32'],
  checkInterval: [0x44, 'u32'],
  creatorOs: [0x48, 'u32'],
  revision: [0x4c, 'u32'],
  reservedUid: [0x50, 'u16'],
  reservedGid: [0x52, 'u16'],
  firstInode: [0x54, 'u32'],
  inodeSize: [0x58, 'u16'],
  blockGroupNr: [0x5a, 'u16'],
  featureCompat: [0x5c, 'u32'],
  featureIncompat: [0x60, 'u32'],
  featureRoCompat: [0x64, 'u32'],
  reservedGdtBlocks: [0xce, 'u16'],
  journalInode: [0xe0, 'u32'],
  journalDevice: [0xe4, 'u32'],
  lastOrphan: [0xe8, 'u32'],
  hashSeed0: [0xec, 'u32'],
  hashSeed1: [0xf0, 'u32'],
  hashSeed2: [0xf4, 'u32'],
  hashSeed3: [0xf8, 'u32'],
  defaultHashVersion: [0xfc, 'u8'],
  journalBackupType: [0xfd, 'u8'],
  descriptorSize: [0xfe, 'u16'],
  defaultMountOptions: [0x100, 'u32'],
  firstMetaGroup: [0x104, 'u32'],
  mkfsTime: [0x108, 'u32'],
  minExtraInodeSize: [0x15c, 'u16'],
  wantExtraInodeSize: [0x15e, 'u16'],
  flags: [0x160, 'u32'],
  errorCount: [0x194, 'u32'],
} as const;

const STRUCT = struct(FIELDS);
const UUID_OFFSET = 0x68;
const LABEL_OFFSET = 0x78;
const LABEL_BYTES = 16;
const JOURNAL_UUID_OFFSET = 0xd0;
const JOURNAL_BLOCKS_OFFSET = 0x10c;
const JOURNAL_BLOCKS_WORDS = 17;

/** Sizes of the first revision, which has no fields for them. */
const OLD_INODE_SIZE = 128;
const OLD_FIRST_INODE = 11;
const GROUP_DESCRIPTOR_BYTES = 32;

/** The fields of a superblock. Counts are blocks and inodes, times seconds. */
export interface Superblock extends StructOf<typeof FIELDS> {
  /** 16 bytes. */
  uuid: Uint8Array;
  /** At most 16 bytes of text. */
  label: string;
  /** Copy of the journal inode's `i_block`, high size and size, or zeroes. 17 words. */
  journalBlocks: Uint32Array;
}

/** The superblock of `bytes`, at `at`. Nothing is checked. */
export function getSuperblock(bytes: Uint8Array, at = 0): Superblock {
  const view = viewOf(bytes);
  const text = bytes.subarray(at + LABEL_OFFSET, at + LABEL_OFFSET + LABEL_BYTES);
  const end = text.indexOf(0);
  return {
    ...STRUCT.get(view, at),
    uuid: copyOf(bytes, at + UUID_OFFSET, at + UUID_OFFSET + 16),
    label: String.fromCharCode(...text.subarray(0, end < 0 ? LABEL_BYTES : end)),
    journalBlocks: Uint32Array.from({ length: JOURNAL_BLOCKS_WORDS }, (_, i) => view.getUint32(at + JOURNAL_BLOCKS_OFFSET + 4 * i, true)),
  };
}

/** Puts a superblock into `bytes` at `at`. Bytes that no field names stay. */
export function putSuperblock(bytes: Uint8Array, superblock: Superblock, at = 0): void {
  const view = viewOf(bytes);
  const { uuid, label, journalBlocks, ...numbers } = superblock;
  STRUCT.put(view, at, numbers);
  bytes.set(uuid, at + UUID_OFFSET);
  for (let i = 0; i < LABEL_BYTES; i++) bytes[at + LABEL_OFFSET + i] = i < label.length ? label.charCodeAt(i) : 0;
  journalBlocks.forEach((word, i) => void view.setUint32(at + JOURNAL_BLOCKS_OFFSET + 4 * i, word, true));
}

/** Puts some of a superblock's numbers into `bytes` at `at`. */
export function putSuperblockFields(bytes: Uint8Array, at: number, values: Partial<StructOf<typeof FIELDS>>): void {
  STRUCT.put(viewOf(bytes), at, values);
}

/** True if the superblock names an external journal. */
function hasExternalJournal(superblock: Superblock, bytes: Uint8Array): boolean {
  return superblock.journalDevice !== 0 || bytes.subarray(JOURNAL_UUID_OFFSET, JOURNAL_UUID_OFFSET + 16).some((byte) => byte !== 0);
}

/**
 * Decodes and checks the superblock of an image.
 * @param bytes its 1024 bytes.
 * @param deviceBytes size of the device, which must hold all its blocks.
 * @throws KernelError EINVAL for what is no ext2 or ext3; EOPNOTSUPP naming the features we lack; EUCLEAN naming the field that is
 * impossible, with `details.offsetBytes`.
 */
export function decodeSuperblock(name: string, bytes: Uint8Array, deviceBytes: number): Superblock {
  const superblock = getSuperblock(bytes);
  if (superblock.magic !== EXT_MAGIC)
    throw new KernelError('EINVAL', `${name} is no ext2 or ext3: no magic at byte ${SUPERBLOCK_OFFSET + 0x38}`);
  if (superblock.revision > DYNAMIC_REVISION)
    throw new KernelError('EOPNOTSUPP', `${name} has revision ${superblock.revision}; known are 0 and 1`);
  if (superblock.revision < DYNAMIC_REVISION) {
    Object.assign(superblock, {
      inodeSize: OLD_INODE_SIZE,
      firstInode: OLD_FIRST_INODE,
      featureCompat: 0,
      featureIncompat: 0,
      featureRoCompat: 0,
    });
  }
  const lacking = unknownIncompat(superblock.featureIncompat);
  if (lacking.length > 0) throw new KernelError('EOPNOTSUPP', `${name} needs features that ext3 does not have: ${lacking.join(', ')}`);
  if ((superblock.featureCompat & Compat.HAS_JOURNAL) !== 0 && hasExternalJournal(superblock, bytes))
    throw new KernelError('EOPNOTSUPP', `${name} has its journal on another device, which is not supported`);
  checkGeometry(name, superblock, deviceBytes);
  return superblock;
}

/** Names of the features because of which an image is mounted read-only; none for most. */
export function readOnlyFeatures({ featureRoCompat }: Superblock): string[] {
  return unknownRoCompat(featureRoCompat);
}

/** True if backups of the superblock are only in groups 0, 1 and powers of 3, 5 and 7. */
export function isSparse({ featureRoCompat }: Superblock): boolean {
  return (featureRoCompat & RoCompat.SPARSE_SUPER) !== 0;
}

function checkGeometry(name: string, superblock: Superblock, deviceBytes: number): void {
  const insist = (holds: boolean, field: keyof typeof FIELDS, why: string): void => {
    if (holds) return;
    const offsetBytes = SUPERBLOCK_OFFSET + FIELDS[field][0];
    throw new KernelError('EUCLEAN', `${name}: the superblock's ${field} is ${superblock[field]}, ${why} (byte ${offsetBytes})`, {
      details: { offsetBytes, field },
    });
  };
  const { logBlockSize, blocksPerGroup, inodesPerGroup, inodeSize, firstDataBlock, blocksCount } = superblock;
  insist(logBlockSize <= 6, 'logBlockSize', 'more than 6');
  const blockSize = 1024 << logBlockSize;
  if (blockSize > PAGE_SIZE)
    throw new KernelError('EOPNOTSUPP', `${name} has blocks of ${blockSize} bytes; at most ${PAGE_SIZE} are supported`);
  insist(superblock.logFragmentSize === logBlockSize, 'logFragmentSize', 'and not that of a block');
  insist(firstDataBlock === (blockSize === 1024 ? 1 : 0), 'firstDataBlock', `with blocks of ${blockSize} bytes`);
  insist(
    blocksPerGroup >= 8 && blocksPerGroup <= 8 * blockSize && blocksPerGroup % 8 === 0,
    'blocksPerGroup',
    'which one bitmap cannot hold',
  );
  insist(superblock.fragmentsPerGroup === blocksPerGroup, 'fragmentsPerGroup', 'and not that of blocks');
  const isPower = (inodeSize & (inodeSize - 1)) === 0;
  insist(isPower && inodeSize >= OLD_INODE_SIZE && inodeSize <= blockSize, 'inodeSize', 'which is no power of two from 128 to a block');
  const inodesPerBlock = blockSize / inodeSize;
  insist(
    inodesPerGroup >= inodesPerBlock && inodesPerGroup <= 8 * blockSize && inodesPerGroup % inodesPerBlock === 0,
    'inodesPerGroup',
    'which does not fill whole blocks, or one bitmap cannot hold',
  );
  insist(blocksCount > firstDataBlock, 'blocksCount', 'and the first data block is beyond');
  insist(blocksCount * blockSize <= deviceBytes, 'blocksCount', `more than the device of ${deviceBytes} bytes holds`);
  insist(superblock.firstInode >= OLD_FIRST_INODE && superblock.firstInode <= superblock.inodesCount, 'firstInode', 'out of range');
  const nrGroups = Math.ceil((blocksCount - firstDataBlock) / blocksPerGroup);
  insist(superblock.inodesCount === nrGroups * inodesPerGroup, 'inodesCount', `and ${nrGroups} groups have ${inodesPerGroup} each`);
  insist(superblock.descriptorSize === 0 || superblock.descriptorSize === GROUP_DESCRIPTOR_BYTES, 'descriptorSize', 'and not 32');
  insist(superblock.reservedBlocksCount <= blocksCount, 'reservedBlocksCount', 'more than there are');
  const gdtBlocks = Math.ceil((nrGroups * GROUP_DESCRIPTOR_BYTES) / blockSize);
  insist(superblock.reservedGdtBlocks <= blockSize / 4, 'reservedGdtBlocks', 'more than one block lists');
  insist(firstDataBlock + 1 + gdtBlocks < blocksCount, 'blocksCount', 'too few for the group descriptors');
}
