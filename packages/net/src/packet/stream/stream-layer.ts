/**
 * The stream layer of one packet transport: which segment belongs to which connection, and who listens.
 *
 * Bounds: a listener's connections, half-open ones included; the transport's connections altogether, whose objects stand; per connection
 * the buffers of its receive queue. A segment for nobody is answered by a reset.
 */
import { abortErrno, type Clock, errorFrom, KernelError, type LocalClient, type MaybePromise, type RandomSource } from '@tidemark/core';
import { formatAddress, type SocketAddress } from '../../address.js';
import type { ConnectOptions, Listener, ListenOptions } from '../../transport.js';
import type { PacketCounters, PacketDrop } from '../counters.js';
import type { Holder } from '../holder.js';
import { hasRightChecksum, type IncomingDatagram, OutgoingDatagram } from '../ip/datagram.js';
import type { IpLayer } from '../ip/ip-layer.js';
import type { BufferPool, PacketBuffer } from '../packet-buffer.js';
import type { ReceiveRules } from '../rules.js';
import { put16 } from '../wire/bytes.js';
import { formatIpv4, type Ipv4Address } from '../wire/ipv4-address.js';
import { Protocol } from '../wire/ipv4-header.js';
import { Flag, getSegment, putSegment, type Segment } from '../wire/segment.js';
import { Connection, type ConnectionHost, type SegmentToSend } from './connection.js';
import { ReceiveQueue } from './receive-queue.js';
import { StreamListener } from './stream-listener.js';

const FIRST_PORT = 49_152;
const NR_PORTS = 65_536 - FIRST_PORT;
/** Estimate of what one connection's objects take on the heap. */
export const CONNECTION_BYTES = 1024;

/** What the layer needs of its transport. */
export interface StreamParts {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly counters: PacketCounters;
  readonly pool: BufferPool;
  readonly rules: ReceiveRules;
  /** The filter (M12, 3). */
  passes(isFromReserve: boolean, isMarked: boolean): boolean;
  readonly ip: () => IpLayer;
  /** Holds what marked connections cannot take yet; a declared holder. */
  readonly backlog: Holder;
  /** Holds what the others cannot take yet; its bound is the transport's receive limit. */
  readonly unmarked: Holder;
  readonly queueBuffers: number;
  readonly segmentMaxBytes: number;
  readonly maxConnections: number;
  drop(buffer: PacketBuffer, why: PacketDrop, holder?: string): void;
  /** Whose connection of this kernel it is, by the addresses of both ends (M16); null for a stranger's. */
  recognise(clientEnd: string, serverEnd: string): MaybePromise<LocalClient | null>;
  /** The number of connections or listeners has changed. */
  onChange(): void;
}

export class StreamLayer implements ConnectionHost {
  readonly clock: Clock;
  readonly segmentMaxBytes: number;
  readonly #parts: StreamParts;
  /** By local port, then by peer (address × 65536 + port). */
  readonly #connections = new Map<number, Map<number, Connection>>();
  readonly #listeners = new Map<number, StreamListener>();
  /** Addresses of the peers of marked connections, counted. */
  readonly #peers = new Map<Ipv4Address, number>();
  readonly #outgoing = new OutgoingDatagram();
  readonly #toFlush = new Set<Connection>();
  /** Closed by their owners, oldest first; as many at most as there may be open ones. */
  readonly #lingering = new Set<Connection>();
  #nrConnections = 0;
  #nextPort: number;

  constructor(parts: StreamParts) {
    this.#parts = parts;
    this.clock = parts.clock;
    this.segmentMaxBytes = parts.segmentMaxBytes;
    this.#nextPort = FIRST_PORT + (this.randomWord() % NR_PORTS);
  }

  /** Connections that somebody has. */
  get nrConnections(): number {
    return this.#nrConnections;
  }

  get nrListeners(): number {
    return this.#listeners.size;
  }

