/**
 * The IPv4 layer of one interface: from frames to datagrams and back.
 *
 *     receive   frame ─copied─▶ ring slot (standing) ─poll─▶ packet buffer (normal or tagged) ─▶ ARP
 *                                                                                            └▶ IPv4 ─▶ reassembly ─▶ UDP, streams
 *     send      header and pieces ─▶ route ─▶ neighbour ─▶ fragments, built one by one in a standing frame ─▶ port
 *
 * Sending takes no memory, except for what waits for a neighbour's answer. The poll keeps up with the line: it runs when the ring is full
 * and when everything that is due has come. Of protocols only ARP, IPv4, UDP and the byte stream are looked at (M12, 5).
 */
import { type Clock, PAGE_SIZE, type StandingMemory, type TracePoints } from '@tidemark/core';
import type { PacketCounters, PacketDrop } from '../counters.js';
import type { Holder } from '../holder.js';
import type { NetworkInterface, Port } from '../network.js';
import type { BufferPool, PacketBuffer } from '../packet-buffer.js';
import { ARP_BYTES, ArpOperation, ETHERNET_HEADER_BYTES, EtherType, getArp, putArp, putEthernet } from '../wire/ethernet.js';
import { get16 } from '../wire/bytes.js';
import { BROADCAST_LINK, type Ipv4Address, isLoopback, type LinkAddress } from '../wire/ipv4-address.js';
import { DATAGRAM_MAX_BYTES, getIpv4, IPV4_HEADER_BYTES, type Ipv4Header, Protocol, putIpv4 } from '../wire/ipv4-header.js';
import type { IncomingDatagram, OutgoingDatagram } from './datagram.js';
import { Neighbours } from './neighbours.js';
import { Reassembly } from './reassembly.js';
import { type Route, RouteCache } from './route-cache.js';

const FRAME_IPV4_AT = ETHERNET_HEADER_BYTES;
const PAYLOAD_AT = FRAME_IPV4_AT + IPV4_HEADER_BYTES;

/** What the layer is made of. The standing memory is the transport's. */
export interface IpLayerParts {
  readonly clock: Clock;
  readonly trace: TracePoints;
  readonly counters: PacketCounters;
  readonly pool: BufferPool;
  readonly ring: StandingMemory;
  readonly slotBytes: number;
  readonly transmitFrame: StandingMemory;
  readonly table: readonly Route[];
  readonly holders: { readonly reassembly: Holder; readonly routes: Holder; readonly neighbours: Holder };
  readonly peersReassemblyBytes: number;
  /** True for an address that some memalloc socket is connected with. */
  isPeer(address: Ipv4Address): boolean;
  /** A datagram has come for this host. */
  deliver(datagram: IncomingDatagram): void;
}

export class IpLayer implements NetworkInterface {
  readonly routes: RouteCache;
  readonly neighbours: Neighbours;
  readonly reassembly: Reassembly;
  readonly #parts: IpLayerParts;
  /** Lengths of the frames that stand in the ring. */
  readonly #ringLengths: Uint16Array;
  #nrInRing = 0;
  #nextIdentification: number;
  #port: Port | null = null;

  constructor(parts: IpLayerParts, firstIdentification: number) {
    this.#parts = parts;
    this.#ringLengths = new Uint16Array(Math.floor(parts.ring.bytes.length / parts.slotBytes));
    this.#nextIdentification = firstIdentification;
    const { clock, pool, holders, counters, trace } = parts;
    this.routes = new RouteCache(pool.objectFrames, parts.table, holders.routes.objects);
    this.reassembly = new Reassembly({
      clock,
      pool,
      holder: holders.reassembly,
      peersBytes: parts.peersReassemblyBytes,
      onDrop: (nrFragments) => {
        counters.droppedFragments += nrFragments;
        if (trace.enabled)
          trace.emit('packetDrop', { why: 'droppedFragments', holder: holders.reassembly.name, isFromReserve: pool.nrTagged > 0 });
      },
    });
    this.neighbours = new Neighbours({
      clock,
      frames: pool.objectFrames,
      holder: holders.neighbours,
      isPeer: (address) => parts.isPeer(address),
      ask: (address) => this.#sendArp(ArpOperation.REQUEST, BROADCAST_LINK, 0, address),
      sendWaiting: (buffer, link) => {
        putEthernet(buffer.bytes, link, this.#plugged.link, EtherType.IPV4);
        this.#transmit(buffer.bytes, buffer.end);
        pool.free(buffer);
      },
      drop: (buffer) => {
        counters.unreachable++;
        pool.free(buffer);
      },
    });
  }

  /** Bound once, to the port it is plugged to. */
  plug(port: Port): void {
    this.#port = port;
  }

  get #plugged(): Port {
    return this.#port as Port;
  }

