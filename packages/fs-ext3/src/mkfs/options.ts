/** What an image is made with: the user's wishes, checked, and mke2fs' defaults for the rest. */
import { encodeUtf8, KernelError, parseSize, type Size } from '@tidemark/core';
import { JOURNAL_BLOCKS_MIN } from '../format/journal.js';

/** Options of `mkfs`. */
export interface MkfsOptions {
  /** 1024, 2048 or 4096. Default: 1024 below 512 MiB, else 4096. */
  readonly blockSize?: number;
  /** 128, or 256 (the default), which has room for nanoseconds and small attributes. */
  readonly inodeSize?: number;
  /** One inode for this many bytes. Default: 4096 below 512 MiB, else 16384. */
  readonly bytesPerInode?: number;
  /** Bytes of the journal; 0 makes an ext2. Default by size, as mke2fs chooses. */
  readonly journalSize?: Size;
  /** At most 16 bytes. */
  readonly label?: string;
  /** 16 bytes. Default: random. */
  readonly uuid?: Uint8Array;
  /** Percent of the blocks that only root may fill. Default 5. */
  readonly reservedPercent?: number;
  /** Backups of the superblock in few groups only. Default true. */
  readonly sparseSuper?: boolean;
  /** Hashed directories. Default true. */
  readonly dirIndex?: boolean;
  /** Seconds since 1970 that everything is made at. */
  readonly nowSeconds: number;
  /** Words that hashes of names start from; with the UUID, from a source of randomness. 16 bytes. */
  readonly hashSeed: Uint8Array;
}

/** Checked, with nothing left open. */
export interface MkfsPlan {
  readonly blockSize: number;
  readonly inodeSize: number;
  readonly bytesPerInode: number;
  /** 0 for none. */
  readonly journalBlocks: number;
  readonly label: string;
  readonly uuid: Uint8Array;
  readonly reservedPercent: number;
  readonly sparseSuper: boolean;
  readonly dirIndex: boolean;
  readonly nowSeconds: number;
  readonly hashSeed: Uint8Array;
}

const SMALL_BYTES = 512 * 2 ** 20;
const LABEL_BYTES_MAX = 16;
/** Longest journal, in blocks, that the format's other readers take. */
const JOURNAL_BLOCKS_MAX = 10_240_000;

/** Journal sizes as mke2fs chooses them: below so many blocks of the device, so many of the journal. */
const JOURNAL_BLOCKS: readonly (readonly [below: number, blocks: number])[] = [
  [2048, 0],
  [32_768, 1024],
  [262_144, 4096],
  [524_288, 8192],
  [4_194_304, 16_384],
  [8_388_608, 32_768],
  [16_777_216, 65_536],
  [33_554_432, 131_072],
  [Number.POSITIVE_INFINITY, 262_144],
];

/** Blocks of the journal of a device of `nrBlocks`; 0 for one too small to have one. */
export function defaultJournalBlocks(nrBlocks: number): number {
  return JOURNAL_BLOCKS.find(([below]) => nrBlocks < below)?.[1] ?? 0;
}

/**
 * Checks options and fills in defaults.
 * @throws KernelError EINVAL naming the option; ENOSPC if the device is too small for the journal that was asked for.
 */
export function planMkfs(name: string, deviceBytes: number, options: MkfsOptions & { uuid: Uint8Array }): MkfsPlan {
  const refuse = (why: string): never => {
    throw new KernelError('EINVAL', `make ext3 on ${name}: ${why}`);
  };
  const isSmall = deviceBytes < SMALL_BYTES;
  const blockSize = options.blockSize ?? (isSmall ? 1024 : 4096);
  if (![1024, 2048, 4096].includes(blockSize)) refuse(`blocks of ${blockSize} bytes; want 1024, 2048 or 4096`);
  const inodeSize = options.inodeSize ?? 256;
  if (inodeSize !== 128 && inodeSize !== 256) refuse(`inodes of ${inodeSize} bytes; want 128 or 256`);
  const bytesPerInode = options.bytesPerInode ?? (isSmall ? 4096 : 16_384);
  if (!Number.isSafeInteger(bytesPerInode) || bytesPerInode < 1024 || bytesPerInode > 2 ** 26)
    refuse(`one inode for ${bytesPerInode} bytes; want 1024 to 67108864`);
  const nrBlocks = Math.floor(deviceBytes / blockSize);
  if (nrBlocks >= 2 ** 32) refuse(`${nrBlocks} blocks are too many; ext3 counts 2^32 - 1, so use larger ones`);
  const label = options.label ?? '';
  const labelBytes = encodeUtf8(label).length;
  if (labelBytes > LABEL_BYTES_MAX || label.includes('\0'))
    refuse(`a label of ${labelBytes} bytes; want at most ${LABEL_BYTES_MAX}, without NUL`);
  const reservedPercent = options.reservedPercent ?? 5;
  if (!(reservedPercent >= 0 && reservedPercent <= 50)) refuse(`${reservedPercent} percent reserved; want 0 to 50`);
  if (options.uuid.length !== 16 || options.hashSeed.length !== 16) refuse('a UUID and a hash seed have 16 bytes');
  return {
    blockSize,
    inodeSize,
    bytesPerInode,
    journalBlocks: journalBlocks(name, nrBlocks, blockSize, options.journalSize),
    label,
    uuid: options.uuid,
    reservedPercent,
    sparseSuper: options.sparseSuper ?? true,
    dirIndex: options.dirIndex ?? true,
    nowSeconds: options.nowSeconds,
    hashSeed: options.hashSeed,
  };
}

function journalBlocks(name: string, nrBlocks: number, blockSize: number, size: Size | undefined): number {
  if (size === undefined) return defaultJournalBlocks(nrBlocks);
  if (size === 0) return 0;
  const blocks = Math.floor(parseSize(size, 'journalSize') / blockSize);
  if (blocks < JOURNAL_BLOCKS_MIN || blocks > JOURNAL_BLOCKS_MAX)
    throw new KernelError(
      'EINVAL',
      `make ext3 on ${name}: a journal of ${blocks} blocks of ${blockSize} bytes; want ${JOURNAL_BLOCKS_MIN} to ${JOURNAL_BLOCKS_MAX}`,
    );
  if (blocks > nrBlocks / 2)
    throw new KernelError('ENOSPC', `make ext3 on ${name}: a journal of ${blocks} blocks is more than half of ${nrBlocks}`);
  return blocks;
}
