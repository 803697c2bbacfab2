/**
 * The superblock of an array's member, version 1.2: 4 KiB into the member, little-endian, offsets in bytes from its start.
 *
 *     0    u32  magic 0xa92b4efc           128  u64  data_offset, sectors          192  u64  utime
 *     4    u32  major version = 1          136  u64  data_size, sectors            200  u64  events
 *     8    u32  feature map                144  u64  super_offset = 8              208  u64  resync_offset; all ones: clean
 *     16   16   array's uuid               152  u64  recovery_offset, sectors      216  u32  checksum
 *     32   32   array's name               160  u32  dev_number                    220  u32  max_dev
 *     64   u64  ctime                      164  u32  corrected reads               224  32   zero
 *     72   s32  level = 1                  168  16   device's uuid                 256  u16 × max_dev: role of each dev_number
 *     76   u32  layout                     184  u8   flags: 1 write-mostly
 *     80   u64  size of the array, sectors 185  u8   bad block log: log2 of its unit
 *     88   u32  chunk size                 186  u16  its sectors
 *     92   u32  raid_disks                 188  s32  its offset, sectors
 *     96   s32  bitmap_offset, sectors from the superblock
 *     100  28   reshape: zero
 *
 * The checksum is the sum of all little-endian words with the field itself 0, its carries added in. Roles: 0 … raid_disks − 1, and the names
 * below. Times: seconds in the low 40 bits, microseconds above. Reading is from an untrusted device: every field is checked.
 */
import { KernelError, PAGE_SIZE } from '@tidemark/core';
import { corruptIn, readSafe, SECTOR_BYTES, viewOf } from './fields.js';

/** Where the superblock is on a member, in bytes. */
export const SUPERBLOCK_OFFSET_BYTES = 4096;
const SUPERBLOCK_SECTOR = 8;
const MAGIC = 0xa92b4efc;
const ROLES_OFFSET = 256;
const CHECKSUM_OFFSET = 216;
/** Most entries of the table of roles. */
export const MAX_DEV = (PAGE_SIZE - ROLES_OFFSET) / 2;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;
/** Sectors of a page: the least that holds data. */
const PAGE_SECTORS = PAGE_SIZE / SECTOR_BYTES;
const BAD_BLOCK_LOG_SECTORS_MAX = 8;

/** Bits of the feature map. */
export const Feature = { BITMAP: 1, RECOVERY_OFFSET: 2, BAD_BLOCKS: 8, REPLACEMENT: 16, RECOVERY_BITMAP: 128 } as const;
const KNOWN_FEATURES = Feature.BITMAP | Feature.RECOVERY_OFFSET | Feature.BAD_BLOCKS | Feature.RECOVERY_BITMAP;

/** Roles that are no slot. */
export const Role = { SPARE: 0xffff, FAULTY: 0xfffe, JOURNAL: 0xfffd } as const;

/** Where the log of bad blocks is; it is read, never written. */
export interface BadBlockLogPlace {
  readonly shift: number;
  readonly sectors: number;
  /** From the superblock. */
  readonly offsetSectors: number;
}

/** A checked superblock. Offsets and sizes are in sectors of 512 bytes. */
export interface Superblock {
  readonly setUuid: Uint8Array;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly createdMs: number;
  readonly updatedMs: number;
  /** Sectors of the array that each member holds. */
  readonly sizeSectors: number;
  readonly raidDisks: number;
  readonly dataOffset: number;
  readonly dataSectors: number;
  /** Sectors from the superblock to the bitmap, or null if the array has no internal one. */
  readonly bitmapOffset: number | null;
  /** The member is in sync below it; null: all of it. */
  readonly recoveryOffset: number | null;
  /** What is recovered are the chunks of the bitmap, not everything. */
  readonly isRecoveryByBitmap: boolean;
  readonly devNumber: number;
  readonly deviceUuid: Uint8Array;
  readonly nrCorrectedReads: number;
  readonly deviceFlags: number;
  readonly badBlockLog: BadBlockLogPlace | null;
  /** The log has entries. */
  readonly hasBadBlocks: boolean;
  readonly events: bigint;
  /** Sectors up to which the members are known to be equal; null: all (the array is clean). */
  readonly resyncOffset: number | null;
  /** Role of each device number. */
  readonly roles: Uint16Array;
}

