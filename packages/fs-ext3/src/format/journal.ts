/**
 * Blocks of the journal (JBD), big-endian. Log block 0 is the journal's superblock; the rest is a ring from `first` to `maxlen`.
 *
 *     every block but images   magic u32 0xc03b3998 | type u32 | transaction u32
 *     descriptor    header, then tags { block u32, checksum u16, flags u16 }; a tag without SAME_UUID is followed by 16 bytes
 *     image         a block as it is to be; if it begins with the magic, its first word is zero and its tag says ESCAPE
 *     revoke        header, bytes in use u32, then block numbers: images of these blocks up to this transaction are not to be replayed
 *     commit        header, …, time: every block of the transaction is in the log
 */
import { KernelError } from '@tidemark/core';
import { copyOf, viewOf } from './bytes.js';
import { type StructOf, struct } from './struct.js';

export const JOURNAL_MAGIC = 0xc03b3998;
export const BlockType = { DESCRIPTOR: 1, COMMIT: 2, SUPERBLOCK_V1: 3, SUPERBLOCK_V2: 4, REVOKE: 5 } as const;
export const JournalIncompat = { REVOKE: 0x1, BIT64: 0x2 } as const;
const INCOMPAT_NAMES: Readonly<Record<number, string>> = { 4: 'async_commit', 8: 'checksum_v2', 16: 'checksum_v3', 32: 'fast_commit' };
export const TagFlag = { ESCAPE: 1, SAME_UUID: 2, DELETED: 4, LAST: 8 } as const;

/** Blocks a journal has at least. */
export const JOURNAL_BLOCKS_MIN = 1024;
export const HEADER_BYTES = 12;
export const JOURNAL_SUPERBLOCK_BYTES = 1024;
const UUID_BYTES = 16;
const TAG_BYTES = 8;
const REVOKE_HEADER_BYTES = 16;

const FIELDS = {
  magic: [0x0, 'u32'],
  type: [0x4, 'u32'],
  blockSize: [0xc, 'u32'],
  maxlen: [0x10, 'u32'],
  first: [0x14, 'u32'],
  sequence: [0x18, 'u32'],
  start: [0x1c, 'u32'],
  errno: [0x20, 's32'],
  featureCompat: [0x24, 'u32'],
  featureIncompat: [0x28, 'u32'],
  featureRoCompat: [0x2c, 'u32'],
  nrUsers: [0x40, 'u32'],
  head: [0x58, 'u32'],
} as const;
const STRUCT = struct(FIELDS, true);
const UUID_OFFSET = 0x30;

/** The journal's superblock. Blocks of the log, unless said. */
export interface JournalSuperblock extends StructOf<typeof FIELDS> {
  uuid: Uint8Array;
}

/**
 * Reads and checks the journal's superblock.
 * @param fileBlocks blocks of the journal inode.
 * @throws KernelError EUCLEAN naming the field; EOPNOTSUPP naming features we lack.
 */
export function getJournalSuperblock(name: string, bytes: Uint8Array, blockSize: number, fileBlocks: number): JournalSuperblock {
  const view = viewOf(bytes);
  const superblock: JournalSuperblock = { ...STRUCT.get(view, 0), uuid: copyOf(bytes, UUID_OFFSET, UUID_OFFSET + UUID_BYTES) };
  const { magic, type, maxlen, first, start } = superblock;
  const insist = (holds: boolean, field: keyof typeof FIELDS): void => {
    if (!holds)
      throw new KernelError('EUCLEAN', `${name}: the ${field} of the journal is ${superblock[field]}, which cannot be`, {
        details: { field, offsetBytes: FIELDS[field][0] },
      });
  };
  insist(magic === JOURNAL_MAGIC, 'magic');
  insist(type === BlockType.SUPERBLOCK_V1 || type === BlockType.SUPERBLOCK_V2, 'type');
  if (type === BlockType.SUPERBLOCK_V1) Object.assign(superblock, { featureCompat: 0, featureIncompat: 0, featureRoCompat: 0, head: 0 });
  const lacking = journalFeatures(superblock.featureIncompat & ~(JournalIncompat.REVOKE | JournalIncompat.BIT64));
  if (lacking.length > 0) throw new KernelError('EOPNOTSUPP', `${name}: the journal needs ${lacking.join(', ')}, which ext3 does not have`);
  insist(superblock.blockSize === blockSize, 'blockSize');
  insist(maxlen >= JOURNAL_BLOCKS_MIN && maxlen <= fileBlocks, 'maxlen');
  insist(first >= 1 && first < maxlen, 'first');
  insist(start === 0 || (start >= first && start < maxlen), 'start');
  return superblock;
}

function journalFeatures(bits: number): string[] {
  const names: string[] = [];
  for (let mask = 1; mask !== 0; mask <<= 1)
    if ((bits & mask) !== 0) names.push(INCOMPAT_NAMES[mask] ?? `feature 0x${(mask >>> 0).toString(16)}`);
  return names;
}

/** Writes its fields into block 0 of the log; what no field names stays. */
export function putJournalSuperblock(bytes: Uint8Array, { uuid, ...numbers }: JournalSuperblock): void {
  STRUCT.put(viewOf(bytes), 0, numbers);
  bytes.set(uuid, UUID_OFFSET);
}

