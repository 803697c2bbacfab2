/**
 * A packet transport: a host of an in-memory IPv4 network. In a kernel it is a node of the writeout graph too (M12, M13).
 *
 * It is plugged in and admitted when it is first used: its ring and transmit frame are taken, and the receive reserve is set aside, or
 * whoever wanted to connect or listen is refused with ENOMEM. It goes when the kernel shuts down and its last connection is closed.
 *
 *     idle ──first connect, listen or UDP socket──▶ up ──shutdown, and nothing open any more──▶ down
 */
import {
  checkFootprint,
  type Clock,
  type FootprintTerm,
  KernelError,
  limitFrames,
  type LocalClient,
  type MaybePromise,
  type Memory,
  type NodeFootprint,
  PAGE_SIZE,
  type RandomSource,
  type ReservePlanner,
  type StandingCharge,
  type StandingMemory,
  type TaskContext,
  type TracePoints,
  type WaitParty,
  type WriteoutNode,
} from '@tidemark/core';
import { formatAddress, type SocketAddress } from '../address.js';
import type { Socket } from '../socket.js';
import type { ConnectOptions, Listener, ListenOptions, Transport } from '../transport.js';
import { createPacketCounters, type PacketCounters, type PacketDrop } from './counters.js';
import { checkBound, Holder, Holders } from './holder.js';
import type { IncomingDatagram } from './ip/datagram.js';
import { IpLayer, ringSlotBytes } from './ip/ip-layer.js';
import type { Route } from './ip/route-cache.js';
import type { LineOptions, PacketNetwork, Port } from './network.js';
import { BufferPool, type PacketBuffer } from './packet-buffer.js';
import type { ReceiveRules } from './rules.js';
import { connectionFrames, holderSpecs, packetFootprint, type PacketSizes, packetSizes, ringFrames, transportNodeName } from './sizes.js';
import { StreamLayer } from './stream/stream-layer.js';
import { UdpLayer, type UdpOptions, type UdpSocket } from './udp/udp-layer.js';
import { type Ipv4Address, isLoopback } from './wire/ipv4-address.js';
import { Protocol } from './wire/ipv4-header.js';

/** What a host is plugged in with. */
export interface PacketHostOptions {
  /** Name on the network; others reach it by it. */
  readonly name: string;
  /** Default: the next free one from 10.0.0.1. */
  readonly address?: string;
  readonly line?: Partial<LineOptions>;
  /** Default: everything is reached directly. */
  readonly routes?: readonly Route[];
  /** Bounds and sizes that differ from those of the plan. */
  readonly sizes?: Partial<PacketSizes>;
}

/** What a host lives in: a kernel, or just memory of its own. */
export interface PacketEnvironment {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly trace: TracePoints;
  readonly task: TaskContext;
  readonly rules: ReceiveRules;
  /** As `LocalConnections.recognise`. */
  recognise(clientEnd: string, serverEnd: string): MaybePromise<LocalClient | null>;
  /** Null for a host whose memory is nobody's concern. */
  readonly planner: ReservePlanner | null;
  /** Called once, when the host is up. */
  onUp(host: PacketTransport): void;
}

const DIRECT: readonly Route[] = [{ network: 0, prefixBits: 0, gateway: null }];

/** What is taken while a host is up. */
interface Up {
  readonly ring: StandingMemory;
  readonly transmitFrame: StandingMemory;
  readonly objects: StandingCharge;
  readonly ip: IpLayer;
  readonly port: Port;
}

export class PacketTransport implements Transport {
  readonly name = 'packet';
  readonly kinds = ['tcp'] as const;
  readonly network: PacketNetwork;
  readonly counters: PacketCounters = createPacketCounters();
  readonly holders: Holders;
  readonly sizes: PacketSizes;
  /** Its node of the writeout graph. */
  readonly node: WriteoutNode;
  readonly pool: BufferPool;
  readonly #environment: PacketEnvironment;
  readonly #options: PacketHostOptions;
  readonly #streams: StreamLayer;
  readonly #udp: UdpLayer;
  readonly #reassembly: Holder;
  readonly #routes: Holder;
  readonly #neighbours: Holder;
  readonly #mtuBytes: number;
  #up: Up | null = null;
  #starting: Promise<void> | null = null;
  #isEnding = false;
  #isOver = false;

