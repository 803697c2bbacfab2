/**
 * Footprints (M5): the memory a node of the writeout graph declares, term by term, so that a refusal can name the largest.
 *
 *     standing   allocated at admission and kept: receive slots, block maps, pre-attached requests
 *     in flight  what one unit holds at once, with all it cannot give back before the nodes under it finish, × units at once
 *
 * A footprint contains no other node's: each node charges its own account, whoever asked for the work.
 */
import { KernelError } from '../base/errno.js';

/** One reason for memory. Frames. */
export interface FootprintTerm {
  /** `receive slot`, `request headers`. */
  readonly what: string;
  readonly frames: number;
}

/** What a node declares. */
export interface NodeFootprint {
  readonly standing: readonly FootprintTerm[];
  /** Most that one unit holds at once beside what stands. */
  readonly unit: readonly FootprintTerm[];
  /** Units at once. */
  readonly nrUnits: number;
  /** A server: those of its units that it keeps for nodes of this kernel, one for each of theirs (M16). Absent: it is none. */
  readonly unitsForClients?: number;
  /** What its callers who cannot wait take between two refills: ring refill, completion objects (A of M3). */
  readonly atomic?: readonly FootprintTerm[];
}

/** Most units of one node. */
export const UNITS_MAX = 65_536;
/** Most frames of one term: more than any arena has. */
const TERM_FRAMES_MAX = 2 ** 32;

/** Frames that stand. */
export function standingFrames(footprint: NodeFootprint): number {
  return sum(footprint.standing);
}

/** Frames one unit holds: need(n). */
export function needFrames(footprint: NodeFootprint): number {
  return sum(footprint.unit);
}

/** Frames of the node's account: need × units. */
export function limitFrames(footprint: NodeFootprint): number {
  return needFrames(footprint) * footprint.nrUnits;
}

/** Frames of its callers who cannot wait. */
export function atomicFrames(footprint: NodeFootprint): number {
  return sum(footprint.atomic ?? []);
}

/** Frames that n objects of a slab cache take at worst: the extra one is a page shared with others. */
export function framesForObjects(nrObjects: number, objectsPerFrame: number): number {
  return nrObjects === 0 ? 0 : Math.ceil(nrObjects / objectsPerFrame) + 1;
}

/** The largest term of a footprint, in flight counted for all units. */
export function largestTerm(footprint: NodeFootprint): FootprintTerm | null {
  const terms = [...footprint.standing, ...footprint.unit.map(({ what, frames }) => ({ what, frames: frames * footprint.nrUnits }))];
  return terms.reduce<FootprintTerm | null>((largest, term) => (largest === null || term.frames > largest.frames ? term : largest), null);
}

/** @throws KernelError EINVAL naming the node and the term for what is no count of frames, or no number of units. */
export function checkFootprint(name: string, footprint: NodeFootprint): void {
  const isCount = (n: number, least: number, most: number): boolean => Number.isSafeInteger(n) && n >= least && n <= most;
  for (const { what, frames } of [...footprint.standing, ...footprint.unit, ...(footprint.atomic ?? [])]) {
    if (!isCount(frames, 0, TERM_FRAMES_MAX))
      throw new KernelError('EINVAL', `${name} declares ${frames} frames for ${what}, which is no count of frames`);
  }
  if (!isCount(footprint.nrUnits, 1, UNITS_MAX))
    throw new KernelError('EINVAL', `${name} declares ${footprint.nrUnits} units; want 1 to ${UNITS_MAX}`);
  if (!isCount(footprint.unitsForClients ?? 0, 0, footprint.nrUnits))
    throw new KernelError(
      'EINVAL',
      `${name} keeps ${footprint.unitsForClients} of its ${footprint.nrUnits} units for nodes of this kernel`,
    );
}

function sum(terms: readonly FootprintTerm[]): number {
  return terms.reduce((total, { frames }) => total + frames, 0);
}