/** Header of a log block. */
export interface LogHeader {
  readonly type: number;
  readonly transaction: number;
}

/** The header of a log block, or null if it has none. */
export function getLogHeader(view: DataView, at = 0): LogHeader | null {
  if (view.getUint32(at, false) !== JOURNAL_MAGIC) return null;
  return { type: view.getUint32(at + 4, false), transaction: view.getUint32(at + 8, false) };
}

export function putLogHeader(view: DataView, type: number, transaction: number, at = 0): void {
  view.setUint32(at, JOURNAL_MAGIC, false);
  view.setUint32(at + 4, type, false);
  view.setUint32(at + 8, transaction, false);
}

/** Whether transaction a comes after b: numbers go round. */
export function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

/** One tag of a descriptor. */
export interface Tag {
  /** Block it is an image of. */
  readonly block: number;
  readonly flags: number;
}

/**
 * The tags of a descriptor block.
 * @param is64Bit block numbers have 64 bits (the journal's feature).
 * @throws KernelError EUCLEAN for a block number beyond 2^52.
 */
export function getTags(name: string, bytes: Uint8Array, is64Bit: boolean): Tag[] {
  const view = viewOf(bytes);
  const tagBytes = is64Bit ? TAG_BYTES + 4 : TAG_BYTES;
  const tags: Tag[] = [];
  for (let at = HEADER_BYTES; at + tagBytes <= bytes.length; ) {
    const high = is64Bit ? view.getUint32(at + 8, false) : 0;
    if (high >= 2 ** 20) throw new KernelError('EUCLEAN', `${name}: a tag at byte ${at} of a descriptor names a block beyond any device`);
    const flags = view.getUint16(at + 6, false);
    tags.push({ block: high * 2 ** 32 + view.getUint32(at, false), flags });
    at += tagBytes + ((flags & TagFlag.SAME_UUID) === 0 ? UUID_BYTES : 0);
    if ((flags & TagFlag.LAST) !== 0) break;
  }
  return tags;
}

/** Images a descriptor block of ours has room for. */
export function tagCapacity(blockSize: number): number {
  return Math.floor((blockSize - HEADER_BYTES - UUID_BYTES) / TAG_BYTES);
}

/** Writes a descriptor: 8-byte tags, the UUID behind the first. At most `tagCapacity` of them. */
export function putDescriptor(bytes: Uint8Array, transaction: number, uuid: Uint8Array, tags: readonly Tag[]): void {
  bytes.fill(0);
  const view = viewOf(bytes);
  putLogHeader(view, BlockType.DESCRIPTOR, transaction);
  let at = HEADER_BYTES;
  tags.forEach(({ block, flags }, i) => {
    view.setUint32(at, block, false);
    const place = (i > 0 ? TagFlag.SAME_UUID : 0) | (i === tags.length - 1 ? TagFlag.LAST : 0);
    view.setUint16(at + 6, flags | place, false);
    at += TAG_BYTES;
    if (i > 0) return;
    bytes.set(uuid, at);
    at += UUID_BYTES;
  });
}

/** Block numbers of a revoke block. @throws KernelError EUCLEAN for an impossible count. */
export function getRevokes(name: string, bytes: Uint8Array, is64Bit: boolean): number[] {
  const view = viewOf(bytes);
  const usedBytes = view.getUint32(HEADER_BYTES, false);
  const width = is64Bit ? 8 : 4;
  if (usedBytes < REVOKE_HEADER_BYTES || usedBytes > bytes.length || (usedBytes - REVOKE_HEADER_BYTES) % width !== 0)
    throw new KernelError('EUCLEAN', `${name}: a revoke block says that ${usedBytes} of its bytes are in use`);
  const blocks: number[] = [];
  for (let at = REVOKE_HEADER_BYTES; at < usedBytes; at += width) {
    const high = is64Bit ? view.getUint32(at, false) : 0;
    blocks.push(high * 2 ** 32 + view.getUint32(at + width - 4, false));
  }
  return blocks;
}

/** Block numbers a revoke block of ours has room for. */
export function revokeCapacity(blockSize: number): number {
  return Math.floor((blockSize - REVOKE_HEADER_BYTES) / 4);
}

/** Writes a revoke block. At most `revokeCapacity` of them. */
export function putRevokes(bytes: Uint8Array, transaction: number, blocks: readonly number[]): void {
  bytes.fill(0);
  const view = viewOf(bytes);
  putLogHeader(view, BlockType.REVOKE, transaction);
  view.setUint32(HEADER_BYTES, REVOKE_HEADER_BYTES + 4 * blocks.length, false);
  blocks.forEach((block, i) => void view.setUint32(REVOKE_HEADER_BYTES + 4 * i, block, false));
}

/** Writes a commit block. */
export function putCommit(bytes: Uint8Array, transaction: number, seconds: number, nanoseconds: number): void {
  bytes.fill(0);
  const view = viewOf(bytes);
  putLogHeader(view, BlockType.COMMIT, transaction);
  view.setUint32(0x30, Math.floor(seconds / 2 ** 32), false);
  view.setUint32(0x34, seconds % 2 ** 32, false);
  view.setUint32(0x38, nanoseconds, false);
}
