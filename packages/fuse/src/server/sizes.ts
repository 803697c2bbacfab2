/**
 * Sizes of a mount, all from the arena (M5), and what its node declares. Pure functions: a live mount and a dry run share them.
 *
 *     request slots   a request is read into one; a WRITE keeps it until its data are in the page cache
 *     reply slots     a READ is answered out of one
 *     calls           objects of requests that wait for something
 *
 * All of it stands from the mount on. A unit declares no memory of its own: what programs write is ordinary memory of the file.
 */
import { type NodeDescription, type NodeFootprint, PAGE_SIZE, planSizes } from '@tidemark/core';
import { REQUEST_BUFFER_BYTES_LEAST } from '../protocol/constants.js';

/** Slots of either kind: one is read into or written from while the others wait for disks. */
const SLOTS = 4;
/** What a call that waits takes on the JS heap. */
const CALL_BYTES = 1024;

export interface FuseSizes {
  /** Frames of a slot. */
  readonly slotFrames: number;
  readonly requestSlots: number;
  readonly replySlots: number;
  /** Largest READ and WRITE in bytes: whole pages, and less than a slot by the page that the head takes a part of. */
  readonly transferBytes: number;
  /** Requests that wait at once; no more are read beyond it. */
  readonly calls: number;
  /** Of those, waits for advisory locks, which may last for ever. */
  readonly lockWaits: number;
  /** Notifications that have not been sent. */
  readonly notifications: number;
}

/** The sizes for an arena of `nrFrames`. */
export function fuseSizes(nrFrames: number): FuseSizes {
  const { slotFrames: wanted, clientUnits } = planSizes(nrFrames);
  const slotFrames = Math.max(wanted, REQUEST_BUFFER_BYTES_LEAST / PAGE_SIZE);
  const calls = Math.min(Math.max(clientUnits * 2, 16), 256);
  return {
    slotFrames,
    requestSlots: SLOTS,
    replySlots: SLOTS,
    transferBytes: (slotFrames - 1) * PAGE_SIZE,
    calls,
    lockWaits: calls / 2,
    notifications: calls * 4,
  };
}

/** Frames that the calls take. */
export function callFrames({ calls }: FuseSizes): number {
  return Math.ceil((calls * CALL_BYTES) / PAGE_SIZE);
}

/** The node of a mount. */
export function fuseFootprint(nrFrames: number): NodeFootprint {
  const sizes = fuseSizes(nrFrames);
  return {
    standing: [
      { what: 'request slots', frames: sizes.requestSlots * sizes.slotFrames },
      { what: 'reply slots', frames: sizes.replySlots * sizes.slotFrames },
      { what: 'calls', frames: callFrames(sizes) },
    ],
    unit: [],
    nrUnits: sizes.requestSlots,
  };
}

/** A mount that is not there, for a dry run. @param needs names of the nodes of what is mounted. */
export function describeFuseMount(directory: string, needs: readonly string[]): NodeDescription {
  return { name: `fuse:${directory}`, kind: 'server', needs, footprint: fuseFootprint };
}
