/**
 * UDP (RFC 768): sockets by port, each with a bounded queue, or a handler that looks at each datagram where it stands.
 *
 *     marked, with handler      looked at and freed at once
 *     marked, with queue        held by the backlog of marked sockets; exempt from receive limits
 *     unmarked                  held up to the socket's limit and the transport's; never tagged (M12)
 */
import { KernelError, PAGE_SIZE } from '@tidemark/core';
import type { PacketDrop } from '../counters.js';
import type { Holder } from '../holder.js';
import { hasRightChecksum, type IncomingDatagram, OutgoingDatagram } from '../ip/datagram.js';
import type { IpLayer } from '../ip/ip-layer.js';
import type { BufferPool, PacketBuffer } from '../packet-buffer.js';
import type { ReceiveRules } from '../rules.js';
import { get16, put16 } from '../wire/bytes.js';
import { formatIpv4, type Ipv4Address } from '../wire/ipv4-address.js';
import { Protocol } from '../wire/ipv4-header.js';
import { putUdp, UDP_HEADER_BYTES } from '../wire/udp-header.js';

/** A datagram as a program sees it: a copy outside the arena. */
export interface UdpMessage {
  readonly source: string;
  readonly sourcePort: number;
  readonly bytes: Uint8Array;
}

export interface UdpOptions {
  /** 1 to 65,535. */
  readonly port: number;
  /** The mark. Default false. */
  readonly memalloc?: boolean;
  /** Most memory that its queue takes, in frames of 4096 bytes a packet. Default 64 KiB. */
  readonly receiveLimitBytes?: number;
  /** Told of each datagram instead of queueing it. */
  readonly onMessage?: (message: UdpMessage) => void;
}

/** What the layer needs of its transport. */
export interface UdpParts {
  readonly pool: BufferPool;
  readonly rules: ReceiveRules;
  /** The filter (M12, 3). */
  passes(isFromReserve: boolean, isMarked: boolean): boolean;
  readonly ip: () => IpLayer;
  readonly backlog: Holder;
  readonly unmarked: Holder;
  drop(buffer: PacketBuffer, why: PacketDrop, holder?: string): void;
  onChange(): void;
}

/** Sockets at once. */
const SOCKETS_MAX = 256;
const RECEIVE_LIMIT_BYTES = 65_536;

interface Queued {
  readonly source: Ipv4Address;
  readonly sourcePort: number;
  readonly first: PacketBuffer;
}

export class UdpSocket {
  readonly port: number;
  readonly isMarked: boolean;
  readonly #layer: UdpLayer;
  readonly #options: UdpOptions;
  /** Oldest first. */
  readonly #queue: Queued[] = [];
  #usedBytes = 0;

  /** For the layer. */
  constructor(layer: UdpLayer, options: UdpOptions, isMarked: boolean) {
    this.#layer = layer;
    this.#options = options;
    this.port = options.port;
    this.isMarked = isMarked;
  }

  /** Datagrams that wait to be received. */
  get nrQueued(): number {
    return this.#queue.length;
  }

  /** Memory that they take. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The oldest datagram, or null. */
  receive(): UdpMessage | null {
    const queued = this.#queue.shift();
    if (queued === undefined) return null;
    this.#usedBytes -= frameBytes(queued.first);
    const message = messageOf(queued);
    this.#layer.parts.pool.free(queued.first);
    return message;
  }

  /** Sends a datagram; its bytes are free again at once. @returns false if it cannot be sent now: it is lost, as any datagram may be. */
  send(to: Ipv4Address, port: number, bytes: Uint8Array): boolean {
    return this.#layer.send(this, to, port, bytes);
  }

  /** For the layer: a datagram, its header taken off. */
  take(queued: Queued): void {
    const { pool, backlog, unmarked, drop } = this.#layer.parts;
    const { onMessage, receiveLimitBytes = RECEIVE_LIMIT_BYTES } = this.#options;
    if (onMessage !== undefined) {
      const message = messageOf(queued);
      pool.free(queued.first);
      onMessage(message);
      return;
    }
    const addedBytes = frameBytes(queued.first);
    if (!this.isMarked && this.#usedBytes + addedBytes > receiveLimitBytes) {
      drop(queued.first, 'droppedLimit', `UDP port ${this.port}`);
      return;
    }
    for (let buffer: PacketBuffer | null = queued.first; buffer !== null; buffer = buffer.next) {
      if ((this.isMarked ? backlog : unmarked).hold(buffer)) continue;
      drop(queued.first, this.isMarked ? 'droppedBound' : 'droppedLimit', `UDP port ${this.port}`);
      return;
    }
    this.#usedBytes += addedBytes;
    this.#queue.push(queued);
  }

