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
import { framesForObjects, KernelError, type NodeDescription, type NodeFootprint, PAGE_SIZE } from '@tidemark/core';
import { NEIGHBOURS_PER_FRAME } from './ip/neighbours.js';
import { ROUTES_PER_FRAME } from './ip/route-cache.js';
import { ringSlotBytes } from './ip/ip-layer.js';
import { Holder, type HolderSpec } from './holder.js';
import { emergencyRules, type ReceiveRules } from './rules.js';
import { DATAGRAM_MAX_BYTES } from './wire/ipv4-header.js';
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

/** The sizes for an arena of `nrFrames` on a line of `mtuBytes`. @throws KernelError EINVAL for what is no size. */
export function packetSizes(nrFrames: number, mtuBytes: number, given: Partial<PacketSizes> = {}): PacketSizes {
  const share = (part: number, least: number, most: number): number => Math.min(Math.max(Math.floor(nrFrames / part), least), most);
  const reassemblyBytes = given.reassemblyBytes ?? share(64, 4, 1024) * PAGE_SIZE;
  const sizes: PacketSizes = {
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
  for (const [name, least, most] of LIMITS) {
    const size = sizes[name];
    if (!Number.isSafeInteger(size) || size < least || size > most) {
      throw new KernelError('EINVAL', `a packet transport with ${name} ${size}: want ${least} to ${most}`);
    }
  }
  return sizes;
}

/** What can be given, least and most. */
const LIMITS: readonly (readonly [name: keyof PacketSizes, least: number, most: number])[] = [
  ['ringSlots', 1, 1024],
  ['reassemblyBytes', 0, 2 ** 40],
  ['peersReassemblyBytes', 0, 2 ** 40],
  ['backlogBytes', 0, 2 ** 40],
  ['neighbourQueueBytes', 0, 2 ** 40],
  ['neighbours', 1, 65_536],
  ['routes', 0, 2 ** 20],
  ['receiveLimitBytes', 0, 2 ** 40],
  ['maxConnections', 1, 65_536],
  ['segmentBytes', 1, DATAGRAM_MAX_BYTES - 44],
];

/** Everything of a transport that can keep a received buffer, or is charged to its account (M13). */
export function holderSpecs(sizes: PacketSizes) {
  return {
    reassembly: { name: 'reassembly', boundBytes: sizes.reassemblyBytes },
    routes: { name: 'route cache', boundBytes: 0, objects: sizes.routes, objectsPerFrame: ROUTES_PER_FRAME },
    neighbours: {
      name: 'neighbour queue',
      boundBytes: sizes.neighbourQueueBytes,
      objects: sizes.neighbours,
      objectsPerFrame: NEIGHBOURS_PER_FRAME,
    },
    backlog: { name: 'backlog', boundBytes: sizes.backlogBytes },
  } satisfies Record<string, HolderSpec>;
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

/** A packet transport that is not up, for a dry run. @param name of its host. */
export function describePacketTransport(name: string, mtuBytes = 1500, given: Partial<PacketSizes> = {}): NodeDescription {
  return {
    name: transportNodeName(name),
    kind: 'transport',
    needs: [],
    footprint: (nrFrames) => {
      const sizes = packetSizes(nrFrames, mtuBytes, given);
      const holders = Object.values(holderSpecs(sizes)).map((spec) => new Holder(spec));
      return packetFootprint(sizes, mtuBytes, holders, emergencyRules);
    },
  };
}

/** Name of a host's node of the writeout graph. */
export function transportNodeName(hostName: string): string {
  return `packet transport ${hostName}`;
}
