/**
 * Making an array: superblocks on every device, and a bitmap on them if it is to be there. What the devices held is lost; with `assumeEqual` it
 * is not, and nothing is resynced.
 *
 *     0        8 sectors   16                    16 + bitmap          data offset
 *     boot     superblock  bitmap (if internal)  reserved             data …
 */
import { type BlockDevice, errorFrom, type Kernel, KernelError, PAGE_SIZE, type RandomSource } from '@tidemark/core';
import { SingleIo } from './array/single-io.js';
import { RAID_DISKS_MAX } from './assemble.js';
import { type BitmapOptions, newBitmapSuperblock } from './bitmap/load.js';
import { bitmapPages, encodeBitmapSuperblock, nrChunksOf } from './format/bitmap-superblock.js';
import { SECTOR_BYTES } from './format/fields.js';
import { encodeSuperblock, Role, type Superblock, SUPERBLOCK_OFFSET_BYTES } from './format/superblock.js';

/** What a new array is like. */
export interface CreateOptions {
  /** Up to 31 characters of ASCII; mdadm's form is `host:name`. Default `tidemark:0`. */
  readonly name?: string;
  /** Slots; fewer devices than slots leave the others empty, more are spares. Default: the number of devices. */
  readonly raidDisks?: number;
  /** An internal bitmap; true for one as mdadm would make it. Default: none. */
  readonly bitmap?: boolean | BitmapOptions;
  /** The devices hold the same data already. Default false: everything is resynced. */
  readonly assumeEqual?: boolean;
  /** 16 bytes. Default: random. */
  readonly uuid?: Uint8Array;
}

/** Sectors from the superblock to an internal bitmap. */
export const BITMAP_OFFSET_SECTORS = 8;
const BITMAP_START_SECTOR = SUPERBLOCK_OFFSET_BYTES / SECTOR_BYTES + BITMAP_OFFSET_SECTORS;
/** Entries of the table of roles: the superblock is then a whole number of sectors. */
const MAX_DEV = 128;
const SECTORS_PER_MIB = 2048;
const SECTORS_PER_GIB = 2 ** 21;

/** Bytes for a bitmap on a device of so many sectors, as mdadm gives them. */
function bitmapSpaceBytes(deviceSectors: number): number {
  return deviceSectors < 8 * SECTORS_PER_GIB ? 4096 : deviceSectors < 200 * SECTORS_PER_GIB ? 65_536 : 131_072;
}

/** Where data begin: behind the bitmap's space; at 1 MiB if that costs little. */
function dataOffsetOf(deviceSectors: number): number {
  const least = BITMAP_START_SECTOR + bitmapSpaceBytes(deviceSectors) / SECTOR_BYTES;
  return deviceSectors >= 64 * SECTORS_PER_MIB ? SECTORS_PER_MIB : least;
}

/** Writes the superblocks. @throws KernelError EINVAL, EROFS, EBUSY, ENOSPC, ENOMEM, EIO. */
export async function formatMembers(kernel: Kernel, devices: readonly BlockDevice[], options: CreateOptions): Promise<void> {
  const raidDisks = options.raidDisks ?? devices.length;
  const name = options.name ?? 'tidemark:0';
  if (!Number.isInteger(raidDisks) || raidDisks < 1 || raidDisks > RAID_DISKS_MAX || devices.length < 1 || devices.length > MAX_DEV)
    throw new KernelError('EINVAL', `an array of ${devices.length} devices in ${raidDisks} slots; want 1 to ${RAID_DISKS_MAX} slots`);
  if (!/^[\x20-\x7e]{1,31}$/.test(name))
    throw new KernelError('EINVAL', `the name ${JSON.stringify(name)}: want 1 to 31 characters of ASCII`);
  if (options.uuid !== undefined && options.uuid.length !== 16)
    throw new KernelError('EINVAL', `a uuid has 16 bytes, not ${options.uuid.length}`);
  for (const device of devices) {
    kernel.requireOwn(device, 'make an array of');
    if (device.readOnly) throw new KernelError('EROFS', `${device.name} is read-only`);
    if (device.holder !== null) throw new KernelError('EBUSY', `${device.name} is in use by ${device.holder}`);
  }
  const base = layOut(kernel, devices, name, raidDisks, options);
  const frame = await kernel.memory.allocStanding(kernel.task, `superblocks of ${name}`, 1);
  try {
    for (const [devNumber, device] of devices.entries()) {
      const io = new SingleIo(device, kernel.task);
      const write = async (offsetBytes: number, what: string): Promise<void> => {
        const status = await io.write(offsetBytes, frame.address, PAGE_SIZE, true);
        if (status !== 0) throw errorFrom(status, `could not write the ${what} of ${device.name}`);
      };
      if (base.bitmapOffset !== null) await writeBitmap(frame.bytes, base, options, write);
      const deviceSectors = Math.floor(device.sizeBytes / SECTOR_BYTES);
      encodeSuperblock(frame.bytes, {
        ...base,
        dataSectors: deviceSectors - base.dataOffset,
        devNumber,
        deviceUuid: randomBytes(kernel.random),
      });
      await write(SUPERBLOCK_OFFSET_BYTES, 'superblock');
    }
  } finally {
    frame.free();
  }
}

