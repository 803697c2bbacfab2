/**
 * What a packet transport counts, and its trace points. Packets unless a unit is in the name.
 */

export interface PacketCounters {
  received: number;
  receivedBytes: number;
  sent: number;
  sentBytes: number;
  /** Received into the reserve. */
  fromReserve: number;
  /** Dropped: in the reserve, and for a socket that is not marked (M12, 3). */
  droppedForeign: number;
  /** Dropped: no frame for it, not even in the reserve. */
  droppedNoBuffer: number;
  /** Dropped: broken headers or checksums, or of a protocol that is not on the list (M12, 5). */
  droppedBroken: number;
  /** Dropped: nobody has that port. */
  droppedNoSocket: number;
  /** Dropped: a socket or the transport as a whole holds as much as it may. */
  droppedLimit: number;
  /** Dropped: a declared holder is at its bound. */
  droppedBound: number;
  /** Fragments that were dropped because their datagram was evicted, timed out or contradicts itself. */
  droppedFragments: number;
  /** Datagrams put together. */
  reassembled: number;
  /** Datagrams cut into fragments. */
  fragmented: number;
  /** Not sent: the neighbour does not answer, or its queue is full. */
  unreachable: number;
  /** Segments sent again. */
  retransmitted: number;
  /** Connections refused: too many, or nobody listens. */
  refused: number;
  /** Emergencies entered. */
  emergencies: number;
}

export function createPacketCounters(): PacketCounters {
  return {
    received: 0,
    receivedBytes: 0,
    sent: 0,
    sentBytes: 0,
    fromReserve: 0,
    droppedForeign: 0,
    droppedNoBuffer: 0,
    droppedBroken: 0,
    droppedNoSocket: 0,
    droppedLimit: 0,
    droppedBound: 0,
    droppedFragments: 0,
    reassembled: 0,
    fragmented: 0,
    unreachable: 0,
    retransmitted: 0,
    refused: 0,
    emergencies: 0,
  };
}

/** Counters of packets that were dropped. */
export type PacketDrop = Extract<keyof PacketCounters, `dropped${string}`>;

declare module '@tidemark/core' {
  interface TraceEvents {
    /** A packet transport entered or left the emergency state (M12). */
    packetEmergency: { state: 'enter' | 'leave'; reason: string; nrFree: number };
    /** A packet was dropped. */
    packetDrop: { why: PacketDrop; holder: string; isFromReserve: boolean };
    /** A bound of a packet transport was changed, or could not be funded. */
    packetBound: { holder: string; boundBytes: number; isFunded: boolean };
  }
}