  get address(): Ipv4Address {
    return this.#plugged.address;
  }

  receive(frame: Uint8Array): void {
    const { ring, slotBytes } = this.#parts;
    if (frame.length > slotBytes || frame.length < ETHERNET_HEADER_BYTES) {
      this.#count('droppedBroken', '', false);
      return;
    }
    if (this.#nrInRing === this.#ringLengths.length) this.#poll();
    ring.bytes.set(frame, this.#nrInRing * slotBytes);
    this.#ringLengths[this.#nrInRing++] = frame.length;
  }

  received(): void {
    this.#poll();
  }

  #poll(): void {
    const { ring, slotBytes, pool, counters } = this.#parts;
    const count = this.#nrInRing;
    this.#nrInRing = 0;
    for (let slot = 0; slot < count; slot++) {
      const lengthBytes = this.#ringLengths[slot];
      counters.received++;
      counters.receivedBytes += lengthBytes;
      const buffer = pool.take();
      if (buffer === null) {
        this.#count('droppedNoBuffer', 'ring', true);
        continue;
      }
      buffer.bytes.set(ring.bytes.subarray(slot * slotBytes, slot * slotBytes + lengthBytes));
      buffer.start = ETHERNET_HEADER_BYTES;
      buffer.end = lengthBytes;
      this.#frame(buffer);
    }
  }

  #frame(buffer: PacketBuffer): void {
    const type = get16(buffer.bytes, 12);
    if (type === EtherType.IPV4) this.#ipv4(buffer);
    else if (type === EtherType.ARP) this.#arp(buffer);
    else this.drop(buffer, 'droppedBroken');
  }