  /** @throws KernelError EINVAL for bounds that are none. */
  constructor(network: PacketNetwork, options: PacketHostOptions, environment: PacketEnvironment) {
    const { memory, clock, random, trace, task, rules } = environment;
    this.network = network;
    this.#options = options;
    this.#environment = environment;
    this.#mtuBytes = options.line?.mtuBytes ?? network.line.mtuBytes;
    this.sizes = packetSizes(memory.nrFrames, this.#mtuBytes, options.sizes);
    const { sizes, counters } = this;
    this.holders = new Holders(rules);
    const specs = holderSpecs(sizes);
    this.#reassembly = this.holders.register(specs.reassembly);
    this.#routes = this.holders.register(specs.routes);
    this.#neighbours = this.holders.register(specs.neighbours);
    const backlog = this.holders.register(specs.backlog);
    const unmarked = new Holder({ name: 'unread packets', boundBytes: sizes.receiveLimitBytes });
    this.pool = new BufferPool({ memory, trace, counters, task: task.named(`packets of ${options.name}`) });
    const footprint = (): NodeFootprint => packetFootprint(sizes, this.#mtuBytes, this.holders.all, rules);
    this.node = {
      name: transportNodeName(options.name),
      kind: 'transport',
      get footprint() {
        return footprint();
      },
      heldBy: () => this.#heldBy(unmarked),
    };
    const shared = {
      pool: this.pool,
      rules,
      passes: (isFromReserve: boolean, isMarked: boolean) => rules.passes(memory.reserve.policy, isFromReserve, isMarked),
      ip: () => this.#requireUp().ip,
      backlog,
      unmarked,
      drop: (buffer: PacketBuffer, why: PacketDrop, holder?: string) => this.#requireUp().ip.drop(buffer, why, holder),
      onChange: () => this.#endIfIdle(),
    };
    this.#streams = new StreamLayer({
      ...shared,
      clock,
      random,
      counters,
      queueBuffers: Math.max(Math.floor(sizes.backlogBytes / PAGE_SIZE), 1),
      segmentMaxBytes: sizes.segmentBytes,
      maxConnections: sizes.maxConnections,
      recognise: (clientEnd, serverEnd) => environment.recognise(clientEnd, serverEnd),
    });
    this.#udp = new UdpLayer(shared);
  }