/** Bytes that carry the checksum. */
function sizeBytes(maxDev: number): number {
  return ROLES_OFFSET + 2 * maxDev;
}

function checksumOf(page: Uint8Array, maxDev: number): number {
  const view = viewOf(page);
  const end = sizeBytes(maxDev);
  let sum = 0;
  for (let at = 0; at + 4 <= end; at += 4) if (at !== CHECKSUM_OFFSET) sum += view.getUint32(at, true);
  if (end % 4 !== 0) sum += view.getUint16(end - 2, true);
  return ((sum % 2 ** 32) + Math.floor(sum / 2 ** 32)) % 2 ** 32;
}

function readTime(view: DataView, offset: number): number {
  const raw = view.getBigUint64(offset, true);
  return Number(raw & 0xff_ffff_ffffn) * 1000 + Math.floor(Number(raw >> 40n) / 1000);
}

function writeTime(view: DataView, offset: number, timeMs: number): void {
  const seconds = BigInt(Math.max(Math.floor(timeMs / 1000), 0)) & 0xff_ffff_ffffn;
  view.setBigUint64(offset, seconds | ((BigInt(Math.floor(timeMs % 1000)) * 1000n) << 40n), true);
}

/** Writes a superblock into a page of 4096 bytes; what is behind it is zeroed. */
export function encodeSuperblock(page: Uint8Array, superblock: Superblock): void {
  page.fill(0);
  const view = viewOf(page);
  const { bitmapOffset, recoveryOffset, badBlockLog, roles } = superblock;
  const features =
    (bitmapOffset !== null ? Feature.BITMAP : 0) |
    (recoveryOffset !== null ? Feature.RECOVERY_OFFSET : 0) |
    (superblock.hasBadBlocks ? Feature.BAD_BLOCKS : 0) |
    (recoveryOffset !== null && superblock.isRecoveryByBitmap ? Feature.RECOVERY_BITMAP : 0);
  const u32 = (offset: number, value: number): void => view.setUint32(offset, value, true);
  const u64 = (offset: number, value: number | bigint): void => view.setBigUint64(offset, BigInt(value), true);
  u32(0, MAGIC);
  u32(4, 1);
  u32(8, features);
  page.set(superblock.setUuid, 16);
  for (let i = 0; i < Math.min(superblock.name.length, 31); i++) page[32 + i] = superblock.name.charCodeAt(i) & 0x7f;
  writeTime(view, 64, superblock.createdMs);
  u32(72, 1);
  u64(80, superblock.sizeSectors);
  u32(92, superblock.raidDisks);
  view.setInt32(96, bitmapOffset ?? 0, true);
  u64(128, superblock.dataOffset);
  u64(136, superblock.dataSectors);
  u64(144, SUPERBLOCK_SECTOR);
  u64(152, recoveryOffset ?? 0);
  u32(160, superblock.devNumber);
  u32(164, superblock.nrCorrectedReads);
  page.set(superblock.deviceUuid, 168);
  page[184] = superblock.deviceFlags;
  if (badBlockLog !== null) {
    page[185] = badBlockLog.shift;
    view.setUint16(186, badBlockLog.sectors, true);
    view.setInt32(188, badBlockLog.offsetSectors, true);
  }
  writeTime(view, 192, superblock.updatedMs);
  u64(200, superblock.events);
  u64(208, superblock.resyncOffset ?? ALL_ONES);
  u32(220, roles.length);
  for (const [i, role] of roles.entries()) view.setUint16(ROLES_OFFSET + 2 * i, role, true);
  u32(CHECKSUM_OFFSET, checksumOf(page, roles.length));
}

