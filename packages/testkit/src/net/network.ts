/**
 * Simulated links: a stream transport in virtual time, between the machines of a run.
 *
 *     const network = new SimulatedNetwork(world, { latencyMs: 0.2 });
 *     const server = await world.boot(serverMachine, { memory: '8MiB', plugins: [nbd, network.transportOf(serverMachine)] });
 *     await NbdServer.listen(server, { address: 'server:10809', … });
 *
 * Streams only: in order, no byte twice, loss is delay. Addresses are names that are known everywhere, whichever machine listens. What can
 * go wrong: `partition` (nothing arrives, nobody is told), `cut` (both ends learn of a reset), `cutAfter` (at any byte), `refuse` (an address
 * takes no connections), and the death of a machine: its peers see resets, or after `killSilently` nothing until another machine of
 * its name listens. A kernel that connects to itself is a local edge (M16), by the names of the two ends; unix sockets have none.
 */
import { abortErrno, definePlugin, errorFrom, KernelError, type LocalConnection, type Plugin, TRANSPORT } from '@tidemark/core';
import {
  type ConnectOptions,
  formatAddress,
  type Listener,
  type ListenOptions,
  type Socket,
  type SocketAddress,
  type Transport,
} from '@tidemark/net';
import type { Machine } from '../simulation/machine.js';
import type { World } from '../simulation/world.js';
import type { EventSource } from '../time/event-queue.js';
import type { Random } from '../time/random.js';
import { Pipe } from './pipe.js';
import { ConnectionSide, SimulatedSocket } from './simulated-socket.js';

/** How every link of a network behaves. */
export interface LinkOptions {
  /** One way. Default 0.1. */
  readonly latencyMs: number;
  /** Latency is stretched by up to this part of itself. Default 1. */
  readonly jitter: number;
  /** Default 100,000: 100 MB a second. */
  readonly bytesPerMs: number;
  /** Bytes on the way and not read, each direction; then sending waits. Default 65,536. */
  readonly windowBytes: number;
  /** Probability that a piece is lost, and comes 200 ms later. Default 0. */
  readonly lossRate: number;
}

const STANDARD: LinkOptions = { latencyMs: 0.1, jitter: 1, bytesPerMs: 100_000, windowBytes: 65_536, lossRate: 0 };
const FIRST_PORT = 49_152;

/** One connection, as a fault sees it. */
export interface SimulatedConnection {
  readonly address: string;
  /** Resets it: both ends learn of it, each in its time. What was on the way is lost. */
  cut(): void;
  /** Resets it when `nrBytes` more bytes were taken in one direction; they still arrive. */
  cutAfter(direction: 'to-server' | 'to-client', nrBytes: number): void;
}

/** A connection as its listener counts it. */
interface Arrival {
  /** It is a client's of this kernel. */
  recognised(): void;
  gone(): void;
}

class ListeningAddress implements Listener {
  nrConnections = 0;
  /** Those of no client of the listening kernel; a connection is one until it is recognised. */
  #nrStrangers = 0;
  isClosed = false;
  #closed: Promise<void> | null = null;
  #onIdle: () => void = () => {};

  constructor(
    private readonly network: SimulatedNetwork,
    readonly machine: Machine,
    readonly address: SocketAddress,
    readonly options: ListenOptions,
  ) {}

  get isFull(): boolean {
    return this.#nrStrangers > this.options.maxConnections;
  }

  /** A connection comes. */
  arrive(): Arrival {
    let isStranger = true;
    this.nrConnections++;
    this.#nrStrangers++;
    const recognised = (): void => {
      if (isStranger) this.#nrStrangers--;
      isStranger = false;
    };
    const gone = (): void => {
      recognised();
      this.nrConnections--;
      if (this.isClosed && this.nrConnections === 0) this.#onIdle();
    };
    return { recognised, gone };
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.isClosed = true;
      this.network.stopListening(this);
      this.#onIdle = resolve;
      if (this.nrConnections === 0) resolve();
    });
    return this.#closed;
  }
}

/** Streams between machines in virtual time: delay, bandwidth, cuts, partitions. */
export class SimulatedNetwork {
  readonly link: LinkOptions;
  readonly random: Random;
  readonly #source: EventSource;
  readonly #listeners = new Map<string, ListeningAddress>();
  readonly #connections = new Map<SimulatedConnection, readonly [client: ConnectionSide, server: ConnectionSide]>();
  readonly #partitions = new Set<string>();
  readonly #refused = new Set<string>();
  /** Machines that died, and whose peers do not know. */
  readonly #silent = new Set<Machine>();
  #nextPort = FIRST_PORT;
  #nrMade = 0;
  /** Told of every connection when it is made: the place to plan a cut. */
  onConnection: (connection: SimulatedConnection) => void = () => {};

