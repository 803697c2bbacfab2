/**
 * One pass over an array, window after window: what makes its members equal, or finds out whether they are.
 *
 *     copy     from the member in the lowest slot to the others: resync (those in sync may differ) and recovery (one is new), in one pass;
 *              by the bitmap only chunks that may differ
 *     compare  every member in sync with the first: check; and repair, which writes what differs
 *
 * The gate keeps writes out of the window; nothing is allocated.
 */
import { Errno, type NegErrno, PAGE_SIZE } from '@tidemark/core';
import { equalBytes, SECTOR_BYTES } from '../format/fields.js';
import type { ArrayCore } from './array-core.js';
import type { Member } from './member.js';

/** What a pass does. */
export type SyncAction = 'resync' | 'recovery' | 'check' | 'repair';

/** Parts of an array after which how far a pass is is written down. */
const CHECKPOINTS = 16;

/** How far a pass is. */
export interface SyncProgress {
  readonly action: SyncAction;
  /** Bytes of the array that it has been over, of `sizeBytes`. */
  positionBytes: number;
  readonly sizeBytes: number;
  /** Bytes that were copied or compared: the others were known to be equal. */
  doneBytes: number;
  /** Sectors found to differ; a page counts as a whole. */
  nrMismatchSectors: number;
}

/** What a pass is told by who runs it. */
export interface PassControl {
  readonly progress: SyncProgress;
  /** Slows it down. @returns 0; `-EINTR` to end now; `-EAGAIN` to begin anew, since a member has come that it does not know. */
  pace(bytes: number): Promise<0 | NegErrno>;
  /** The same, without slowing it down. */
  check(): 0 | NegErrno;
}

/** Copies where members may differ, from `fromBytes` on. @returns 0 when the end is reached. */
export async function copyPass(core: ArrayCore, control: PassControl, fromBytes: number, byBitmap: boolean): Promise<0 | NegErrno> {
  const { state } = core;
  const size = state.sizeBytes;
  const willBeHealthy = state.isEverySlotWritten;
  const isResync = state.resyncFrom !== null;
  let checkpoint = fromBytes;
  for (let at = fromBytes; at < size; ) {
    const log = core.bitmap?.log ?? null;
    const chunkBytes = core.bitmap?.chunkBytes ?? size;
    const chunk = Math.floor(at / chunkBytes);
    const end = log === null ? size : Math.min(log.counters.spanEnd(chunk) * chunkBytes, size);
    const isNeeded = log?.startSync(chunk, willBeHealthy) ?? false;
    let status: 0 | NegErrno = 0;
    if (isNeeded || !byBitmap) {
      for (let from = at; from < end && status === 0; ) {
        const length = Math.min(core.windowPages * PAGE_SIZE, end - from);
        status = control.check() || (await copyWindow(core, from, length, isResync)) || control.check();
        if (status !== 0) break;
        from += length;
        moveOn(core, control, from, isResync);
        control.progress.doneBytes += length;
        if (from - checkpoint >= size / CHECKPOINTS && from < size) {
          checkpoint = from;
          if (await core.flushMembers()) await core.superblocks.write();
        }
        status = await control.pace(length);
      }
    } else status = await control.pace(0);
    log?.endSync(chunk, status === 0);
    if (status !== 0) return status;
    at = end;
    if (!isNeeded && byBitmap) moveOn(core, control, at, isResync);
  }
  return 0;
}

function moveOn(core: ArrayCore, control: PassControl, atBytes: number, isResync: boolean): void {
  const { state } = core;
  const sectors = atBytes / SECTOR_BYTES;
  control.progress.positionBytes = atBytes;
  if (isResync && state.resyncFrom !== null) state.resyncFrom = sectors;
  for (const member of state.slots) if (member?.state === 'recovering') member.recoveryOffset = sectors;
}

async function copyWindow(core: ArrayCore, offsetBytes: number, length: number, isResync: boolean): Promise<0 | NegErrno> {
  const closed = await core.gate.close(core.task, offsetBytes, offsetBytes + length);
  if (closed !== 0) return closed;
  try {
    const source = await readSource(core, offsetBytes, length);
    if (source === null) return -Errno.EIO;
    const targets = core.state.slots.filter(
      (member): member is Member =>
        member !== null && member !== source && (member.state === 'recovering' || (isResync && member.state === 'in-sync')),
    );
    if (targets.length === 0) return -Errno.ENODEV;
    await Promise.all(targets.map((target) => writeTarget(core, target, offsetBytes, source, length)));
    return targets.some(({ isWritten }) => isWritten) ? 0 : -Errno.ENODEV;
  } finally {
    core.gate.open();
  }
}

async function writeTarget(core: ArrayCore, target: Member, offsetBytes: number, source: Member, length: number): Promise<void> {
  const status = await target.syncIo.write(target.dataOffsetBytes + offsetBytes, source.window.address, length, false);
  if (status !== 0) core.memberFailed(target, status);
}

/** Reads from the member that reads go to there, else from any other in sync. @returns it, its window filled, or null. */
async function readSource(core: ArrayCore, offsetBytes: number, length: number): Promise<Member | null> {
  for (const member of core.state.slots) {
    if (member === null || !member.canRead(offsetBytes, length)) continue;
    if ((await member.syncIo.read(member.dataOffsetBytes + offsetBytes, member.window.address, length)) === 0) return member;
  }
  return null;
}

/** Compares all members in sync, and with `repairs` writes what differs. @returns 0 when the end is reached. */
export async function comparePass(core: ArrayCore, control: PassControl, repairs: boolean): Promise<0 | NegErrno> {
  const size = core.state.sizeBytes;
  for (let at = 0; at < size; ) {
    const length = Math.min(core.windowPages * PAGE_SIZE, size - at);
    const closed = await core.gate.close(core.task, at, at + length);
    if (closed !== 0) return closed;
    try {
      control.progress.nrMismatchSectors += await compareWindow(core, at, length, repairs);
    } finally {
      core.gate.open();
    }
    at += length;
    control.progress.positionBytes = at;
    control.progress.doneBytes += length;
    const paced = await control.pace(length);
    if (paced !== 0) return paced;
  }
  return 0;
}

/** @returns sectors that differ. */
async function compareWindow(core: ArrayCore, offsetBytes: number, length: number, repairs: boolean): Promise<number> {
  const source = await readSource(core, offsetBytes, length);
  if (source === null) return 0;
  let nrSectors = 0;
  for (const member of core.state.slots) {
    if (member === null || member === source || member.state !== 'in-sync') continue;
    const from = member.dataOffsetBytes + offsetBytes;
    const isRead = (await member.syncIo.read(from, member.window.address, length)) === 0;
    const differing = isRead ? differingSectors(source, member, length) : 0;
    nrSectors += differing;
    if (isRead && (differing === 0 || !repairs)) continue;
    // What could not be read is written anew by a check, too.
    const status = await member.syncIo.write(from, source.window.address, length, true);
    if (status !== 0) core.memberFailed(member, status);
    else if (!isRead) member.nrCorrectedReads++;
  }
  return nrSectors;
}

function differingSectors(a: Member, b: Member, length: number): number {
  let count = 0;
  for (let at = 0; at < length; at += PAGE_SIZE) {
    const end = Math.min(at + PAGE_SIZE, length);
    if (!equalBytes(a.window.bytes.subarray(at, end), b.window.bytes.subarray(at, end))) count += (end - at) / SECTOR_BYTES;
  }
  return count;
}
