/**
 * What a swap area and a `PagedBuffer` take (M5, M9), as pure functions of the arena's size: the live ones and a dry run share them.
 *
 *     area     tables of its slots, write runs and what its pin takes stand; writing a page out then allocates nothing
 *     buffer   a cell of 4 bytes for each page
 */
import {
  deviceIoFrames,
  type FootprintTerm,
  MAX_SLOTS,
  type NodeDescription,
  type NodeFootprint,
  PAGE_SIZE,
  TICKET_BYTES,
} from '@tidemark/core';
import { RUN_PAGES, writebackPages } from './params.js';
import { SwapArea } from './swap-area.js';

/** Bytes of a write run beside its frame numbers. */
const RUN_BYTES = 128;
/** Bytes of a unit: its ticket, and its place on the lists of acknowledged pages. */
const UNIT_BYTES = TICKET_BYTES + 8;

/** Write runs of an area. */
export function nrWriteRuns(nrFrames: number): number {
  return Math.max(8, Math.ceil((2 * writebackPages(nrFrames)) / RUN_PAGES));
}

/** Frames that the write runs and units of an area are charged. */
export function writeRunFrames(nrFrames: number): number {
  return Math.ceil((UNIT_BYTES * writebackPages(nrFrames) + nrWriteRuns(nrFrames) * (RUN_PAGES * 4 + RUN_BYTES)) / PAGE_SIZE);
}

/** A swap area of `nrSlots`, the header's included. @param pinFrames what its pinned file takes; 0 while it is not known. */
export function swapAreaFootprint(nrFrames: number, nrSlots: number, checksum: boolean, pinFrames: number): NodeFootprint {
  const standing = [
    ...SwapArea.standingTerms(nrSlots, checksum),
    { what: 'write runs', frames: writeRunFrames(nrFrames) },
    { what: 'requests of the pinned file', frames: pinFrames },
  ];
  return { standing, unit: [], nrUnits: writebackPages(nrFrames) };
}

/** What the cells of a `PagedBuffer` of that size take. */
export function pagedBufferTerm(sizeBytes: number): FootprintTerm {
  return { what: 'page cells', frames: Math.ceil((Math.ceil(sizeBytes / PAGE_SIZE) * 4) / PAGE_SIZE) };
}

/** What pinning a block device for a swap area takes. @param maxTransferBytes longest transfer of the device. */
export function swapPinFrames(nrFrames: number, maxTransferBytes: number): number {
  return deviceIoFrames(writebackPages(nrFrames), maxTransferBytes);
}

/** A swap area to be. */
export interface SwapAreaDescription {
  /** Name of the node of the block device it is to lie on. */
  readonly device: string;
  /** Pages of the device, the header's included; what is beyond the largest area there can be is not used. */
  readonly nrSlots: number;
  readonly checksum?: boolean;
  /** Longest transfer of the device in bytes, in an arena of `nrFrames`; what is not known counts as the longest there is. */
  maxTransferBytes?(nrFrames: number): number;
  /** What pinning it takes, if it is no whole device, in an arena of `nrFrames`. */
  pinFrames?(nrFrames: number, nrUnits: number): number;
  /** Name of the area. Default: that of the device. */
  readonly name?: string;
}

/** A swap area on a block device that is not there yet, for a dry run. */
export function describeSwapArea(area: SwapAreaDescription): NodeDescription {
  const { device, checksum = false } = area;
  const nrSlots = Math.min(area.nrSlots, MAX_SLOTS);
  return {
    name: `swap:${area.name ?? device}`,
    kind: 'swap-area',
    needs: [device],
    footprint(nrFrames) {
      const transferBytes = area.maxTransferBytes?.(nrFrames) ?? Number.MAX_SAFE_INTEGER;
      const pinFrames = area.pinFrames?.(nrFrames, writebackPages(nrFrames)) ?? swapPinFrames(nrFrames, transferBytes);
      return swapAreaFootprint(nrFrames, nrSlots, checksum, pinFrames);
    },
  };
}