  constructor(
    readonly world: World,
    link: Partial<LinkOptions> = {},
  ) {
    this.link = { ...STANDARD, ...link };
    this.random = world.randomOf('network');
    this.#source = world.events.source('network');
    world.onTrouble(() => (this.#partitions.size === 0 ? null : `partitioned: ${[...this.#partitions].join(', ')}`));
  }

  /** Connections made so far. */
  get nrMade(): number {
    return this.#nrMade;
  }

  /** Those that are up. */
  get connections(): SimulatedConnection[] {
    return [...this.#connections.keys()];
  }

  /** The transport of a machine's kernel. */
  transportOf(machine: Machine): Plugin {
    machine.onKill(() => this.#died(machine));
    const transport: Transport = {
      name: 'simulated',
      kinds: ['tcp', 'unix'],
      connect: (address, options) => this.#connect(machine, address, options),
      listen: async (address, options) => this.#listen(machine, address, options),
    };
    return definePlugin({
      name: 'simulated-network',
      register: (container) => void container.register(TRANSPORT, { useValue: transport }),
    });
  }

  /** Nothing arrives between two machines, either way, until `heal`. */
  partition(a: string, b: string): void {
    this.#partitions.add(pairOf(a, b));
  }

  heal(a: string, b: string): void {
    this.#partitions.delete(pairOf(a, b));
    for (const sides of this.#connections.values()) for (const side of sides) side.out.heal();
  }

  isPartitioned(a: string, b: string): boolean {
    return this.#partitions.size > 0 && this.#partitions.has(pairOf(a, b));
  }

  /** An address takes no connections, or takes them again. */
  refuse(address: string, refuses = true): void {
    if (refuses) this.#refused.add(address);
    else this.#refused.delete(address);
  }

  /** Kills a machine so that its peers see nothing: the cable is out, not the process gone. */
  killSilently(machine: Machine): void {
    this.#silent.add(machine);
    machine.kill();
  }

  #died(machine: Machine): void {
    for (const listener of [...this.#listeners.values()]) if (listener.machine === machine) this.stopListening(listener);
    for (const sides of this.#connections.values()) {
      for (const side of sides) {
        if (side.machine !== machine) continue;
        side.gone();
        if (!this.#silent.has(machine)) side.other.resetSoon('the peer is gone');
      }
    }
  }

  /** A machine is there again that had died silently: what its peers send to the old one is answered now. */
  #restarted(machine: Machine): void {
    for (const dead of this.#silent) {
      if (dead.name !== machine.name) continue;
      this.#silent.delete(dead);
      for (const sides of this.#connections.values()) {
        for (const side of sides) if (side.machine === dead) side.other.resetSoon('the peer has restarted');
      }
    }
  }

  /** For listeners. */
  stopListening(listener: Listener): void {
    const address = formatAddress(listener.address);
    if (this.#listeners.get(address) === listener) this.#listeners.delete(address);
  }

  #listen(machine: Machine, address: SocketAddress, options: ListenOptions): Listener {
    const real = address.kind === 'tcp' && address.port === 0 ? { ...address, port: this.#nextPort++ } : address;
    const name = formatAddress(real);
    if (this.#listeners.has(name)) throw new KernelError('EADDRINUSE', `listen on ${name}: another server answers there`);
    this.#restarted(machine);
    const listener = new ListeningAddress(this, machine, real, options);
    this.#listeners.set(name, listener);
    return listener;
  }

  #connect(machine: Machine, address: SocketAddress, options: ConnectOptions): Promise<Socket> {
    const peer = formatAddress(address);
    const { signal = null, timeoutMs } = options;
    if (signal?.aborted) return Promise.reject(errorFrom(abortErrno(signal), `connect to ${peer}: given up`));
    return new Promise((resolve, reject) => {
      let isOver = false;
      const local = address.kind === 'tcp' ? options.client?.connecting() : undefined;
      const settle = (): boolean => {
        if (isOver) return false;
        isOver = true;
        machine.clock.clearTimer(timer);
        signal?.removeEventListener('abort', onAbort);
        return true;
      };
      const fail = (error: KernelError): void => {
        local?.over();
        if (settle()) reject(error);
      };
      const onAbort = (): void => {
        if (signal !== null) fail(errorFrom(abortErrno(signal), `connect to ${peer}: given up`));
      };
      const timer = machine.clock.setTimer(timeoutMs, () =>
        fail(new KernelError('ETIMEDOUT', `connect to ${peer}: no answer within ${timeoutMs} ms`)),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      const answer = (what: () => void): void => void this.#after(() => what(), machine);
      this.#after(() => {
        const listener = this.#listeners.get(peer);
        if (listener !== undefined && this.isPartitioned(machine.name, listener.machine.name)) return; // the timer will tell
        if (listener === undefined && [...this.#silent].some((dead) => dead.name === hostOf(address))) return;
        if (listener === undefined || this.#refused.has(peer)) {
          answer(() => fail(new KernelError('ECONNREFUSED', `connect to ${peer}: nobody listens`)));
          return;
        }
        const client = this.#join(machine, listener, peer, local);
        answer(() => {
          if (client.isGone) fail(new KernelError('ECONNRESET', `connect to ${peer}: closed at once`));
          else if (settle()) {
            const socket = new SimulatedSocket(client, options.slot, options.handler);
            resolve(socket);
            socket.readSoon();
          } else client.refuse();
        });
      }, null);
    });
  }

  #after(what: () => void, owner: Machine | null): void {
    const { latencyMs, jitter } = this.link;
    this.world.events.add(this.#source, latencyMs * (1 + jitter * this.random.next()), what, owner);
  }

  /** Makes a connection; the server's end takes its memory meanwhile. @returns the client's end. */
  #join(machine: Machine, listener: ListeningAddress, address: string, local: LocalConnection | undefined): ConnectionSide {
    const nr = ++this.#nrMade;
    const clientName = `${machine.name} (connection ${nr})`;
    const forget = (): void => {
      if (client.isGone && server.isGone) this.#connections.delete(connection);
    };
    local?.connected(clientName, address);
    const client = new ConnectionSide(this, machine, address, () => {
      local?.over();
      forget();
    });
    const arrival = listener.arrive();
    const server = new ConnectionSide(this, listener.machine, clientName, () => {
      arrival.gone();
      forget();
    });
    const cut = (): void => {
      client.resetSoon('cut');
      server.resetSoon('cut');
    };
    const toServer = new Pipe(this, `${clientName} to ${address}`, client, server, cut);
    const toClient = new Pipe(this, `${address} to ${clientName}`, server, client, cut);
    [client.out, client.in, client.other] = [toServer, toClient, server];
    [server.out, server.in, server.other] = [toClient, toServer, client];
    const connection: SimulatedConnection = {
      address,
      cut,
      cutAfter: (direction, nrBytes) => (direction === 'to-server' ? toServer : toClient).cutAfter(nrBytes),
    };
    this.#connections.set(connection, [client, server]);
    this.onConnection(connection);
    void this.#accept(listener, arrival, server, clientName);
    return client;
  }

  async #accept(listener: ListeningAddress, arrival: Arrival, side: ConnectionSide, peer: string): Promise<void> {
    const { options, machine } = listener;
    const address = formatAddress(listener.address);
    const table = listener.address.kind === 'tcp' ? machine.kernel?.localConnections : undefined;
    const client = (await table?.recognise(peer, address)) ?? null;
    if (!machine.isAlive) return;
    if (client !== null) arrival.recognised();
    else if (listener.isFull) {
      side.refuse();
      options.onRefused?.(new KernelError('EAGAIN', `${address} has its ${options.maxConnections} connections`));
      return;
    }
    try {
      const accepted = await options.accept(peer, client);
      if (!listener.machine.isAlive) return;
      if (accepted === null) side.refuse();
      else if (side.isGone || listener.isClosed) {
        side.refuse();
        accepted.onAbandon();
      } else {
        const socket = new SimulatedSocket(side, accepted.slot, accepted.handler);
        accepted.onOpen(socket);
        socket.readSoon();
      }
    } catch (error) {
      side.refuse();
      options.onRefused?.(error instanceof KernelError ? error : new KernelError('EIO', `accept ${peer}`, { cause: error }));
    }
  }
}

function pairOf(a: string, b: string): string {
  return [a, b].sort().join(' and ');
}

function hostOf(address: SocketAddress): string {
  return address.kind === 'tcp' ? address.host : address.path;
}
