/**
 * Local edges (M16): connections whose two ends live in this kernel. This table knows them, and nothing else does:
 *
 *     a driver     makes a `LocalClient` for what it opens, and hands it to `Transport.connect` with every connection, the first and later ones
 *     a transport  enters the addresses of both ends of such a connection, and looks those of every connection it accepts up
 *     a server     is told by `accept` which client of this kernel a connection belongs to, or that it belongs to none
 *
 * A hit is the only proof there is. Nothing that a peer sends gets it anything: no name, number, cookie or credential on the wire is looked at.
 * Two connections never have the same two addresses at one time, and an entry serves one accept, so a stranger who gets the port of a client
 * that is gone finds nothing.
 *
 * The host may tell a server of a connection before it tells the client. While a client is connecting, an accept that finds nothing looks
 * again when the host has had time to tell both.
 *
 * Unix sockets have no addresses: such a connection is a stranger's to its server, and no unit is set aside for it. The writeout graph and
 * pins do not need that proof, since they only ever ask for more caution: for them the address the client goes to is enough.
 */
import { KernelError } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { PinSpec } from '../cache/pinned-file.js';
import type { Memory } from '../mm/memory.js';
import type { ReservePlanner } from '../mm/reserve-planner.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { Scheduler } from '../task/clock.js';
import type { TaskContext } from '../task/task-context.js';

/** Turns of the host's loop, at most, between its telling the two ends of a connection that it is there; with one to spare. */
const TURNS_APART = 3;
const NOTHING_TO_UNDO = async (): Promise<void> => {};

/** A server of this kernel. */
export interface LocalServer {
  readonly node: WriteoutNode;
  /**
   * Pins what is behind `client.resource` (M14): it keeps its size and place and nobody else gets it, until the pin is undone.
   * @returns what undoes it; again is nothing.
   * @throws KernelError ENOENT, and those of `SwapHooks.swapActivate`.
   */
  pin(task: TaskContext, client: LocalClient, spec: PinSpec): Promise<() => Promise<void>>;
}

/** What a driver says of a client. */
export interface LocalClientSpec {
  /** For messages: `nbd://127.0.0.1:10809/disk`. */
  readonly name: string;
  /** Where it connects to: `127.0.0.1:10809`, `unix:/run/x`. */
  readonly address: string;
  /** What it asks for there: the name of an export. Told to the server by this table, not by the wire. */
  readonly resource: string;
  /** Units its node has at once. */
  readonly nrUnits: number;
}

interface Pin {
  readonly task: TaskContext;
  readonly spec: PinSpec;
  undo: () => Promise<void>;
}

/** Something of this kernel that is a client of some server, over all its connections. */
export class LocalClient implements LocalClientSpec {
  readonly name: string;
  readonly address: string;
  readonly resource: string;
  readonly nrUnits: number;
  #server: LocalServer | null = null;
  #reaching: { readonly server: LocalServer; readonly done: Promise<void> } | null = null;
  #node: WriteoutNode | null = null;
  readonly #pins = new Set<Pin>();
  readonly #closers: (() => void)[] = [];
  #isClosed = false;

  constructor(
    private readonly table: LocalConnections,
    spec: LocalClientSpec,
  ) {
    this.name = spec.name;
    this.address = spec.address;
    this.resource = spec.resource;
    this.nrUnits = spec.nrUnits;
  }

