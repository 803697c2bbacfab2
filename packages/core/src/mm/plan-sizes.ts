/**
 * Sizes that follow from the arena (M5): a node asks how large its transfers and tables may be, and never takes a protocol's default.
 */
import { PAGE_SIZE } from '../base/size.js';

/** Sizes for one arena. */
export interface PlanSizes {
  /** Frames of a connection's contiguous receive slot: the largest power of two up to n/128, 2 at least, 256 (1 MiB) at most. */
  readonly slotFrames: number;
  /** Units, of one page each, that a network client has in flight: n/256, from 1 to 256. */
  readonly clientUnits: number;
  /** Largest payload of one network request in bytes: the units' pages rounded down to a power of two, 1 MiB at most. */
  readonly payloadBytes: number;
  /** Largest option data of an NBD handshake in bytes: half a slot. */
  readonly optionBytes: number;
  /** Connections a listener accepts: n/256, at least 2, at most 64. */
  readonly maxConnections: number;
}

/** The sizes for an arena of `nrFrames`. */
export function planSizes(nrFrames: number): PlanSizes {
  const slotFrames = clamp(powerOfTwoBelow(nrFrames / 128), 2, 256);
  const clientUnits = clamp(Math.floor(nrFrames / 256), 1, 256);
  return {
    slotFrames,
    clientUnits,
    payloadBytes: powerOfTwoBelow(clientUnits) * PAGE_SIZE,
    optionBytes: (slotFrames * PAGE_SIZE) / 2,
    maxConnections: clamp(Math.floor(nrFrames / 256), 2, 64),
  };
}

function powerOfTwoBelow(n: number): number {
  return n < 1 ? 1 : 2 ** Math.floor(Math.log2(n));
}

function clamp(n: number, least: number, most: number): number {
  return Math.min(Math.max(n, least), most);
}