/**
 * Reads and checks a superblock.
 * @param page the 4096 bytes at `SUPERBLOCK_OFFSET_BYTES`.
 * @param deviceBytes size of the device.
 * @throws KernelError EINVAL if there is none; EOPNOTSUPP for a version, level or feature that is not supported; EUCLEAN for one that is
 * damaged, naming field and offset.
 */
export function decodeSuperblock(page: Uint8Array, deviceBytes: number, name: string): Superblock {
  const view = viewOf(page);
  const corrupt = corruptIn('the superblock', name);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const u64 = (offset: number, what: string): number => readSafe(view, offset, corrupt, what);
  if (u32(0) !== MAGIC) throw new KernelError('EINVAL', `${name} is no member of an array: no md superblock at ${SUPERBLOCK_OFFSET_BYTES}`);
  const maxDev = u32(220);
  if (maxDev > MAX_DEV) throw corrupt(`${maxDev} roles, at most ${MAX_DEV} fit`, 220);
  const checksum = checksumOf(page, maxDev);
  if (checksum !== u32(CHECKSUM_OFFSET))
    throw corrupt(`its checksum is ${hex(u32(CHECKSUM_OFFSET))}, not ${hex(checksum)}`, CHECKSUM_OFFSET);
  const refuse = (what: string): KernelError => new KernelError('EOPNOTSUPP', `${name}: ${what} is not supported`);
  if (u32(4) !== 1) throw refuse(`superblock version ${u32(4)}`);
  if (u64(144, 'super_offset') !== SUPERBLOCK_SECTOR) throw corrupt(`it says that it is at sector ${u64(144, 'super_offset')}`, 144);
  const level = view.getInt32(72, true);
  if (level !== 1) throw refuse(`an array of level ${level}`);
  const features = u32(8);
  if ((features & ~KNOWN_FEATURES) !== 0) throw refuse(`feature map ${hex(features)}`);
  for (const [from, to] of [
    [12, 16],
    [100, 128],
    [224, 256],
  ])
    for (let at = from; at < to; at++) if (page[at] !== 0) throw corrupt('a reserved field is not zero', at);
  if (u32(76) !== 0) throw corrupt(`layout ${u32(76)}`, 76);
  const place = readPlace(view, features, deviceBytes, sizeBytes(maxDev), corrupt);
  const raidDisks = u32(92);
  if (raidDisks < 1 || raidDisks > maxDev) throw corrupt(`${raidDisks} members and ${maxDev} roles`, 92);
  const devNumber = u32(160);
  if (devNumber >= maxDev) throw corrupt(`device number ${devNumber} of ${maxDev}`, 160);
  const roles = Uint16Array.from({ length: maxDev }, (_, i) => view.getUint16(ROLES_OFFSET + 2 * i, true));
  checkRoles(roles, raidDisks, corrupt);
  const hasRecovery = (features & Feature.RECOVERY_OFFSET) !== 0;
  const recoveryOffset = hasRecovery ? u64(152, 'recovery_offset') : null;
  if (recoveryOffset !== null && recoveryOffset > place.sizeSectors) throw corrupt(`recovered up to ${recoveryOffset}`, 152);
  const isClean = view.getBigUint64(208, true) === ALL_ONES;
  return {
    ...place,
    setUuid: page.slice(16, 32),
    name: readName(page),
    createdMs: readTime(view, 64),
    updatedMs: readTime(view, 192),
    raidDisks,
    recoveryOffset,
    isRecoveryByBitmap: hasRecovery && (features & Feature.RECOVERY_BITMAP) !== 0,
    devNumber,
    deviceUuid: page.slice(168, 184),
    nrCorrectedReads: u32(164),
    deviceFlags: page[184],
    hasBadBlocks: (features & Feature.BAD_BLOCKS) !== 0,
    events: view.getBigUint64(200, true),
    resyncOffset: isClean ? null : Math.min(u64(208, 'resync_offset'), place.sizeSectors),
    roles,
  };
}

type Corrupt = (what: string, offset: number) => KernelError;