  /** The server of this kernel that it is a client of, or null: one that has recognised it, or else one that listens where it connects to. */
  get server(): LocalServer | null {
    return this.#server ?? this.table.serverAt(this.address);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** True while pins of it are meant to hold. */
  get isPinned(): boolean {
    return this.#pins.size > 0;
  }

  /** For a transport that begins to connect for it. */
  connecting(): LocalConnection {
    return this.table.connecting(this);
  }

  /** For the kernel: its node, whose writeout needs the server's, was admitted. */
  admitted(node: WriteoutNode): void {
    this.#node = node;
  }

  /**
   * For a server that has recognised a connection: the client is its own from here on. If it was another's before, its edge of the writeout
   * graph and its pins are made again.
   * @throws KernelError EDEADLK naming the cycle, ENOMEM naming the units that are missing, and those of `LocalServer.pin`.
   */
  async reached(server: LocalServer): Promise<void> {
    if (this.#server === server) return;
    // Two connections may reach it at one time: the edge and the pins are made once.
    if (this.#reaching?.server !== server) this.#reaching = { server, done: this.#reach(server) };
    const { done } = this.#reaching;
    try {
      await done;
    } finally {
      if (this.#reaching?.done === done) this.#reaching = null;
    }
  }

  async #reach(server: LocalServer): Promise<void> {
    if (this.#isClosed) throw new KernelError('ECONNRESET', `${this.name} is closed`);
    if (this.#node !== null) await this.table.link(this.#node, server.node);
    for (const pin of this.#pins) {
      await pin.undo(); // whatever was behind the last server
      pin.undo = NOTHING_TO_UNDO;
      const undo = await server.pin(pin.task, this, pin.spec);
      if (this.#pins.has(pin)) pin.undo = undo;
      else await undo();
    }
    this.#server = server;
  }

  /** For a server that closes. */
  left(server: LocalServer): void {
    if (this.#server === server) this.#server = null;
  }

  /**
   * Pins what it has at its server, if that is of this kernel and rights cross local edges; a pin on any other server stays the client's.
   * It holds over reconnects, until it is undone.
   * @returns what undoes it; again is nothing.
   * @throws KernelError as `LocalServer.pin`.
   */
  async pin(task: TaskContext, spec: PinSpec): Promise<() => Promise<void>> {
    if (!this.table.rightsCross) return NOTHING_TO_UNDO;
    const pin: Pin = { task, spec, undo: NOTHING_TO_UNDO };
    const { server } = this;
    if (server !== null) pin.undo = await server.pin(task, this, spec);
    this.#pins.add(pin);
    return async () => {
      if (this.#pins.delete(pin)) await pin.undo();
    };
  }

  /** Has `closer` called when it is closed. */
  onClose(closer: () => void): void {
    this.#closers.push(closer);
  }

  /** For its driver: there will be no more connections. Twice is fine. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#node = null;
    this.table.forget(this);
    for (const closer of this.#closers) closer();
  }
}

/** One connection of a client, as the transport that makes it tells the table. */
export class LocalConnection {
  #key: string | null = null;
  #isOver = false;

  constructor(
    private readonly table: LocalConnections,
    readonly client: LocalClient,
  ) {}

  /** It has its two addresses. Before the peer's end can be accepted, or at the same time as far as the host tells. */
  connected(clientEnd: string, serverEnd: string): void {
    if (this.#isOver) return;
    this.#key = keyOf(clientEnd, serverEnd);
    this.table.enter(this.#key, this);
  }

  /** It is closed, or was never made. Twice is fine. */
  over(): void {
    this.#isOver = true;
    this.table.leave(this.#key, this);
  }
}

/** The table of one kernel. */
export class LocalConnections {
  readonly #servers = new Map<string, LocalServer>();
  readonly #clients = new Set<LocalClient>();
  readonly #connecting = new Set<LocalConnection>();
  /** By the addresses of both ends; an entry goes when it was found. */
  readonly #entries = new Map<string, LocalConnection>();

  constructor(private readonly parts: { memory: Memory; reserves: ReservePlanner; scheduler: Scheduler; task: TaskContext }) {}

  /** Whether rights and pins cross local edges: the reserve policy says so (M23). */
  get rightsCross(): boolean {
    return this.parts.memory.reserve.policy.rightsCrossEdges;
  }

  /** A client, for a driver. It closes it when it is through. */
  client(spec: LocalClientSpec): LocalClient {
    const client = new LocalClient(this, spec);
    this.#clients.add(client);
    return client;
  }

  /** Enters a server. @returns a function that takes it out. */
  serve(address: string, server: LocalServer): () => void {
    this.#servers.set(address, server);
    return () => {
      if (this.#servers.get(address) === server) this.#servers.delete(address);
      for (const client of this.#clients) client.left(server);
    };
  }

  /** The server of this kernel that listens at `address`, itself or on every address of the machine, or null. */
  serverAt(address: string): LocalServer | null {
    const exact = this.#servers.get(address);
    const port = /:\d+$/.exec(address)?.[0];
    if (exact !== undefined || port === undefined) return exact ?? null;
    return this.#servers.get(`0.0.0.0${port}`) ?? this.#servers.get(`[::]${port}`) ?? null;
  }

  /**
   * For transports: whose connection an accepted one is, by the addresses of its two ends.
   * @returns its client, or null for one that is no client of this kernel.
   */
  recognise(clientEnd: string, serverEnd: string): MaybePromise<LocalClient | null> {
    const key = keyOf(clientEnd, serverEnd);
    const client = this.#take(key);
    return client !== null || this.#connecting.size === 0 ? client : this.#lookAgain(key);
  }

  async #lookAgain(key: string): Promise<LocalClient | null> {
    for (let turn = 0; turn < TURNS_APART; turn++) {
      await new Promise<void>((resolve) => this.parts.scheduler.defer(resolve));
      const client = this.#take(key);
      if (client !== null) return client;
    }
    return null;
  }

  #take(key: string): LocalClient | null {
    const connection = this.#entries.get(key);
    this.#entries.delete(key);
    return connection === undefined || connection.client.isClosed ? null : connection.client;
  }

  /** For clients: an edge of the writeout graph. @throws KernelError EDEADLK, ENOMEM. */
  link(from: WriteoutNode, to: WriteoutNode): Promise<void> {
    return this.parts.reserves.admit(this.parts.task, { candidates: [], edges: [[from, to]] });
  }

  /** For clients and their connections. */
  connecting(client: LocalClient): LocalConnection {
    const connection = new LocalConnection(this, client);
    this.#connecting.add(connection);
    return connection;
  }

  enter(key: string, connection: LocalConnection): void {
    this.#connecting.delete(connection);
    this.#entries.set(key, connection);
  }

  leave(key: string | null, connection: LocalConnection): void {
    this.#connecting.delete(connection);
    if (key !== null && this.#entries.get(key) === connection) this.#entries.delete(key);
  }

  forget(client: LocalClient): void {
    this.#clients.delete(client);
  }
}

function keyOf(clientEnd: string, serverEnd: string): string {
  return `${clientEnd} ${serverEnd}`;
}
