/**
 * What an array and its bitmap declare (M5), as pure functions: the live nodes and a dry run share them. A unit is one bio of the array; its
 * pages go by reference, and everything else that it takes stands, so that nothing is allocated in flight.
 */
import { bioPoolFrames, type NodeDescription, type NodeFootprint, PAGE_SIZE, planSizes } from '@tidemark/core';
import { memberFrames } from './array/member.js';
import { REQUEST_SEGMENTS } from './array/request.js';
import { bitmapFrames } from './bitmap/load.js';

const WINDOW_PAGES_MAX = 32;

/** Pages of a member's window of resync: a power of two. */
export function windowPages(nrFrames: number): number {
  return Math.min(planSizes(nrFrames).payloadBytes / PAGE_SIZE, WINDOW_PAGES_MAX);
}

/** Frames that the requests of an array are charged. */
export function requestFrames(nrFrames: number, raidDisks: number): number {
  return bioPoolFrames(planSizes(nrFrames).clientUnits * raidDisks, REQUEST_SEGMENTS);
}

/** An array of `raidDisks`, with `nrMembers` there, spares too. */
export function raid1Footprint(nrFrames: number, raidDisks: number, nrMembers: number): NodeFootprint {
  const standing = [
    { what: 'requests and their bios', frames: requestFrames(nrFrames, raidDisks) },
    { what: 'superblocks, bios and windows of resync of members', frames: nrMembers * memberFrames(windowPages(nrFrames)) },
  ];
  return { standing, unit: [], nrUnits: planSizes(nrFrames).clientUnits };
}

/** The bitmap of an array. @param pinFrames what pinning its file takes; 0 for one on the members. */
export function bitmapFootprint(nrChunks: number, pinFrames: number): NodeFootprint {
  const standing = [
    { what: 'pages and table of counters', frames: bitmapFrames(nrChunks) },
    { what: 'requests of the pinned file', frames: pinFrames },
  ];
  return { standing, unit: [], nrUnits: 1 };
}

/** An array that is not there, for a dry run: its own node, and that of its bitmap if it has one. */
export function describeRaid1(
  name: string,
  members: readonly string[],
  bitmap: { file: string | null; nrChunks: number } | null,
): NodeDescription[] {
  const bitmapName = `bitmap of ${name}`;
  const array: NodeDescription = {
    name,
    kind: 'block-device',
    needs: bitmap === null ? members : [...members, bitmapName],
    footprint: (nrFrames) => raid1Footprint(nrFrames, members.length, members.length),
  };
  if (bitmap === null) return [array];
  const { file, nrChunks } = bitmap;
  return [
    array,
    {
      name: bitmapName,
      kind: 'md-bitmap',
      needs: file === null ? members : [file],
      footprint: () => bitmapFootprint(nrChunks, file === null ? 0 : 1),
    },
  ];
}