  #arp(buffer: PacketBuffer): void {
    const arp = getArp(buffer.bytes, buffer.start, buffer.end);
    if (arp === null) {
      this.drop(buffer, 'droppedBroken');
      return;
    }
    this.#parts.pool.free(buffer);
    if (arp.target !== this.address) return;
    if (arp.operation === ArpOperation.REQUEST) {
      this.neighbours.learn(arp.sender, arp.senderLink, false);
      this.#sendArp(ArpOperation.REPLY, arp.senderLink, arp.senderLink, arp.sender);
    } else this.neighbours.learn(arp.sender, arp.senderLink, true);
  }

  #ipv4(buffer: PacketBuffer): void {
    const header = getIpv4(buffer.bytes, buffer.start, buffer.end);
    if (header === null) {
      this.drop(buffer, 'droppedBroken');
      return;
    }
    if (!this.isOwn(header.destination)) {
      this.drop(buffer, 'droppedNoSocket');
      return;
    }
    this.routes.nextHop(header.source);
    buffer.end = buffer.start + header.totalBytes;
    buffer.start += header.headerBytes;
    if (header.protocol !== Protocol.TCP && header.protocol !== Protocol.UDP) this.drop(buffer, 'droppedBroken');
    else if (header.hasMore || header.offsetBytes > 0) this.#fragment(header, buffer);
    else this.#deliver(header, buffer, buffer.lengthBytes);
  }

  #fragment(header: Ipv4Header, buffer: PacketBuffer): void {
    const first = this.reassembly.add(header, buffer, this.#parts.isPeer(header.source));
    if (first === null) return;
    this.#parts.counters.reassembled++;
    let lengthBytes = 0;
    for (let at: PacketBuffer | null = first; at !== null; at = at.next) lengthBytes += at.lengthBytes;
    this.#deliver(header, first, lengthBytes);
  }

  #deliver({ source, destination, protocol }: Ipv4Header, first: PacketBuffer, lengthBytes: number): void {
    let isFromReserve = false;
    for (let at: PacketBuffer | null = first; at !== null; at = at.next) isFromReserve ||= at.isFromReserve;
    this.#parts.deliver({ source, destination, protocol, first, lengthBytes, isFromReserve });
  }

  isOwn(address: Ipv4Address): boolean {
    return address === this.address || isLoopback(address);
  }

  /** Drops a packet, and counts it. */
  drop(buffer: PacketBuffer, why: PacketDrop, holder = ''): void {
    this.#count(why, holder, buffer.isFromReserve);
    this.#parts.pool.free(buffer);
  }

  #count(why: PacketDrop, holder: string, isFromReserve: boolean): void {
    const { counters, trace } = this.#parts;
    counters[why]++;
    if (trace.enabled) trace.emit('packetDrop', { why, holder, isFromReserve });
  }

  /** Sends a datagram. What it refers to is free again when this returns. @returns false if it can not be sent now. */
  send(datagram: OutgoingDatagram): boolean {
    const { counters } = this.#parts;
    if (this.#port === null) return false;
    const { destination, lengthBytes } = datagram;
    const nextHop = this.isOwn(destination) ? this.address : this.routes.nextHop(destination);
    if (nextHop < 0 || lengthBytes + IPV4_HEADER_BYTES > DATAGRAM_MAX_BYTES) {
      counters.unreachable++;
      return false;
    }
    const link = nextHop === this.address ? this.#port.link : this.neighbours.lookup(nextHop);
    const pieceBytes = this.#port.line.mtuBytes - IPV4_HEADER_BYTES;
    const stepBytes = lengthBytes <= pieceBytes ? lengthBytes : pieceBytes & ~7;
    if (stepBytes < lengthBytes) counters.fragmented++;
    const identification = this.#nextIdentification;
    this.#nextIdentification = (identification + 1) & 0xffff;
    for (let from = 0; from < lengthBytes; from += stepBytes) {
      const to = Math.min(from + stepBytes, lengthBytes);
      if (!this.#sendPiece(datagram, identification, from, to, nextHop, link)) return false;
    }
    return true;
  }

  #sendPiece(
    datagram: OutgoingDatagram,
    identification: number,
    from: number,
    to: number,
    nextHop: Ipv4Address,
    link: LinkAddress,
  ): boolean {
    const { pool, transmitFrame, counters } = this.#parts;
    const waiting = link < 0 ? pool.take(datagram.isMarked) : null;
    if (link < 0 && waiting === null) {
      counters.unreachable++;
      return false;
    }
    const bytes = waiting === null ? transmitFrame.bytes : waiting.bytes;
    putIpv4(bytes, FRAME_IPV4_AT, {
      totalBytes: IPV4_HEADER_BYTES + to - from,
      identification,
      hasMore: to < datagram.lengthBytes,
      offsetBytes: from,
      protocol: datagram.protocol,
      source: this.address,
      destination: datagram.destination,
    });
    datagram.copy(from, to, bytes, PAYLOAD_AT);
    const end = PAYLOAD_AT + to - from;
    if (waiting === null) {
      putEthernet(bytes, link, this.#plugged.link, EtherType.IPV4);
      this.#transmit(bytes, end);
      return true;
    }
    waiting.start = 0;
    waiting.end = end;
    if (this.neighbours.enqueue(nextHop, waiting)) return true;
    counters.unreachable++;
    pool.free(waiting);
    return false;
  }

  #sendArp(operation: number, to: LinkAddress, targetLink: LinkAddress, target: Ipv4Address): void {
    const { bytes } = this.#parts.transmitFrame;
    const { link, address } = this.#plugged;
    putEthernet(bytes, to, link, EtherType.ARP);
    putArp(bytes, ETHERNET_HEADER_BYTES, { operation, senderLink: link, sender: address, targetLink, target });
    this.#transmit(bytes, ETHERNET_HEADER_BYTES + ARP_BYTES);
  }

  #transmit(bytes: Uint8Array, lengthBytes: number): void {
    const { counters } = this.#parts;
    counters.sent++;
    counters.sentBytes += lengthBytes;
    this.#plugged.transmit(bytes.length === lengthBytes ? bytes : bytes.subarray(0, lengthBytes));
  }

  /** Gives everything back that it holds. */
  dispose(): void {
    this.#port?.detach();
    this.#port = null;
    this.#nrInRing = 0;
    this.reassembly.dispose();
    this.neighbours.dispose();
    this.routes.dispose();
  }
}

/** Bytes of a ring slot for a line: the smallest power of two that holds its longest frame. */
export function ringSlotBytes(mtuBytes: number): number {
  return Math.min(2 ** Math.ceil(Math.log2(mtuBytes + ETHERNET_HEADER_BYTES)), PAGE_SIZE);
}
