/**
 * Sizes of a packet transport, from the arena (M5): how much each holder may hold, and what stands. All can be set when it is made; none is
 * a protocol's default.
 *
 *     ring slots      n/64, from 4 to 256       packets that the line may bring before they are looked at
 *     reassembly      n/64 frames, from 4 to 1,024; half of it is open only to peers of memalloc sockets
 *     backlog         n/64 frames, from 4 to 256    of marked sockets
 *     neighbour queue 2 frames, 32 entries
 *     route cache     n/16 objects, from 16 to 16,384
 *     receive limit   n/16 frames, at least 8       of all unmarked sockets together; ordinary memory, in no reserve
 *     connections     n/64, from 8 to 1,024
 */
import { framesForObjects, type NodeFootprint, PAGE_SIZE } from '@tidemark/core';
import { ringSlotBytes } from './ip/ip-layer.js';
import type { Holder } from './holder.js';
import type { ReceiveRules } from './rules.js';
import { CONNECTION_BYTES } from './stream/stream-layer.js';

/** Sizes of one transport. */
export interface PacketSizes {
  readonly ringSlots: number;
  readonly reassemblyBytes: number;
  /** Part of it that is open only to peers of memalloc sockets. */
  readonly peersReassemblyBytes: number;
  readonly backlogBytes: number;
  readonly neighbourQueueBytes: number;
  readonly neighbours: number;
  readonly routes: number;
  readonly receiveLimitBytes: number;
  readonly maxConnections: number;
  /** Longest payload of a segment; above the line's MTU less 40, segments travel as fragments. Default: the MTU less 40. */
  readonly segmentBytes: number;
}

/** The sizes for an arena of `nrFrames` on a line of `mtuBytes`. */
export function packetSizes(nrFrames: number, mtuBytes: number, given: Partial<PacketSizes> = {}): PacketSizes {
  const share = (part: number, least: number, most: number): number => Math.min(Math.max(Math.floor(nrFrames / part), least), most);
  const reassemblyBytes = given.reassemblyBytes ?? share(64, 4, 1024) * PAGE_SIZE;
  return {
    ringSlots: share(64, 4, 256),
    peersReassemblyBytes: Math.floor(reassemblyBytes / PAGE_SIZE / 2) * PAGE_SIZE,
    backlogBytes: share(64, 4, 256) * PAGE_SIZE,
    neighbourQueueBytes: 2 * PAGE_SIZE,
    neighbours: 32,
    routes: share(16, 16, 16_384),
    receiveLimitBytes: share(16, 8, 65_536) * PAGE_SIZE,
    maxConnections: share(64, 8, 1024),
    segmentBytes: mtuBytes - 40,
    ...given,
    reassemblyBytes,
  };
}

/** Frames of the ring; a block of them, so a power of two. */
export function ringFrames(ringSlots: number, mtuBytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max((ringSlots * ringSlotBytes(mtuBytes)) / PAGE_SIZE, 1)));
}

/** Frames that the objects of connections take. */
export function connectionFrames(maxConnections: number): number {
  return framesForObjects(maxConnections, PAGE_SIZE / CONNECTION_BYTES);
}

/** What a transport declares (M13): its ring and transmit frame stand; in flight are its holders' bounds and the packet in hand. */
export function packetFootprint(sizes: PacketSizes, mtuBytes: number, holders: readonly Holder[], rules: ReceiveRules): NodeFootprint {
  return {
    standing: [
      { what: 'receive ring', frames: ringFrames(sizes.ringSlots, mtuBytes) },
      { what: 'transmit frame', frames: 1 },
      { what: 'connections', frames: connectionFrames(sizes.maxConnections) },
    ],
    unit: [...holders.map((holder) => ({ what: holder.name, frames: holder.plannedFrames(rules) })), { what: 'packet in hand', frames: 1 }],
    nrUnits: 1,
    atomic: [{ what: 'ring refill', frames: Math.min(sizes.ringSlots, 16) }],
  };
}
