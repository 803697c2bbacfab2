/**
 * Sizes of a server, all from the arena (M5), and what its nodes declare (M16). Pure functions: a live server and a dry run share them.
 *
 *     connection    a receive slot, a reply ring of the same size, and its calls: standing, given back when it is gone
 *     server        the reply cache and the objects of open files: standing
 *     write node    a unit is one page of payload, from its WRITE until it is clean: its frame in the page cache. There is one for each unit of
 *                   the clients of this kernel (M16), of which there may be four. What strangers write is ordinary memory of the file: they
 *                   wait for it, or are sent away
 *     commit node   a COMMIT at a time; it takes nothing of its own either, what it waits for belongs to the filesystem
 */
import { type NodeDescription, type NodeFootprint, PAGE_SIZE, planSizes } from '@tidemark/core';

/** What a call in progress takes on the JS heap: its arguments (a name, a path), its steps. */
const CALL_BYTES = 4096;
/** Clients of its own kernel that a server keeps units for. */
const LOCAL_CLIENTS_MAX = 4;
/** Connections that it keeps memory for, for each of them: the two of a mount, and one that it has lost. */
export const GUEST_CONNECTIONS = 3;
const OPEN_FILE_BYTES = 1024;
/** Bytes that one kept reply may have: the longest is that of RENAME, LINK or CREATE. */
export const KEPT_REPLY_BYTES = 512;
/** What a kept reply takes beside: its key, its place in the table. */
const KEPT_ENTRY_BYTES = 256;
/** Arguments of everything but WRITE: two handles and names, or a handle, a name and the target of a link; and the head of the call. */
const CALL_BYTES_MAX = 12_288;
/** Heads and padding beside the payload of a WRITE. */
const WRITE_HEAD_BYTES = 4096;

export interface NfsServerSizes {
  /** Frames of a connection's receive slot, and of its reply ring. */
  readonly slotFrames: number;
  /** Largest READ and WRITE in bytes: rtmax and wtmax. */
  readonly transferBytes: number;
  /** Longest record in bytes. */
  readonly recordBytes: number;
  /** Longest record in bytes that is not a WRITE: half a slot, so that there is always room to read its rest. */
  readonly callBytes: number;
  /** Largest READDIR and READDIRPLUS result in bytes. */
  readonly directoryBytes: number;
  /** Calls of one connection in progress at once. */
  readonly callsPerConnection: number;
  /** Replies kept for calls that are sent again. */
  readonly keptReplies: number;
  /** Files open at once. */
  readonly openFiles: number;
  readonly maxConnections: number;
  /** Pages of payload on their way at once, as a client of this arena would have. */
  readonly clientUnits: number;
}

/** The sizes for an arena of `nrFrames`. */
export function nfsServerSizes(nrFrames: number): NfsServerSizes {
  const { slotFrames, clientUnits, payloadBytes, maxConnections } = planSizes(nrFrames);
  const slotBytes = slotFrames * PAGE_SIZE;
  const transferBytes = Math.min(payloadBytes, slotBytes / 2);
  return {
    slotFrames,
    transferBytes,
    recordBytes: transferBytes + WRITE_HEAD_BYTES,
    callBytes: Math.min(slotBytes / 2, CALL_BYTES_MAX),
    directoryBytes: slotBytes / 2,
    callsPerConnection: clamp(clientUnits * 2, 4, 64),
    keptReplies: clamp(Math.floor(nrFrames / 32), 16, 1024),
    openFiles: clamp(Math.floor(nrFrames / 64), 8, 512),
    maxConnections,
    clientUnits,
  };
}

/** Frames that the calls of one connection take. */
export function callFrames({ callsPerConnection }: NfsServerSizes): number {
  return Math.ceil((callsPerConnection * CALL_BYTES) / PAGE_SIZE);
}

/** Frames that the bytes of the kept replies take; contiguous, so a power of two. */
export function keptReplyFrames({ keptReplies }: NfsServerSizes): number {
  return 2 ** Math.ceil(Math.log2((keptReplies * KEPT_REPLY_BYTES) / PAGE_SIZE));
}

/** Frames for the objects of kept replies and open files. */
export function objectFrames({ keptReplies, openFiles }: NfsServerSizes): number {
  return Math.ceil((keptReplies * KEPT_ENTRY_BYTES + openFiles * OPEN_FILE_BYTES) / PAGE_SIZE);
}

/**
 * The write node of a server with `nrConnections` connections.
 * @param isEntitling whether it can recognise clients of its kernel, and rights cross to them.
 * @param pinFrames what the files that such clients have pinned take.
 */
export function nfsServerFootprint(nrFrames: number, nrConnections: number, isEntitling: boolean, pinFrames: number): NodeFootprint {
  const sizes = nfsServerSizes(nrFrames);
  const unitsForClients = sizes.clientUnits * Math.min(sizes.maxConnections, LOCAL_CLIENTS_MAX);
  return {
    standing: [
      { what: 'receive slots and reply rings', frames: nrConnections * 2 * sizes.slotFrames },
      { what: 'calls in progress', frames: nrConnections * callFrames(sizes) },
      { what: 'kept replies', frames: keptReplyFrames(sizes) },
      { what: 'kept replies and open files, as objects', frames: objectFrames(sizes) },
      { what: 'requests of pinned files', frames: pinFrames },
    ],
    ...(isEntitling
      ? { unit: [{ what: 'cache page', frames: 1 }], nrUnits: unitsForClients, unitsForClients }
      : { unit: [], nrUnits: sizes.clientUnits }),
  };
}

/** The commit node. */
export function nfsCommitFootprint(): NodeFootprint {
  return { standing: [], unit: [], nrUnits: 1 };
}

/**
 * A server that is not listening, for a dry run: its two nodes, the one for writes first.
 * @param needs names of the nodes of what it exports.
 * @param nrConnections connections of strangers, and three for each client of this kernel that comes by TCP.
 * @param pinFrames what the files that such clients have pinned take in an arena of `nrFrames`. Default: none are.
 */
export function describeNfsServer(
  address: string,
  needs: readonly string[],
  nrConnections: number,
  pinFrames: (nrFrames: number) => number = () => 0,
): readonly NodeDescription[] {
  const name = `nfs-server:${address}`;
  const commit = `${name} commit`;
  return [
    {
      name,
      kind: 'server',
      needs: [commit],
      footprint: (nrFrames) => nfsServerFootprint(nrFrames, nrConnections, !address.startsWith('unix:'), pinFrames(nrFrames)),
    },
    { name: commit, kind: 'server', needs, footprint: nfsCommitFootprint },
  ];
}

function clamp(n: number, least: number, most: number): number {
  return Math.min(Math.max(n, least), most);
}
