/**
 * Sizes of a mount, all from the arena (M5), and what its three nodes declare (M15). Pure functions: a live mount and a dry run share them.
 *
 *     write    a page from its first WRITE until it is stable: U units. Pages go by reference: 0 frames in flight
 *     commit   a COMMIT, one at a time, with a call of its own: standing
 *     rpc      calls of the first connection, and both receive slots: standing. The calls of the second connection stand here too, but are no
 *              units: no writeout waits for them
 */
import { type NodeDescription, type NodeFootprint, PAGE_SIZE, planSizes } from '@tidemark/core';

/** Bytes of a call's head: WRITE, COMMIT and READ; everything else (RENAME is the longest); SYMLINK. */
const DATA_HEAD_BYTES = 256;
const HEAD_BYTES = 1024;
const LONG_HEAD_BYTES = 6144;
/** What a call takes on the JS heap: its object, its waiter, the closures of who called. */
const CALL_BYTES = 1024;
/** Most pages of one writeback run: what the page cache gives. */
const READ_HEAD_MAX_BYTES = 4096;

export interface NfsClientSizes {
  /** Frames of the receive slot of each of the two connections. */
  readonly slotFrames: number;
  /** U: pages on their way to being stable at once. */
  readonly units: number;
  /** Largest READ and WRITE in bytes: the server may want less. */
  readonly transferBytes: number;
  /** Longest record that is read. */
  readonly recordBytes: number;
  /** Largest READDIR result that is asked for. */
  readonly directoryBytes: number;
  /** Calls of the second connection in flight at once. */
  readonly calls: number;
  /** Attributes and handles that READDIRPLUS brought, kept until somebody looks them up. */
  readonly primedEntries: number;
}

/** The sizes for an arena of `nrFrames`. */
export function nfsClientSizes(nrFrames: number): NfsClientSizes {
  const { slotFrames, clientUnits, payloadBytes } = planSizes(nrFrames);
  const slotBytes = slotFrames * PAGE_SIZE;
  return {
    slotFrames,
    units: clientUnits,
    transferBytes: payloadBytes,
    recordBytes: payloadBytes + READ_HEAD_MAX_BYTES,
    directoryBytes: Math.min(slotBytes / 2 - 1024, 65_536),
    calls: Math.min(Math.max(clientUnits * 2, 4), 64),
    primedEntries: Math.min(Math.max(Math.floor(nrFrames / 64), 16), 1024),
  };
}

/** Where the heads of each sort of call lie in one piece of standing memory, in bytes. */
export interface HeadRoom {
  readonly writes: number;
  readonly commit: number;
  readonly pinnedReads: number;
  readonly others: number;
  readonly long: number;
}

/** Bytes of the heads. */
export function headRoom({ units, calls }: NfsClientSizes): HeadRoom {
  return {
    writes: units * DATA_HEAD_BYTES,
    commit: DATA_HEAD_BYTES,
    pinnedReads: units * DATA_HEAD_BYTES,
    others: calls * HEAD_BYTES,
    long: LONG_HEAD_BYTES,
  };
}

/** Frames of all heads but the COMMIT's; contiguous, so a power of two. */
export function headFrames(sizes: NfsClientSizes): number {
  const { writes, commit, pinnedReads, others, long } = headRoom(sizes);
  return blockFrames(2 * writes + commit + pinnedReads + others + long);
}

/** Frames that pay for calls, and for what READDIRPLUS brought, on the JS heap. */
export function objectFrames({ units, calls, primedEntries }: NfsClientSizes): number {
  return Math.ceil(((3 * units + calls + 3) * CALL_BYTES + primedEntries * 512) / PAGE_SIZE);
}

/** What the three nodes declare. */
export interface NfsClientFootprints {
  readonly write: NodeFootprint;
  readonly commit: NodeFootprint;
  readonly rpc: NodeFootprint;
}

export function nfsClientFootprints(nrFrames: number): NfsClientFootprints {
  const sizes = nfsClientSizes(nrFrames);
  return {
    write: { standing: [], unit: [], nrUnits: sizes.units },
    commit: { standing: [{ what: 'the call of a COMMIT', frames: 1 }], unit: [], nrUnits: 1 },
    rpc: {
      standing: [
        { what: 'receive slots of two connections', frames: 2 * sizes.slotFrames },
        { what: 'heads of calls', frames: headFrames(sizes) },
        { what: 'calls, as objects', frames: objectFrames(sizes) },
      ],
      unit: [],
      nrUnits: sizes.units,
    },
  };
}

/** A mount that is not there, for a dry run: its three nodes, the first one first. @param needs names of what the rpc node needs. */
export function describeNfsClient(source: string, needs: readonly string[]): readonly NodeDescription[] {
  const names = nodeNames(source);
  const kind = 'filesystem';
  return [
    { name: names.write, kind, needs: [names.commit], footprint: (nrFrames) => nfsClientFootprints(nrFrames).write },
    { name: names.commit, kind, needs: [names.rpc], footprint: (nrFrames) => nfsClientFootprints(nrFrames).commit },
    { name: names.rpc, kind, needs, footprint: (nrFrames) => nfsClientFootprints(nrFrames).rpc },
  ];
}

/** Names of the three nodes of a mount. */
export function nodeNames(source: string): { readonly write: string; readonly commit: string; readonly rpc: string } {
  return { write: source, commit: `${source} commit`, rpc: `${source} rpc` };
}

function blockFrames(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes / PAGE_SIZE));
}
