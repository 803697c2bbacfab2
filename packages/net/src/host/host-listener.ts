/**
 * Listening: accepts up to a bound, takes the memory of a connection before the first byte of it is read, and closes what it may not
 * have.
 *
 * A unix socket whose server died leaves its file behind. Such a file refuses connections and is replaced; one that answers belongs to
 * somebody, and is EADDRINUSE, as is a file that is no socket at all.
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket as NodeSocket } from 'node:net';
import { KernelError, type LocalClient, type LocalConnections, type MaybePromise } from '@tidemark/core';
import { formatAddress, type SocketAddress, tcpAddress } from '../address.js';
import { endpointText } from '../endpoint.js';
import type { Listener, ListenOptions } from '../transport.js';
import { adoptSocket } from './accepted-handle.js';
import { HostSocket } from './host-socket.js';
import { socketError } from './socket-errors.js';

/** Connections that the host's kernel may hold for us, established and not yet accepted. */
const BACKLOG = 16;

/** What a listener asks whose connection it has accepted. */
export type Recognise = LocalConnections['recognise'];

class HostListener implements Listener {
  #nrConnections = 0;
  /** Those of no client of this kernel; a connection is one until it is recognised. */
  #nrStrangers = 0;
  #nrAccepted = 0;
  #closed: Promise<void> | null = null;
  /** Accepted, and waiting for their memory. */
  readonly #waiting = new Set<NodeSocket>();

  constructor(
    readonly address: SocketAddress,
    private readonly server: Server,
    private readonly options: ListenOptions,
    private readonly recognise: Recognise,
  ) {
    server.on('connection', (shell) => void this.#accept(shell));
    server.on('error', (thrown) => options.onRefused?.(socketError(thrown, `accept on ${formatAddress(address)}`)));
  }

  get nrConnections(): number {
    return this.#nrConnections;
  }

  async #accept(shell: NodeSocket): Promise<void> {
    this.#nrConnections++;
    let isStranger = true;
    const noStranger = (): void => {
      if (isStranger) this.#nrStrangers--;
      isStranger = false;
    };
    this.#nrStrangers++;
    shell.on('error', ignore); // a shell that dies before it is adopted says so by its close
    shell.once('close', () => {
      this.#nrConnections--;
      noStranger();
    });
    const peer = this.#nameOf(shell);
    this.#waiting.add(shell);
    try {
      // As many again may wait to be recognised; and a flood of those is cut here, before anything is taken for it.
      const client = this.#nrStrangers > 2 * this.options.maxConnections ? null : await this.#clientOf(shell);
      if (client !== null) noStranger();
      else if (this.#nrStrangers > this.options.maxConnections) {
        shell.destroy();
        throw new KernelError('EAGAIN', `${formatAddress(this.address)} has its ${this.options.maxConnections} connections`);
      }
      const connection = await this.options.accept(peer, client);
      if (connection === null) {
        shell.destroy();
        return;
      }
      const socket = new HostSocket(peer, connection.slot, connection.handler);
      const raw = this.#closed === null ? adoptSocket(shell, socket.onread) : null;
      if (raw === null) {
        shell.destroy();
        connection.onAbandon();
        return;
      }
      raw.setNoDelay(true);
      raw.setKeepAlive(true);
      socket.attach(raw);
      connection.onOpen(socket);
    } catch (thrown) {
      shell.destroy();
      this.options.onRefused?.(socketError(thrown, `accept ${peer}`));
    } finally {
      this.#waiting.delete(shell);
    }
  }

  /** The client of this kernel at the other end. */
  #clientOf({ remoteAddress, remotePort, localAddress, localPort }: NodeSocket): MaybePromise<LocalClient | null> {
    if (remoteAddress === undefined || remotePort === undefined || localAddress === undefined || localPort === undefined) return null;
    return this.recognise(endpointText(remoteAddress, remotePort), endpointText(localAddress, localPort));
  }

  #nameOf(shell: NodeSocket): string {
    this.#nrAccepted++;
    return this.address.kind === 'unix'
      ? `${formatAddress(this.address)} client ${this.#nrAccepted}`
      : formatAddress({ kind: 'tcp', host: shell.remoteAddress ?? '', port: shell.remotePort ?? 0 });
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.server.close(() => resolve());
      for (const shell of this.#waiting) shell.destroy();
    });
    return this.#closed;
  }
}

function ignore(): void {}

/** See `Transport.listen`. */
export async function listenHostSocket(address: SocketAddress, options: ListenOptions, recognise: Recognise): Promise<Listener> {
  if (!Number.isSafeInteger(options.maxConnections) || options.maxConnections < 1) {
    throw new KernelError('EINVAL', `listen on ${formatAddress(address)}: ${options.maxConnections} is no number of connections`);
  }
  let server: Server;
  try {
    server = await bind(address);
  } catch (thrown) {
    if (address.kind !== 'unix' || (thrown as { code?: unknown }).code !== 'EADDRINUSE')
      throw socketError(thrown, `listen on ${formatAddress(address)}`);
    await removeDeadSocket(address.path);
    server = await bind(address).catch((again: unknown) => {
      throw socketError(again, `listen on ${formatAddress(address)}`);
    });
  }
  const bound = server.address();
  const real = typeof bound === 'object' && bound !== null ? tcpAddress(bound.address, bound.port) : address;
  return new HostListener(real, server, options, recognise);
}

function bind(address: SocketAddress): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    server.once('error', reject);
    server.listen(
      address.kind === 'unix' ? { path: address.path, backlog: BACKLOG } : { host: address.host, port: address.port, backlog: BACKLOG },
      () => {
        server.off('error', reject);
        resolve(server);
      },
    );
  });
}

/** Removes the file of a unix socket whose server died. @throws KernelError EADDRINUSE if it is alive, or is no socket. */
export async function removeDeadSocket(path: string): Promise<void> {
  const inUse = (why: string): KernelError => new KernelError('EADDRINUSE', `listen on unix:${path}: ${why}`);
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) throw inUse('the file is there and is not a socket');
  const isAlive = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => resolve(true));
    probe.once('error', (thrown: NodeJS.ErrnoException) => resolve(thrown.code !== 'ECONNREFUSED' && thrown.code !== 'ENOENT'));
    probe.once('close', () => resolve(true));
    const close = (): void => void probe.destroy();
    probe.once('connect', close);
    probe.once('error', close);
  });
  if (isAlive) throw inUse('another server answers there');
  try {
    unlinkSync(path);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw socketError(thrown, `remove the dead socket ${path}`);
  }
}
