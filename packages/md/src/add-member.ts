/**
 * What a device that is added is to the array (M17, re-adding): a member that comes back and has missed only what the bitmap knows of, or a
 * new one.
 *
 *     its superblock names this array, its number is free, it was in a slot, and its events are not before the last clear of a bit
 *       → the bitmap says what it missed; a member whose own recovery was not by the bitmap never got all, and is new
 */
import { type BlockDevice, isKernelError, type Kernel, KernelError } from '@tidemark/core';
import type { ArrayCore } from './array/array-core.js';
import { readMember } from './array/read-member.js';
import { randomBytes } from './create.js';
import { equalBytes, formatUuid, SECTOR_BYTES } from './format/fields.js';
import { Role, type Superblock } from './format/superblock.js';

export interface NewMember {
  /** What it is to say. */
  readonly superblock: Superblock;
  /** Chunks whose bit is set are all that it has missed. */
  readonly canUseBitmap: boolean;
}

/** Decides. @throws KernelError EBUSY for a member of another array, unless forced; ENOSPC, EROFS, EOPNOTSUPP, EIO, ENOMEM. */
export async function newMember(kernel: Kernel, core: ArrayCore, device: BlockDevice, force: boolean): Promise<NewMember> {
  const { state } = core;
  if (device.readOnly) throw new KernelError('EROFS', `${device.name} is read-only`);
  if (state.members.some((member) => member.device.can.fua) && !device.can.fua && state.members.every((member) => member.device.can.fua))
    throw new KernelError('EOPNOTSUPP', `${device.name} has no FUA, and ${state.name} has promised it`);
  const found = await superblockOn(kernel, device);
  if (found !== null && equalBytes(found.setUuid, state.setUuid)) {
    const back = comesBack(core, found);
    if (back !== null) return back;
  } else if (found !== null && !force)
    throw new KernelError('EBUSY', `${device.name} is a member of array ${formatUuid(found.setUuid)}: force it to lose what it holds`);
  const [{ superblock: model }] = state.members;
  const block = device.blockSizeBytes;
  const dataSectors = Math.floor(device.sizeBytes / SECTOR_BYTES) - model.dataOffset;
  if (dataSectors < state.sizeSectors)
    throw new KernelError(
      'ENOSPC',
      `${device.name} has room for ${Math.max(dataSectors, 0)} sectors of data, and ${state.name} has ${state.sizeSectors}`,
    );
  if ((model.dataOffset * SECTOR_BYTES) % block !== 0 || state.sizeBytes % block !== 0)
    throw new KernelError('EOPNOTSUPP', `${device.name} has blocks of ${block} bytes, and ${state.name} is not laid out for them`);
  const superblock: Superblock = {
    ...model,
    dataSectors,
    devNumber: freeNumber(core),
    deviceUuid: randomBytes(kernel.random),
    nrCorrectedReads: 0,
    deviceFlags: 0,
    badBlockLog: null,
    hasBadBlocks: false,
    recoveryOffset: null,
    isRecoveryByBitmap: false,
  };
  return { superblock, canUseBitmap: false };
}

/** A device without a superblock, or with one that says nothing, is a fresh one. */
async function superblockOn(kernel: Kernel, device: BlockDevice): Promise<Superblock | null> {
  try {
    return (await readMember(kernel.memory, kernel.task, device)).superblock;
  } catch (error) {
    if (isKernelError(error) && ['EINVAL', 'EUCLEAN', 'EOPNOTSUPP'].includes(error.code)) return null;
    throw error;
  }
}

function comesBack({ state, bitmap }: ArrayCore, found: Superblock): NewMember | null {
  const isTaken = state.members.some(({ devNumber }) => devNumber === found.devNumber);
  if (isTaken || found.sizeSectors !== state.sizeSectors || found.hasBadBlocks || found.devNumber >= state.absentRoles.length) return null;
  const wasInSlot = found.roles[found.devNumber] < Role.JOURNAL;
  const isRecovered = found.recoveryOffset === null || found.isRecoveryByBitmap;
  const isRecent = bitmap !== null && !bitmap.isFailed && found.events >= bitmap.log.eventsCleared;
  return { superblock: found, canUseBitmap: wasInSlot && isRecovered && isRecent };
}

/** A number that no device has had, else one whose device is gone. */
function freeNumber({ state }: ArrayCore): number {
  const taken = new Set(state.members.map(({ devNumber }) => devNumber));
  for (const role of [Role.SPARE, Role.FAULTY]) {
    for (const [number, was] of state.absentRoles.entries()) if (was === role && !taken.has(number)) return number;
  }
  throw new KernelError('ENOSPC', `${state.name} has no number left for a member`);
}