/** What all superblocks say. */
function layOut(kernel: Kernel, devices: readonly BlockDevice[], name: string, raidDisks: number, options: CreateOptions): Superblock {
  const smallest = Math.min(...devices.map(({ sizeBytes }) => Math.floor(sizeBytes / SECTOR_BYTES)));
  const dataOffset = dataOffsetOf(smallest);
  const blockSectors = PAGE_SIZE / SECTOR_BYTES;
  const sizeSectors = Math.floor((smallest - dataOffset) / blockSectors) * blockSectors;
  if (sizeSectors < blockSectors)
    throw new KernelError('ENOSPC', `${name}: its smallest device has ${smallest} sectors, too few for any data`);
  const nowMs = Math.floor(kernel.clock.wallMs?.() ?? kernel.clock.nowMs());
  const roles = new Uint16Array(MAX_DEV).fill(Role.SPARE);
  for (let i = 0; i < Math.min(raidDisks, devices.length); i++) roles[i] = i;
  const areEqual = options.assumeEqual === true || Math.min(devices.length, raidDisks) === 1;
  return {
    setUuid: options.uuid ?? randomBytes(kernel.random),
    name,
    createdMs: nowMs,
    updatedMs: nowMs,
    sizeSectors,
    raidDisks,
    dataOffset,
    dataSectors: 0,
    bitmapOffset: options.bitmap === undefined || options.bitmap === false ? null : BITMAP_OFFSET_SECTORS,
    recoveryOffset: null,
    isRecoveryByBitmap: false,
    devNumber: 0,
    deviceUuid: new Uint8Array(16),
    nrCorrectedReads: 0,
    deviceFlags: 0,
    badBlockLog: null,
    hasBadBlocks: false,
    events: 0n,
    resyncOffset: areEqual ? null : 0,
    roles,
  };
}

/** Writes a whole bitmap, every bit 1 unless the devices are equal, page after page of the space it has. */
async function writeBitmap(
  page: Uint8Array,
  base: Superblock,
  options: CreateOptions,
  write: (offsetBytes: number, what: string) => Promise<void>,
): Promise<void> {
  const spaceBytes = (base.dataOffset - BITMAP_START_SECTOR) * SECTOR_BYTES;
  const facts = { ...base, uuid: base.setUuid, isDegraded: false };
  const asked = typeof options.bitmap === 'object' ? options.bitmap : {};
  const superblock = newBitmapSuperblock(facts, asked, Math.min(spaceBytes, PAGE_SIZE * 32));
  const nrPages = bitmapPages(nrChunksOf(base.sizeSectors, superblock.chunkBytes));
  for (let i = 0; i < nrPages; i++) {
    page.fill(base.resyncOffset === null ? 0 : 0xff);
    if (i === 0) encodeBitmapSuperblock(page, superblock);
    await write(BITMAP_START_SECTOR * SECTOR_BYTES + i * PAGE_SIZE, 'bitmap');
  }
}

/** 16 random bytes. */
export function randomBytes(random: RandomSource): Uint8Array {
  const bytes = new Uint8Array(16);
  random.fill(bytes);
  return bytes;
}
