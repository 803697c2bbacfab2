/**
 * The NBD server: exports block devices of a kernel over TCP or a unix socket.
 *
 *     const server = await NbdServer.listen(kernel, { address: '127.0.0.1:0', exports: { disk: device } });
 *     … server.uri …
 *     await server.close();
 *
 * Its memory is two slots a connection (receive slot, reply ring), whatever clients send. Clients of its own kernel that come by TCP are
 * recognised, and have connections and units of their own (M16, guests.ts). Sizes follow from the kernel's plan (M5):
 * payloads up to `memory.sizes.payloadBytes` are advertised and accepted; a client that did not ask for block sizes may use the
 * protocol's 32 MiB, which is streamed in pieces.
 */
import {
  AbortSource,
  Bio,
  BioOp,
  type BlockDevice,
  Completion,
  type Kernel,
  KernelError,
  type LocalClient,
  type LocalServer,
  type PinSpec,
  type TaskContext,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import { findTransport, formatAddress, type Listener, parseAddress } from '@tidemark/net';
import { nbdServerFootprint } from '../footprints.js';
import { checkExportName, formatUri } from '../protocol/uri.js';
import { ServerConnection } from './connection.js';
import { Export } from './export.js';
import { Guests } from './guests.js';
import { listReplyBytes, type Offer } from './negotiation.js';

const PAGE_BYTES = 4096;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;

/** Where a server listens, and what it exports. */
export interface NbdServerOptions {
  /** `HOST:PORT` (port 0: any free one), `[V6]:PORT` or `unix:PATH`. */
  readonly address: string;
  /** Devices by export name. The first is also the default export, which clients ask for by the empty name. */
  readonly exports: Readonly<Record<string, BlockDevice>> | ReadonlyMap<string, BlockDevice>;
  /** Refuses every write. Default false. */
  readonly readOnly?: boolean;
  /** Connections at once; by default what the kernel's plan says. */
  readonly maxConnections?: number;
  /** Longest a handshake may take. Default 10,000. */
  readonly handshakeTimeoutMs?: number;
  /** Told about every connection that was refused or ended badly. */
  onConnectionError?(error: KernelError, peer: string): void;
}

/** Exports block devices over NBD. */
export class NbdServer {
  readonly #kernel: Kernel;
  readonly #options: NbdServerOptions;
  readonly #offer: Offer;
  readonly #devices: ReadonlySet<BlockDevice>;
  readonly #connections = new Set<ServerConnection>();
  #guests: Guests | null = null;
  #listener: Listener | null = null;
  #unregister: () => void = () => {};
  #leaveGraph: () => Promise<void> = async () => {};
  #closed: Promise<void> | null = null;
  /** Connections that were refused, or ended by an error. */
  nrConnectionErrors = 0;

  private constructor(kernel: Kernel, options: NbdServerOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#offer = makeOffer(kernel, options);
    this.#devices = new Set([...this.#offer.exports.values()].map((each) => each.device));
  }

  /**
   * Starts a server. The kernel closes it at shutdown.
   * @throws KernelError EINVAL (address, export names), EBUSY (a device is in use), EADDRINUSE and others of `Transport.listen`.
   */
  static async listen(kernel: Kernel, options: NbdServerOptions): Promise<NbdServer> {
    const server = new NbdServer(kernel, options);
    await server.#start();
    return server;
  }

  async #start(): Promise<void> {
    const { memory, clock, container } = this.#kernel;
    const address = parseAddress(this.#options.address);
    const transport = findTransport(container, address);
    const name = `nbd server ${formatAddress(address)}`;
    const held: BlockDevice[] = [];
    try {
      for (const device of this.#devices) {
        device.hold(name);
        held.push(device);
      }
      this.#listener = await transport.listen(address, {
        maxConnections: this.#options.maxConnections ?? memory.sizes.maxConnections,
        memalloc: true,
        accept: (peer, client) => this.#accept(peer, client),
        onRefused: (error) => this.#report(error, formatAddress(address)),
      });
      await this.#admit(transport.node ?? null);
    } catch (error) {
      await this.#listener?.close();
      for (const device of held) device.unhold();
      throw error;
    }
    this.#unregister = this.#kernel.onShutdown(`nbd server ${this.uri}`, (deadlineMs) =>
      this.close({ timeoutMs: Math.max(deadlineMs - clock.nowMs(), 0), force: true }),
    );
  }

  async #accept(peer: string, client: LocalClient | null): Promise<ServerConnection> {
    if (this.#guests === null) throw new KernelError('EAGAIN', 'the server is not in the writeout graph yet'); // or no more
    const allowed = await this.#guests.admit(peer, client);
    const { memory, clock } = this.#kernel;
    const connection = new ServerConnection(
      {
        memory,
        clock,
        offer: this.#offer,
        handshakeTimeoutMs: this.#options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
        onGone: (gone, error) => this.#gone(gone, error, peer),
      },
      allowed,
    );
    this.#connections.add(connection);
    if (this.#closed !== null) connection.drain();
    return connection;
  }

  /** Joins the writeout graph: whoever writes out through this server needs the devices behind it. Connections are accepted from then on. */
  async #admit(transport: WriteoutNode | null): Promise<void> {
    const kernel = this.#kernel;
    const { memory, localConnections } = kernel;
    const { address } = this.#listener as Listener;
    const rightsCross = localConnections.rightsCross && address.kind === 'tcp';
    const footprint = (nrConnections: number, pinFrames: number) =>
      nbdServerFootprint(memory.nrFrames, nrConnections, rightsCross, pinFrames);
    const exported = [...this.#offer.exports.values()];
    const node: WriteoutNode = {
      name: `nbd-server:${formatAddress(address)}`,
      kind: 'server',
      footprint: {
        ...footprint(0, 0),
        get standing() {
          const pinFrames = exported.reduce((sum, each) => sum + each.pinFrames, 0);
          return footprint(guests.nrConnections, pinFrames).standing;
        },
      },
    };
    const server: LocalServer = { node, pin: (task, client, spec) => this.#pin(task, client, spec) };
    const guests = new Guests({
      memory,
      task: kernel.task.within(node),
      nrStrangerUnits: node.footprint.nrUnits - (node.footprint.unitsForClients ?? 0),
      server,
      rightsCross,
    });
    const edges: WriteoutEdge[] = transport === null ? [] : [[node, transport]];
    for (const device of this.#devices) edges.push([node, await kernel.writeoutNodeOf(device)]);
    await kernel.reserves.admit(kernel.task, { candidates: [{ node }], edges });
    const leave = localConnections.serve(formatAddress(address), server);
    this.#guests = guests;
    this.#leaveGraph = async () => {
      leave();
      guests.close();
      await kernel.reserves.withdraw(node);
    };
  }

  async #pin(task: TaskContext, client: LocalClient, spec: PinSpec): Promise<() => Promise<void>> {
    const { exports, defaultExport } = this.#offer;
    const chosen = client.resource === '' ? defaultExport : exports.get(client.resource);
    if (chosen === undefined) throw new KernelError('ENOENT', `${client.name}: there is no export ${JSON.stringify(client.resource)}`);
    return chosen.pin(this.#kernel, task, `${spec.user} by way of ${client.name}`, spec);
  }

  /** URI of the default export. */
  get uri(): string {
    return this.uriOf(this.#offer.defaultExport.name);
  }

  /** URI of an export. @throws KernelError ENOENT if it is not one. */
  uriOf(exportName: string): string {
    if (!this.#offer.exports.has(exportName)) throw new KernelError('ENOENT', `there is no export ${JSON.stringify(exportName)}`);
    return formatUri((this.#listener as Listener).address, exportName);
  }

  /** Connections now. */
  get nrConnections(): number {
    return this.#connections.size;
  }

  /** Clients of its own kernel, for which it keeps units and connections (M16). */
  get nrLocalClients(): number {
    return this.#guests?.nrLocalClients ?? 0;
  }

  #gone(connection: ServerConnection, error: KernelError | null, peer: string): void {
    this.#connections.delete(connection);
    if (error !== null) this.#report(error, peer);
  }

  #report(error: KernelError, peer: string): void {
    this.nrConnectionErrors++;
    this.#options.onConnectionError?.(error, peer);
  }

  /**
   * Stops accepting, answers what was taken in, flushes the devices, and closes. Connections that take longer than `timeoutMs`
   * (default 5,000) are cut. Safe to call twice.
   * @param options with `force` it closes though clients of this kernel have exports pinned: their pins end.
   * @throws KernelError EBUSY naming the export and who has it pinned, then nothing was changed; EIO if a device could not be flushed, then
   * the server is closed all the same.
   */
  close(options: { timeoutMs?: number; force?: boolean } = {}): Promise<void> {
    if (this.#closed === null && options.force !== true) {
      for (const { name, pinnedBy } of this.#offer.exports.values()) {
        if (pinnedBy.length === 0) continue;
        const why = `export ${JSON.stringify(name)} is pinned for ${pinnedBy.join(', ')}`;
        return Promise.reject(new KernelError('EBUSY', `the nbd server at ${this.uri} cannot be closed: ${why}`));
      }
    }
    this.#closed ??= this.#close(options.timeoutMs ?? CLOSE_TIMEOUT_MS);
    return this.#closed;
  }

  async #close(timeoutMs: number): Promise<void> {
    const { clock } = this.#kernel;
    this.#unregister();
    await null; // `#closed` is set before anything below looks at it
    const timeIsUp = new AbortSource();
    const timer = clock.setTimer(timeoutMs, () => {
      timeIsUp.abort(new KernelError('ETIMEDOUT', 'the server was to be closed by now'));
      for (const connection of [...this.#connections])
        connection.destroy(new KernelError('ESHUTDOWN', 'the server closed before the connection was drained'));
    });
    const closed = this.#listener?.close();
    for (const connection of [...this.#connections]) connection.drain();
    await closed;
    for (const each of this.#offer.exports.values()) await each.unpin();
    await this.#leaveGraph();
    const task = this.#kernel.task.withSignal(timeIsUp.signal);
    const failed: string[] = [];
    for (const device of this.#devices) {
      if (!device.readOnly && device.can.flush && (await flush(task, device)) !== 0) failed.push(device.name);
      device.unhold();
    }
    clock.clearTimer(timer);
    if (failed.length > 0) throw new KernelError('EIO', `nbd server: what clients wrote could not be flushed to ${failed.join(', ')}`);
  }
}

/** Flushes, or gives up waiting when the task's signal aborts. */
async function flush(task: TaskContext, device: BlockDevice): Promise<number> {
  const done = new Completion({ kind: 'flush', name: device.name, heldBy: () => [device] });
  const bio = new Bio(0).start(BioOp.FLUSH, 0);
  bio.onEnd = (ended) => done.complete(ended.status);
  device.submit(bio);
  return done.wait(task);
}

function makeOffer(kernel: Kernel, options: NbdServerOptions): Offer {
  const entries: [string, BlockDevice][] = options.exports instanceof Map ? [...options.exports] : Object.entries(options.exports);
  const exports = new Map<string, Export>();
  for (const [name, device] of entries) {
    checkExportName(name);
    exports.set(name, new Export(name, device, options.readOnly ?? false));
  }
  const [defaultExport] = exports.values();
  if (defaultExport === undefined) throw new KernelError('EINVAL', 'an nbd server needs a device to export');
  const { payloadBytes, slotFrames } = kernel.memory.sizes;
  if (listReplyBytes(exports) > slotFrames * PAGE_BYTES) {
    throw new KernelError('EINVAL', `${exports.size} export names do not fit into a reply of ${slotFrames * PAGE_BYTES} bytes`);
  }
  return { exports, defaultExport, maxPayloadBytes: payloadBytes };
}