/** What lies where, checked against the device and each other. */
function readPlace(
  view: DataView,
  features: number,
  deviceBytes: number,
  superblockBytes: number,
  corrupt: Corrupt,
): Pick<Superblock, 'sizeSectors' | 'dataOffset' | 'dataSectors' | 'bitmapOffset' | 'badBlockLog'> {
  const sizeSectors = readSafe(view, 80, corrupt, 'size');
  const dataOffset = readSafe(view, 128, corrupt, 'data_offset');
  const dataSectors = readSafe(view, 136, corrupt, 'data_size');
  const first = SUPERBLOCK_SECTOR + Math.ceil(superblockBytes / SECTOR_BYTES);
  if (dataOffset < first) throw corrupt(`data at sector ${dataOffset}, in the superblock`, 128);
  if (dataSectors < PAGE_SECTORS) throw corrupt(`${dataSectors} sectors of data`, 136);
  if ((dataOffset + dataSectors) * SECTOR_BYTES > deviceBytes)
    throw corrupt(`data end at sector ${dataOffset + dataSectors} and the device at ${Math.floor(deviceBytes / SECTOR_BYTES)}`, 136);
  if (sizeSectors < PAGE_SECTORS || sizeSectors > dataSectors)
    throw corrupt(`${sizeSectors} sectors of ${dataSectors} are in the array`, 80);
  let bitmapOffset: number | null = null;
  if ((features & Feature.BITMAP) !== 0) {
    bitmapOffset = view.getInt32(96, true);
    const at = SUPERBLOCK_SECTOR + bitmapOffset;
    if (at < first || at >= dataOffset) throw corrupt(`the bitmap is at sector ${at}`, 96);
  }
  const logSectors = view.getUint16(186, true);
  let badBlockLog: BadBlockLogPlace | null = null;
  if (logSectors > 0) {
    const offsetSectors = view.getInt32(188, true);
    const at = SUPERBLOCK_SECTOR + offsetSectors;
    const shift = view.getUint8(185);
    if (logSectors > BAD_BLOCK_LOG_SECTORS_MAX || shift > 32)
      throw corrupt(`a bad block log of ${logSectors} sectors, unit 2^${shift}`, 185);
    if (at < first || at + logSectors > dataOffset) throw corrupt(`the bad block log is at sector ${at}`, 188);
    if (bitmapOffset !== null && offsetSectors === bitmapOffset) throw corrupt('the bad block log is where the bitmap is', 188);
    badBlockLog = { shift, sectors: logSectors, offsetSectors };
  } else if ((features & Feature.BAD_BLOCKS) !== 0) throw corrupt('bad blocks without a log', 186);
  return { sizeSectors, dataOffset, dataSectors, bitmapOffset, badBlockLog };
}

/** A slot has one device, or none. */
function checkRoles(roles: Uint16Array, raidDisks: number, corrupt: Corrupt): void {
  const taken = new Set<number>();
  for (const [devNumber, role] of roles.entries()) {
    const offset = ROLES_OFFSET + 2 * devNumber;
    if (role >= Role.JOURNAL) continue;
    if (role >= raidDisks) throw corrupt(`role ${role} of ${raidDisks}`, offset);
    if (taken.has(role)) throw corrupt(`two devices in slot ${role}`, offset);
    taken.add(role);
  }
}

/** What cannot be shown is a question mark: it goes to people's terminals. */
function readName(page: Uint8Array): string {
  let text = '';
  for (let i = 32; i < 64 && page[i] !== 0; i++) text += page[i] >= 0x20 && page[i] < 0x7f ? String.fromCharCode(page[i]) : '?';
  return text;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Sectors between the bitmap's start and what comes next: the most it may take. */
export function bitmapSpaceSectors({ bitmapOffset, badBlockLog, dataOffset }: Superblock): number {
  if (bitmapOffset === null) return 0;
  const end = dataOffset - SUPERBLOCK_SECTOR;
  return (badBlockLog !== null && badBlockLog.offsetSectors > bitmapOffset ? Math.min(badBlockLog.offsetSectors, end) : end) - bitmapOffset;
}
