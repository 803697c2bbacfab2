/**
 * What the two ends of NBD declare (M5, M21), as pure functions of the arena's size: the live nodes and a dry run share them.
 *
 *     client   a receive slot and the request headers stand; a unit's pages go by reference and its reply through the slot: 0 frames
 *     server   a receive slot and a reply ring of the same size stand for each connection, two for each client of the same kernel; a unit's
 *              payload streams through them. Strangers share as many units as a client has, and up to eight clients of this kernel have
 *              a set each
 */
import { type NodeDescription, type NodeFootprint, planSizes } from '@tidemark/core';
import { headerFrames } from './client/request-slots.js';

/** A client's device. Frames of contiguous blocks: the next power of two. */
export function nbdClientFootprint(nrFrames: number): NodeFootprint {
  const { slotFrames, clientUnits } = planSizes(nrFrames);
  const standing = [
    { what: 'receive slot', frames: slotFrames },
    { what: 'requests and their headers', frames: blockFrames(headerFrames(clientUnits)) },
  ];
  return { standing, unit: [], nrUnits: clientUnits };
}

/** Clients of its own kernel that a server keeps units for. */
const LOCAL_CLIENTS_MAX = 8;

/**
 * A server with `nrConnections` connections.
 * @param isEntitling whether it can recognise clients of its kernel, and rights cross to them.
 * @param pinFrames what the pins behind its exports take.
 */
export function nbdServerFootprint(nrFrames: number, nrConnections: number, isEntitling: boolean, pinFrames: number): NodeFootprint {
  const { slotFrames, clientUnits, maxConnections } = planSizes(nrFrames);
  const unitsForClients = isEntitling ? clientUnits * Math.min(maxConnections, LOCAL_CLIENTS_MAX) : 0;
  return {
    standing: [
      { what: 'receive slots and reply rings', frames: nrConnections * 2 * slotFrames },
      { what: 'requests of pinned exports', frames: pinFrames },
    ],
    unit: [],
    nrUnits: clientUnits + unitsForClients,
    ...(isEntitling ? { unitsForClients } : {}),
  };
}

/** An NBD device that is not open, for a dry run. @param server name of its server's node if that is in the same kernel, or null. */
export function describeNbdClient(uri: string, server: string | null): NodeDescription {
  return { name: uri, kind: 'block-device', needs: server === null ? [] : [server], footprint: nbdClientFootprint };
}

/**
 * A server that is not listening, for a dry run.
 * @param devices names of the nodes of what it exports.
 * @param nrConnections connections of strangers, and two for each client of this kernel that comes by TCP.
 * @param pinFrames what pins by clients of this kernel take behind its exports, in an arena of `nrFrames`.
 */
export function describeNbdServer(
  address: string,
  devices: readonly string[],
  nrConnections: number,
  pinFrames: (nrFrames: number) => number,
): NodeDescription {
  return {
    name: `nbd-server:${address}`,
    kind: 'server',
    needs: devices,
    footprint: (nrFrames) => nbdServerFootprint(nrFrames, nrConnections, !address.startsWith('unix:'), pinFrames(nrFrames)),
  };
}

function blockFrames(nrFrames: number): number {
  return 2 ** Math.ceil(Math.log2(nrFrames));
}
