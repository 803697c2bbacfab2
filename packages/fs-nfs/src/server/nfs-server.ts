/**
 * The NFS server: exports trees of a kernel's VFS over NFS version 3, with MOUNT version 3 on the same port.
 *
 *     const server = await NfsServer.listen(kernel, { address: '127.0.0.1:2049', exports: { '/': '/home' } });
 *     … mount -t nfs -o vers=3,tcp,nolock,port=2049,mountport=2049,mountproto=tcp 127.0.0.1:/ /mnt …
 *     await server.close();
 *
 * Its memory is two slots and the calls of each connection, the kept replies and the open files, whatever clients send; sizes follow from the
 * kernel's plan (M5). It keeps nothing a client could miss after a restart but writes that were not committed, and those clients send again
 * because the write verifier has changed.
 *
 * In the writeout graph it is two nodes, write → commit → what is exported, so whoever writes out through it needs the filesystem (M16). It asks
 * no portmapper: clients are told the port.
 */
import {
  AbortSource,
  type Kernel,
  KernelError,
  type LocalClient,
  type LocalServer,
  run,
  type StandingCharge,
  type StandingMemory,
  type WriteoutEdge,
  type WriteoutNode,
} from '@tidemark/core';
import { findTransport, formatAddress, type Listener, parseAddress, type SocketAddress, tcpAddress, type Transport } from '@tidemark/net';
import type { NfsService } from './call.js';
import { ServerConnection } from './connection.js';
import { Entitlement } from './entitlement.js';
import { ExportTable, type NfsExportOptions } from './export-table.js';
import { HandleCodec } from './file-handle.js';
import { Guests } from './guests.js';
import { exportListBytes } from './mount-program.js';
import { OpenFiles } from './open-files.js';
import { PinnedFiles } from './pinned-files.js';
import { ReplyCache } from './reply-cache.js';
import { keptReplyFrames, nfsCommitFootprint, nfsServerFootprint, type NfsServerSizes, nfsServerSizes, objectFrames } from './sizes.js';
import { WriteVerifier } from './write-verifier.js';

const CLOSE_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 360_000;
const KEY_BYTES = 16;

export interface NfsServerOptions {
  /** `HOST:PORT` (port 0: any free one), `[V6]:PORT` or `unix:PATH`. */
  readonly address: string;
  /** By the path that clients mount: a directory of the kernel's tree, or more about it. */
  readonly exports: Readonly<Record<string, string | NfsExportOptions>>;
  /** Nothing may be changed on any export. Default false. */
  readonly readOnly?: boolean;
  /** Port of a second place to listen at, for clients that look for MOUNT elsewhere than for NFS; both take both. Default: none. */
  readonly mountPort?: number;
  /** Connections at once, at each port; by default what the kernel's plan says. */
  readonly maxConnections?: number;
  /** A connection on which nothing comes for so long is closed, so that its place is free; its client connects again. Default 360,000. */
  readonly idleTimeoutMs?: number;
  /**
   * 16 secret bytes that handles are sealed with: with the same ones handles stay good over restarts, so keep them. Default: random ones of
   * this server, whose handles end with it (BADHANDLE).
   */
  readonly handleKey?: Uint8Array;
  /** Told about every connection that was refused or ended badly. */
  onConnectionError?(error: KernelError, peer: string): void;
}

export class NfsServer {
  readonly #kernel: Kernel;
  readonly #options: NfsServerOptions;
  readonly #service: NfsService;
  readonly #pins: PinnedFiles;
  readonly #replies: ReplyCache;
  readonly #standing: readonly (StandingMemory | StandingCharge)[];
  readonly #connections = new Set<ServerConnection>();
  /** Its nodes of the writeout graph, the one for writes first. */
  #nodes: readonly WriteoutNode[] = [];
  #guests: Guests | null = null;
  /** The one for MOUNT, if there is one, behind the other. */
  #listeners: readonly Listener[] = [];
  #unregister: () => void = () => {};
  #leave: () => void = () => {};
  #closed: Promise<void> | null = null;
  /** Of a close: what takes longer is given up. */
  readonly #timeIsUp = new AbortSource();
  /** Connections that were refused, or ended by an error. */
  nrConnectionErrors = 0;
  /** Procedures that threw; each was answered with an error. */
  nrBugs = 0;