  /** For stall reports: when there is no memory for buffers, who has them. */
  #heldBy(unmarked: Holder): WaitParty[] {
    const { allocator } = this.#environment.memory;
    if (allocator.nrFree > allocator.low) return [];
    const holders = [...this.holders.all, unmarked].filter(({ usedBytes }) => usedBytes > 0);
    return [{ kind: 'account', name: this.node.name, heldBy: () => holders.map(({ name }) => ({ kind: 'holder', name })) }];
  }

  /** Its address on the network. */
  get address(): Ipv4Address {
    return this.#up?.port.address ?? this.network.addressOf(this.#options.name);
  }

  /** True while it is in the emergency state (M12). */
  get isEmergency(): boolean {
    return this.pool.isEmergency;
  }

  /** Connections, half-open ones included. */
  get nrConnections(): number {
    return this.#streams.nrConnections;
  }

  /** Routes in the cache now. */
  get nrRoutes(): number {
    return this.#up?.ip.routes.nrObjects ?? 0;
  }

  async connect(address: SocketAddress, options: ConnectOptions): Promise<Socket> {
    const target = this.#requireTcp(address);
    const peer = this.network.resolve(target.host);
    if (peer === null)
      throw new KernelError('ENXIO', `connect to ${formatAddress(address)}: no host of this network is called ${target.host}`);
    await this.start();
    return this.#streams.connect(target, isLoopback(peer) ? this.address : peer, options);
  }

  async listen(address: SocketAddress, options: ListenOptions): Promise<Listener> {
    const target = this.#requireTcp(address);
    await this.start();
    const host = target.host === '0.0.0.0' ? this.address : this.network.resolve(target.host);
    if (host === null || !this.#requireUp().ip.isOwn(host)) {
      this.#endIfIdle();
      throw new KernelError('ENXIO', `listen on ${formatAddress(address)}: ${target.host} is not an address of ${this.#options.name}`);
    }
    return this.#streams.listen(target, options);
  }

  /** Opens a UDP socket. @throws KernelError EINVAL, EADDRINUSE, ENFILE, and what `start` throws. */
  async openUdp(options: UdpOptions): Promise<UdpSocket> {
    await this.start();
    return this.#udp.open(options);
  }

  #requireTcp(address: SocketAddress): SocketAddress & { kind: 'tcp' } {
    if (address.kind !== 'tcp') throw new KernelError('EINVAL', `${formatAddress(address)} is no address of an IPv4 network`);
    return address;
  }

  /**
   * Plugs it in, if it is not yet: takes what stands and sets the receive reserve aside.
   * @throws KernelError ENOMEM naming the shortfall, EADDRINUSE for a name that is plugged in already, ESHUTDOWN.
   */
  start(): Promise<void> {
    if (this.#isEnding) return Promise.reject(new KernelError('ESHUTDOWN', `${this.node.name} is shut down`));
    this.#starting ??= this.#start().catch((error: unknown) => {
      this.#starting = null;
      throw error;
    });
    return this.#starting;
  }

  async #start(): Promise<void> {
    const { planner, task } = this.#environment;
    if (planner === null) {
      await this.#takeUp();
      return;
    }
    await planner.admit(task, { candidates: [{ node: this.node, prepare: () => this.#takeUp() }], edges: [] });
    // Its buffers belong to no unit of writeout: what it may hold is bounded by its holders, each of which checks its own bound.
    this.pool.fund(task.withTicket(planner.accountOf(this.node).shared));
    this.#environment.onUp(this);
  }

  /** Takes what stands, and plugs in. @returns what undoes it. */
  async #takeUp(): Promise<() => void> {
    const { memory, task, clock, trace } = this.#environment;
    const { sizes, pool, counters } = this;
    const taken: { free(): void }[] = [];
    try {
      const ring = await memory.allocStanding(task, `${this.node.name}, receive ring`, ringFrames(sizes.ringSlots, this.#mtuBytes));
      taken.push(ring);
      const transmitFrame = await memory.allocStanding(task, `${this.node.name}, transmit frame`, 1);
      taken.push(transmitFrame);
      const objects = memory.chargeStanding(`${this.node.name}, connections`, connectionFrames(sizes.maxConnections));
      taken.push(objects);
      const ip = new IpLayer(
        {
          clock,
          trace,
          counters,
          pool,
          ring,
          slotBytes: ringSlotBytes(this.#mtuBytes),
          transmitFrame,
          table: this.#options.routes ?? DIRECT,
          holders: { reassembly: this.#reassembly, routes: this.#routes, neighbours: this.#neighbours },
          peersReassemblyBytes: sizes.peersReassemblyBytes,
          isPeer: (address) => this.#streams.isPeer(address),
          deliver: (datagram) => this.#deliver(datagram),
        },
        this.#streams.randomWord() & 0xffff,
      );
      const { name, address, line } = this.#options;
      const port = this.network.attach(name, ip, { address, line });
      ip.plug(port);
      this.#up = { ring, transmitFrame, objects, ip, port };
    } catch (error) {
      for (const each of taken.reverse()) each.free();
      throw error;
    }
    return () => this.#letDown();
  }

  #deliver(datagram: IncomingDatagram): void {
    if (datagram.protocol === Protocol.TCP) this.#streams.receive(datagram);
    else this.#udp.receive(datagram);
  }

  #requireUp(): Up {
    if (this.#up === null) throw new KernelError('ESHUTDOWN', `${this.node.name} is not up`);
    return this.#up;
  }

  /**
   * Gives a holder another bound. A larger one is funded first.
   * @throws KernelError ENOENT for a holder there is not, EINVAL, ENOMEM naming the shortfall: then the old bound stands.
   */
  async setBound(holderName: string, boundBytes: number): Promise<void> {
    checkBound(holderName, boundBytes);
    const { planner, task, trace } = this.#environment;
    const holder = this.holders.find(holderName);
    const before = holder.boundBytes;
    holder.setBound(boundBytes);
    let isFunded = false;
    try {
      if (this.#up !== null && planner !== null) await planner.refit(task, this.node);
      isFunded = true;
    } finally {
      if (!isFunded) holder.setBound(before);
      if (trace.enabled) trace.emit('packetBound', { holder: holderName, boundBytes, isFunded });
    }
  }

  /** Frames of the receive reserve, by holder: RX of M13. */
  explain(): readonly FootprintTerm[] {
    checkFootprint(this.node.name, this.node.footprint);
    return this.node.footprint.unit;
  }

  /** RX in frames. */
  get reserveFrames(): number {
    return limitFrames(this.node.footprint);
  }

  /** Begins the end: nothing new is begun, and it goes when nothing is open any more. */
  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#starting?.catch(() => {}); // whoever started it was told
    this.#udp.dispose();
    await this.#endIfIdle();
  }

  #endIfIdle(): Promise<void> {
    const isIdle = this.#streams.nrConnections + this.#streams.nrListeners + this.#udp.nrSockets === 0;
    if (!this.#isEnding || this.#isOver || !isIdle || this.#up === null) return Promise.resolve();
    this.#isOver = true;
    return this.#goDown();
  }

  /** Pulls the plug: what is open ends with an error, and everything is given back. For a host that is in no kernel, and for the last resort. */
  async close(): Promise<void> {
    this.#isEnding = true;
    await this.#starting?.catch(() => {});
    this.#streams.dispose(new KernelError('ESHUTDOWN', `${this.node.name} is shut down`));
    this.#udp.dispose();
    if (this.#isOver || this.#up === null) return;
    this.#isOver = true;
    await this.#goDown();
  }

  async #goDown(): Promise<void> {
    const { planner } = this.#environment;
    const { ip } = this.#requireUp();
    this.#streams.dropLingering();
    ip.dispose();
    this.pool.fund(null);
    if (planner === null) this.#letDown();
    else await planner.withdraw(this.node); // calls #letDown
  }

  #letDown(): void {
    const up = this.#up;
    if (up === null) return;
    up.ip.dispose();
    up.objects.free();
    up.transmitFrame.free();
    up.ring.free();
    this.#up = null;
  }
}