  /** Every connection there is. */
  *connections(): Iterable<Connection> {
    for (const ofPort of this.#connections.values()) yield* ofPort.values();
  }

  /** True for an address that some marked connection is with. */
  isPeer(address: Ipv4Address): boolean {
    return this.#peers.has(address);
  }

  /** A datagram of the stream protocol has come. */
  receive(datagram: IncomingDatagram): void {
    const { first, lengthBytes } = datagram;
    const segment = getSegment(first.bytes, first.start, first.end);
    if (segment === null || !hasRightChecksum(datagram)) {
      this.#parts.drop(first, 'droppedBroken');
      return;
    }
    const connection = this.#connections.get(segment.destinationPort)?.get(datagram.source * 0x10000 + segment.sourcePort);
    if (connection !== undefined) {
      if (!this.#parts.passes(datagram.isFromReserve, connection.isMarked)) {
        this.#parts.drop(first, 'droppedForeign', `connection with ${connection.peer}`);
        return;
      }
      first.start += segment.headerBytes;
      connection.receive(segment, first, lengthBytes - segment.headerBytes);
      return;
    }
    const listener = this.#listeners.get(segment.destinationPort);
    const isSyn = (segment.flags & (Flag.SYN | Flag.ACK | Flag.RST)) === Flag.SYN;
    if (listener === undefined || !isSyn) {
      this.#parts.drop(first, 'droppedNoSocket');
      this.#refuse(datagram.source, segment, lengthBytes);
      return;
    }
    if (!this.#parts.passes(datagram.isFromReserve, this.#parts.rules.marks(listener.isMemalloc))) {
      this.#parts.drop(first, 'droppedForeign', `listener on port ${segment.destinationPort}`);
      return;
    }
    this.#parts.pool.free(first);
    listener.heardSyn(datagram.source, segment);
  }

  /** Answers a segment for nobody by a reset. */
  #refuse(peer: Ipv4Address, segment: Segment, lengthBytes: number): void {
    const { flags, sequence, acknowledgement } = segment;
    if ((flags & Flag.RST) !== 0) return;
    const hasAck = (flags & Flag.ACK) !== 0;
    const occupied = lengthBytes - segment.headerBytes + ((flags & Flag.SYN) !== 0 ? 1 : 0) + ((flags & Flag.FIN) !== 0 ? 1 : 0);
    this.#send(peer, false, {
      sourcePort: segment.destinationPort,
      destinationPort: segment.sourcePort,
      sequence: hasAck ? acknowledgement : 0,
      acknowledgement: (sequence + occupied) >>> 0,
      flags: hasAck ? Flag.RST : Flag.RST | Flag.ACK,
      windowBytes: 0,
      segmentMaxBytes: 0,
    });
  }

  /** For listeners: a connection that was asked for is refused. */
  countRefused(): void {
    this.#parts.counters.refused++;
  }

  /** For listeners: refuses a SYN. */
  refuseSyn(peer: Ipv4Address, segment: Segment): void {
    this.countRefused();
    this.#refuse(peer, segment, segment.headerBytes);
  }

  transmit(connection: Connection, part: SegmentToSend): void {
    const { peerAddress, peerPort, localPort } = connection.ends;
    const { flags, sequence, acknowledgement } = part;
    const segment = {
      sourcePort: localPort,
      destinationPort: peerPort,
      sequence,
      acknowledgement,
      flags,
      windowBytes: connection.windowToTell(),
      segmentMaxBytes: (flags & Flag.SYN) !== 0 ? this.segmentMaxBytes : 0,
    };
    this.#send(peerAddress, connection.isMarked, segment, part);
  }

  #send(peer: Ipv4Address, isMarked: boolean, segment: Omit<Segment, 'headerBytes'>, part: SegmentToSend | null = null): void {
    const outgoing = this.#outgoing.begin(Protocol.TCP, peer, isMarked);
    outgoing.setHeader(putSegment(outgoing.header, segment));
    if (part !== null && part.lengthBytes > 0) part.queue.gather(part.fromOffset, part.lengthBytes, outgoing);
    const ip = this.#parts.ip();
    put16(outgoing.header, 16, outgoing.checksum(ip.address));
    ip.send(outgoing);
    outgoing.parts.length = 0; // keeps nothing alive
  }

  flushSoon(connection: Connection): void {
    if (this.#toFlush.size === 0) this.soon(this.#flush);
    this.#toFlush.add(connection);
  }

  /** A promise's reaction: after the turn's own work, before the next event. */
  soon(what: () => void): void {
    void Promise.resolve().then(what);
  }

  readonly #flush = (): void => {
    for (const connection of this.#toFlush) {
      this.#toFlush.delete(connection);
      connection.flush();
    }
  };

  freeBuffer(buffer: PacketBuffer): void {
    this.#parts.pool.free(buffer);
  }

  dropBuffer(buffer: PacketBuffer): void {
    this.#parts.drop(buffer, buffer.isFromReserve ? 'droppedBound' : 'droppedLimit', 'receive queue');
  }

  countResent(): void {
    this.#parts.counters.retransmitted++;
  }

  linger(connection: Connection): void {
    this.#lingering.add(connection);
    this.#released(connection);
    const [oldest] = this.#lingering;
    if (this.#lingering.size > this.#parts.maxConnections) oldest.drop();
  }

  forget(connection: Connection): void {
    const { localPort, peerAddress, peerPort } = connection.ends;
    const ofPort = this.#connections.get(localPort);
    const key = peerAddress * 0x10000 + peerPort;
    if (ofPort?.get(key) !== connection) return;
    ofPort.delete(key);
    if (ofPort.size === 0) this.#connections.delete(localPort);
    if (!this.#lingering.delete(connection)) this.#released(connection);
  }

  /** Nobody has it any more. */
  #released(connection: Connection): void {
    this.#nrConnections--;
    this.#toFlush.delete(connection);
    if (connection.isMarked) this.#countPeer(connection.ends.peerAddress, -1);
    connection.onReleased();
    this.#parts.onChange();
  }

  #countPeer(address: Ipv4Address, change: number): void {
    const count = (this.#peers.get(address) ?? 0) + change;
    if (count === 0) this.#peers.delete(address);
    else this.#peers.set(address, count);
  }

  /** For listeners: whose connection it is. One of this kernel's is marked: both ends of a local edge are (M16). */
  async recognise(connection: Connection): Promise<LocalClient | null> {
    const ownEnd = `${formatIpv4(this.#parts.ip().address)}:${connection.ends.localPort}`;
    const client = await this.#parts.recognise(connection.peer, ownEnd);
    if (client !== null && connection.state === 'accepting' && !connection.isMarked && this.#parts.rules.marks(true)) {
      connection.mark(this.#parts.backlog);
      this.#countPeer(connection.ends.peerAddress, 1);
    }
    return client;
  }

  /** A new connection, or null if there are as many as there may be. */
  create(
    peerAddress: Ipv4Address,
    peerPort: number,
    localPort: number,
    isMemalloc: boolean,
    state: 'connecting' | 'accepting',
  ): Connection | null {
    const { maxConnections, rules, pool, backlog, unmarked, queueBuffers } = this.#parts;
    if (this.#nrConnections >= maxConnections) return null;
    const isMarked = rules.marks(isMemalloc);
    const peer = `${formatIpv4(peerAddress)}:${peerPort}`;
    const queue = new ReceiveQueue(pool, isMarked ? backlog : unmarked, queueBuffers);
    const connection = new Connection(
      this,
      { peer, peerAddress, peerPort, localPort },
      { state, isMarked, firstSequence: this.randomWord(), queue },
    );
    let ofPort = this.#connections.get(localPort);
    if (ofPort === undefined) {
      ofPort = new Map();
      this.#connections.set(localPort, ofPort);
    }
    ofPort.set(peerAddress * 0x10000 + peerPort, connection);
    this.#nrConnections++;
    if (isMarked) this.#countPeer(peerAddress, 1);
    return connection;
  }

  /** A random 32-bit number. */
  randomWord(): number {
    const bytes = new Uint8Array(4);
    this.#parts.random.fill(bytes);
    return ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) >>> 0;
  }

  /** As `Transport.connect`. */
  connect(address: SocketAddress & { kind: 'tcp' }, peerAddress: Ipv4Address, options: ConnectOptions): Promise<Connection> {
    const name = formatAddress(address);
    const { signal = null, timeoutMs } = options;
    if (signal?.aborted) return Promise.reject(errorFrom(abortErrno(signal), `connect to ${name}: given up`));
    const connection = this.create(peerAddress, address.port, this.#freePort(), options.memalloc ?? false, 'connecting');
    if (connection === null) {
      return Promise.reject(
        new KernelError('EAGAIN', `connect to ${name}: the packet transport has its ${this.#parts.maxConnections} connections`),
      );
    }
    connection.join(options.slot, options.handler);
    const local = options.client?.connecting();
    local?.connected(`${formatIpv4(this.#parts.ip().address)}:${connection.ends.localPort}`, connection.peer);
    connection.onReleased = () => local?.over();
    return new Promise((resolve, reject) => {
      const giveUp = (error: KernelError): void => connection.destroy(error);
      const onAbort = (): void => {
        if (signal !== null) giveUp(errorFrom(abortErrno(signal), `connect to ${name}: given up`));
      };
      const timer = this.clock.setTimer(timeoutMs, () =>
        giveUp(new KernelError('ETIMEDOUT', `connect to ${name}: no answer within ${timeoutMs} ms`)),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      connection.onOpened = (error) => {
        this.clock.clearTimer(timer);
        signal?.removeEventListener('abort', onAbort);
        if (error === null) resolve(connection);
        else reject(error);
      };
      connection.open();
    });
  }

  #freePort(): number {
    for (let tries = 0; tries < NR_PORTS; tries++) {
      const port = this.#nextPort;
      this.#nextPort = port === 65_535 ? FIRST_PORT : port + 1;
      if (!this.#connections.has(port) && !this.#listeners.has(port)) return port;
    }
    throw new KernelError('EAGAIN', 'every port of the packet transport is in use');
  }

  /** As `Transport.listen`. */
  listen(address: SocketAddress & { kind: 'tcp' }, options: ListenOptions): Listener {
    const port = address.port === 0 ? this.#freePort() : address.port;
    const real = { ...address, port };
    if (this.#listeners.has(port)) throw new KernelError('EADDRINUSE', `listen on ${formatAddress(real)}: another server answers there`);
    const listener = new StreamListener(this, real, options, () => {
      if (this.#listeners.get(port) === listener) this.#listeners.delete(port);
      this.#parts.onChange();
    });
    this.#listeners.set(port, listener);
    return listener;
  }

  /** Ends every connection at once. */
  dispose(error: KernelError): void {
    for (const connection of [...this.connections()]) connection.destroy(error);
    this.dropLingering();
  }

  /** Waits for nothing that may still come for connections that are closed. */
  dropLingering(): void {
    for (const connection of [...this.#lingering]) connection.drop();
  }
}