  private constructor(
    kernel: Kernel,
    options: NfsServerOptions,
    exports: ExportTable,
    sizes: NfsServerSizes,
    standing: readonly [StandingMemory, StandingCharge],
  ) {
    this.#kernel = kernel;
    this.#options = options;
    this.#standing = standing;
    const verifier = new WriteVerifier(kernel.random);
    this.#replies = new ReplyCache(standing[0], sizes.keptReplies, () => kernel.clock.nowMs());
    this.#service = {
      vfs: kernel.vfs,
      exports,
      handles: new HandleCodec(options.handleKey ?? randomKey(kernel)),
      files: new OpenFiles(kernel.vfs.openFiles, sizes.openFiles, () => verifier.change()),
      verifier,
      sizes,
      onBug: () => void this.nrBugs++,
    };
    this.#pins = new PinnedFiles(kernel, this.#service);
  }

  /**
   * Starts a server. The kernel closes it at shutdown.
   * @throws KernelError EINVAL (address, exports, key), ENOENT, ENOTDIR (a tree that is none), ENOMEM, EDEADLK from the plan, EADDRINUSE and
   * others of `Transport.listen`.
   */
  static async listen(kernel: Kernel, options: NfsServerOptions): Promise<NfsServer> {
    kernel.requireRunning('serve nfs');
    const address = parseAddress(options.address);
    const transport = findTransport(kernel.container, address);
    if (options.mountPort !== undefined && address.kind !== 'tcp')
      throw new KernelError('EINVAL', `nfs server: ${formatAddress(address)} has no ports, so none for MOUNT`);
    if (options.handleKey !== undefined && options.handleKey.length !== KEY_BYTES)
      throw new KernelError('EINVAL', `nfs server: a handle key has ${KEY_BYTES} bytes, not ${options.handleKey.length}`);
    if (options.idleTimeoutMs !== undefined && !(options.idleTimeoutMs >= 1))
      throw new KernelError('EINVAL', `nfs server: connections are closed after 1 ms or more, not ${options.idleTimeoutMs}`);
    const sizes = nfsServerSizes(kernel.memory.nrFrames);
    const exports = await ExportTable.open(kernel, options.exports, options.readOnly === true);
    const undo: (() => unknown)[] = [() => exports.close()];
    try {
      if (exportListBytes(exports) > sizes.directoryBytes)
        throw new KernelError('EINVAL', `nfs server: the list of exports is longer than ${sizes.directoryBytes} bytes`);
      const { memory, task } = kernel;
      const kept = await memory.allocStanding(task, 'nfs server, kept replies', keptReplyFrames(sizes));
      undo.push(() => kept.free());
      const objects = memory.chargeStanding('nfs server, open files', objectFrames(sizes));
      undo.push(() => objects.free());
      const server = new NfsServer(kernel, options, exports, sizes, [kept, objects]);
      for (const each of placesOf(address, options.mountPort)) {
        const listener = await server.#listen(transport, each);
        undo.push(() => listener.close());
        server.#listeners = [...server.#listeners, listener];
      }
      await server.#admit(transport.node ?? null);
      return server;
    } catch (error) {
      for (const back of undo.reverse()) await back();
      throw error;
    }
  }

  #listen(transport: Transport, address: SocketAddress): Promise<Listener> {
    return transport.listen(address, {
      maxConnections: this.#options.maxConnections ?? this.#service.sizes.maxConnections,
      memalloc: true,
      accept: (peer, client) => this.#accept(peer, client),
      onRefused: (error) => this.#report(error, formatAddress(address)),
    });
  }

  /** Joins the writeout graph. Connections are accepted from then on. */
  async #admit(transport: WriteoutNode | null): Promise<void> {
    const { reserves, task, localConnections, clock, memory } = this.#kernel;
    const address = formatAddress(this.address);
    const rightsCross = localConnections.rightsCross && this.address.kind === 'tcp';
    const pins = this.#pins;
    const footprint = (nrConnections: number) => nfsServerFootprint(memory.nrFrames, nrConnections, rightsCross, pins.nrFrames);
    const write: WriteoutNode = {
      name: `nfs-server:${address}`,
      kind: 'server',
      footprint: {
        ...footprint(0),
        get standing() {
          return footprint(guests.nrConnections).standing;
        },
      },
    };
    const server: LocalServer = { node: write, pin: (who, client, spec) => pins.pin(who, client, spec) };
    const guests = new Guests({
      memory,
      task: task.named(`nfs server ${address}`).within(write),
      sizes: this.#service.sizes,
      server,
      rightsCross,
      entitle: (client) => this.#entitle(write, client),
    });
    const commit: WriteoutNode = { name: `${write.name} commit`, kind: 'server', footprint: nfsCommitFootprint() };
    const edges: WriteoutEdge[] = [[write, commit]];
    if (transport !== null) edges.push([write, transport]);
    for (const node of new Set(this.#service.exports.list.map(({ superblock }) => superblock.node)))
      if (node !== null) edges.push([commit, node]);
    await reserves.admit(task, { candidates: [{ node: write }, { node: commit }], edges });
    this.#nodes = [write, commit];
    this.#guests = guests;
    const leaving = this.#listeners.map((listener) => localConnections.serve(formatAddress(listener.address), server));
    this.#leave = () => {
      for (const leave of leaving) leave();
    };
    this.#unregister = this.#kernel.onShutdown(`nfs server ${address}`, (deadlineMs) =>
      this.close({ timeoutMs: Math.max(deadlineMs - clock.nowMs(), 0), force: true }),
    );
  }

  async #accept(peer: string, client: LocalClient | null): Promise<ServerConnection> {
    const guests = this.#guests;
    if (guests === null || this.#closed !== null) throw new KernelError('EAGAIN', 'the server is not in the writeout graph yet'); // or no more
    const { clock, task } = this.#kernel;
    const own = task.named(`nfs server, ${peer}`).within(this.#nodes[0]);
    const { memory, entitled } = await guests.admit(own, peer, client);
    const connection = new ServerConnection({
      service: this.#service,
      replies: this.#replies,
      task: own,
      clock,
      host: hostOf(peer),
      memory,
      entitled,
      idleTimeoutMs: this.#options.idleTimeoutMs ?? IDLE_TIMEOUT_MS,
      onGone: (gone, error) => this.#gone(gone, error, peer),
    });
    this.#connections.add(connection);
    if (this.#closed !== null) connection.drain();
    return connection;
  }

  /** What a client of this kernel gets: a unit for each of its own (M16). */
  #entitle(node: WriteoutNode, client: LocalClient): Entitlement {
    const { reserves, task, vfs } = this.#kernel;
    const { files, verifier } = this.#service;
    const units = reserves.unitsOf(node);
    if (units === null) throw new KernelError('EAGAIN', 'the server is not in the writeout graph any more');
    return new Entitlement({
      name: client.name,
      node,
      nrUnits: client.nrUnits,
      units,
      files,
      task: task.named(`nfs server, for ${client.name}`).within(node).withSignal(this.#timeIsUp.signal),
      pinOf: (inode) => this.#pins.of(client, inode),
      sync: async (own, served) => {
        const { nrWrites } = served;
        const status = await run(vfs.data.sync(own, served.file, false));
        if (status < 0) verifier.change();
        else served.nrCommitted = Math.max(served.nrCommitted, nrWrites);
        return status;
      },
    });
  }

  /** Where it listens: the port is the real one. */
  get address(): SocketAddress {
    return this.#listeners[0].address;
  }

  /** Where clients find MOUNT: `address`, unless it has a port of its own. */
  get mountAddress(): SocketAddress {
    return (this.#listeners[1] ?? this.#listeners[0]).address;
  }

  /** Connections now. */
  get nrConnections(): number {
    return this.#connections.size;
  }

  /** Clients of its own kernel, for which it keeps units and connections (M16). */
  get nrLocalClients(): number {
    return this.#guests?.nrLocalClients ?? 0;
  }

  /** Files it has open for clients. */
  get nrOpenFiles(): number {
    return this.#service.files.nrOpen;
  }

  /** Calls that were sent again and got their reply again. */
  get nrReplayed(): number {
    return this.#replies.nrReplayed;
  }

  /** Times it had to tell clients that writes may be lost. */
  get nrVerifierChanges(): number {
    return this.#service.verifier.nrChanges;
  }

  #gone(connection: ServerConnection, error: KernelError | null, peer: string): void {
    this.#connections.delete(connection);
    // Clients of this protocol end by closing, some of them with a reset: nothing is lost by it.
    if (error !== null && error.code !== 'ECONNRESET' && error.code !== 'EPIPE') this.#report(error, peer);
  }

  #report(error: KernelError, peer: string): void {
    this.nrConnectionErrors++;
    this.#options.onConnectionError?.(error, peer);
  }

  /**
   * Stops accepting, answers what was taken in, makes stable what was written, and closes. Connections that take longer than `timeoutMs`
   * (default 5,000) are cut. Safe to call twice.
   * @param options with `force` it closes though clients of this kernel have files pinned: their pins end.
   * @throws KernelError EBUSY naming what is pinned and for whom, then nothing was changed; EIO if something that was written could not be made
   * stable, then the server is closed all the same.
   */
  close(options: { timeoutMs?: number; force?: boolean } = {}): Promise<void> {
    const { users } = this.#pins;
    if (this.#closed === null && options.force !== true && users.length > 0) {
      const name = `nfs server at ${formatAddress(this.address)}`;
      return Promise.reject(new KernelError('EBUSY', `the ${name} cannot be closed: pinned is ${users.join(', ')}`));
    }
    this.#closed ??= this.#close(options.timeoutMs ?? CLOSE_TIMEOUT_MS);
    return this.#closed;
  }

  async #close(timeoutMs: number): Promise<void> {
    const { clock, reserves, vfs, task } = this.#kernel;
    this.#unregister();
    await null; // `#closed` is set before anything below looks at it
    const timeIsUp = this.#timeIsUp;
    const timer = clock.setTimer(timeoutMs, () => {
      timeIsUp.abort(new KernelError('ETIMEDOUT', 'the server was to be closed by now'));
      for (const connection of [...this.#connections])
        connection.destroy(new KernelError('ESHUTDOWN', 'the server closed before the connection was drained'));
    });
    const closed = Promise.all(this.#listeners.map((listener) => listener.close()));
    for (const connection of [...this.#connections]) connection.drain();
    await closed;
    this.#leave();
    await this.#pins.undoAll();
    await this.#guests?.close();
    let nrFailed = 0;
    const last = task.withSignal(timeIsUp.signal);
    for (const { file } of this.#service.files.uncommitted()) if ((await run(vfs.data.sync(last, file, false))) < 0) nrFailed++;
    clock.clearTimer(timer);
    this.#service.files.close();
    this.#service.exports.close();
    for (const node of this.#nodes) await reserves.withdraw(node);
    for (const memory of this.#standing) memory.free();
    if (nrFailed > 0) throw new KernelError('EIO', `nfs server: what clients wrote to ${nrFailed} files could not be made stable`);
  }
}

/** Where to listen: at `address`, and at the port for MOUNT if that is another. */
function placesOf(address: SocketAddress, mountPort: number | undefined): SocketAddress[] {
  if (address.kind !== 'tcp' || mountPort === undefined || (mountPort === address.port && mountPort !== 0)) return [address];
  return [address, tcpAddress(address.host, mountPort)];
}

function randomKey({ random }: Kernel): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  random.fill(key);
  return key;
}

/** The host of a peer, without the port; connections of unix sockets are all of one. */
function hostOf(peer: string): string {
  if (peer.startsWith('unix:')) return 'unix';
  const end = peer.lastIndexOf(':');
  return (end < 0 ? peer : peer.slice(0, end)).replace(/^\[|\]$/g, '');
}