  /** Drops what waits; nothing comes any more. */
  close(): void {
    while (this.receive() !== null);
    this.#layer.closed(this);
  }
}

export class UdpLayer {
  readonly parts: UdpParts;
  readonly #sockets = new Map<number, UdpSocket>();
  readonly #outgoing = new OutgoingDatagram();

  constructor(parts: UdpParts) {
    this.parts = parts;
  }

  get nrSockets(): number {
    return this.#sockets.size;
  }

  /** @throws KernelError EINVAL for a port that is none, EADDRINUSE, ENFILE. */
  open(options: UdpOptions): UdpSocket {
    const { port } = options;
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new KernelError('EINVAL', `UDP port ${port}: want 1 to 65535`);
    if (this.#sockets.has(port)) throw new KernelError('EADDRINUSE', `UDP port ${port} is in use`);
    if (this.#sockets.size >= SOCKETS_MAX) throw new KernelError('ENFILE', `${SOCKETS_MAX} UDP sockets are open already`);
    const socket = new UdpSocket(this, options, this.parts.rules.marks(options.memalloc ?? false));
    this.#sockets.set(port, socket);
    return socket;
  }

  receive(datagram: IncomingDatagram): void {
    const { first, lengthBytes, source } = datagram;
    const { drop } = this.parts;
    const { bytes, start } = first;
    if (
      first.lengthBytes < UDP_HEADER_BYTES ||
      get16(bytes, start + 4) !== lengthBytes ||
      (get16(bytes, start + 6) !== 0 && !hasRightChecksum(datagram))
    ) {
      drop(first, 'droppedBroken');
      return;
    }
    const socket = this.#sockets.get(get16(bytes, start + 2));
    if (socket === undefined) drop(first, 'droppedNoSocket');
    else if (!this.parts.passes(datagram.isFromReserve, socket.isMarked)) drop(first, 'droppedForeign', `UDP port ${socket.port}`);
    else {
      first.start += UDP_HEADER_BYTES;
      socket.take({ source, sourcePort: get16(bytes, start), first });
    }
  }

  /** For sockets. */
  send(socket: UdpSocket, to: Ipv4Address, port: number, bytes: Uint8Array): boolean {
    const outgoing = this.#outgoing.begin(Protocol.UDP, to, socket.isMarked);
    putUdp(outgoing.header, socket.port, port, UDP_HEADER_BYTES + bytes.length);
    outgoing.setHeader(UDP_HEADER_BYTES);
    outgoing.addPart(bytes);
    const ip = this.parts.ip();
    put16(outgoing.header, 6, outgoing.checksum(ip.address) || 0xffff);
    const isSent = ip.send(outgoing);
    outgoing.parts.length = 0;
    return isSent;
  }

  /** For sockets. */
  closed(socket: UdpSocket): void {
    if (this.#sockets.get(socket.port) === socket) this.#sockets.delete(socket.port);
    this.parts.onChange();
  }

  dispose(): void {
    for (const socket of [...this.#sockets.values()]) socket.close();
  }
}

function frameBytes(first: PacketBuffer): number {
  let total = 0;
  for (let buffer: PacketBuffer | null = first; buffer !== null; buffer = buffer.next) total += PAGE_SIZE;
  return total;
}

function messageOf({ source, sourcePort, first }: Queued): UdpMessage {
  let lengthBytes = 0;
  for (let buffer: PacketBuffer | null = first; buffer !== null; buffer = buffer.next) lengthBytes += buffer.lengthBytes;
  const bytes = new Uint8Array(lengthBytes);
  let at = 0;
  for (let buffer: PacketBuffer | null = first; buffer !== null; buffer = buffer.next) {
    bytes.set(buffer.bytes.subarray(buffer.start, buffer.end), at);
    at += buffer.lengthBytes;
  }
  return { source: formatIpv4(source), sourcePort, bytes };
}
