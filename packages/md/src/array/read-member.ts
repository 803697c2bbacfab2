/** Reads what a device says about itself: its superblock and its log of bad blocks. Takes two frames for as long as it takes. */
import { type BlockDevice, errorFrom, type Memory, PAGE_SIZE, type TaskContext } from '@tidemark/core';
import { decodeBadBlocks, type SectorRange } from '../format/bad-blocks.js';
import { SECTOR_BYTES } from '../format/fields.js';
import { decodeSuperblock, type Superblock, SUPERBLOCK_OFFSET_BYTES } from '../format/superblock.js';
import { SingleIo } from './single-io.js';

export interface FoundMember {
  readonly superblock: Superblock;
  readonly badBlocks: readonly SectorRange[];
}

/** @throws KernelError as `decodeSuperblock`; EIO if it cannot be read; ENOMEM. */
export async function readMember(memory: Memory, task: TaskContext, device: BlockDevice): Promise<FoundMember> {
  const standing = await memory.allocStanding(task, `superblock of ${device.name}`, 1);
  try {
    const io = new SingleIo(device, task);
    const status =
      device.sizeBytes < SUPERBLOCK_OFFSET_BYTES + PAGE_SIZE ? 0 : await io.read(SUPERBLOCK_OFFSET_BYTES, standing.address, PAGE_SIZE);
    if (status !== 0) throw errorFrom(status, `could not read the superblock of ${device.name}`);
    const superblock = decodeSuperblock(standing.bytes, device.sizeBytes, device.name);
    const { badBlockLog, hasBadBlocks, dataOffset } = superblock;
    if (badBlockLog === null || !hasBadBlocks) return { superblock, badBlocks: [] };
    const lengthBytes = Math.ceil((badBlockLog.sectors * SECTOR_BYTES) / device.blockSizeBytes) * device.blockSizeBytes;
    const at = SUPERBLOCK_OFFSET_BYTES + badBlockLog.offsetSectors * SECTOR_BYTES;
    const logStatus = await io.read(at, standing.address, lengthBytes);
    if (logStatus !== 0) throw errorFrom(logStatus, `could not read the log of bad blocks of ${device.name}`);
    return { superblock, badBlocks: decodeBadBlocks(standing.bytes, badBlockLog, dataOffset) };
  } finally {
    standing.free();
  }
}
