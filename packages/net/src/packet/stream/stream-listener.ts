/**
 * A listener of the byte stream. A SYN makes a connection that is *accepting*: its owner takes the memory it needs, and only then is the SYN
 * answered. So nothing can come that has no slot to go to, and a client whose server is short of memory waits, or is refused.
 */
import { KernelError } from '@tidemark/core';
import { formatAddress, type SocketAddress } from '../../address.js';
import type { AcceptedConnection, Listener, ListenOptions } from '../../transport.js';
import { formatIpv4, type Ipv4Address } from '../wire/ipv4-address.js';
import type { Segment } from '../wire/segment.js';
import type { Connection } from './connection.js';
import type { StreamLayer } from './stream-layer.js';

export class StreamListener implements Listener {
  nrConnections = 0;
  #isClosed = false;
  #closed: Promise<void> | null = null;
  #onIdle: () => void = () => {};

  constructor(
    private readonly layer: StreamLayer,
    readonly address: SocketAddress,
    private readonly options: ListenOptions,
    private readonly onClosed: () => void,
  ) {}

  /** A connection is asked for. */
  heardSyn(peerAddress: Ipv4Address, segment: Segment): void {
    const { maxConnections } = this.options;
    const name = formatAddress(this.address);
    const peer = `${formatIpv4(peerAddress)}:${segment.sourcePort}`;
    if (this.nrConnections >= maxConnections) {
      this.layer.refuseSyn(peerAddress, segment);
      this.options.onRefused?.(new KernelError('EAGAIN', `${name} has its ${maxConnections} connections`));
      return;
    }
    const { port } = this.address as SocketAddress & { kind: 'tcp' };
    const connection = this.layer.create(peerAddress, segment.sourcePort, port, this.options.memalloc ?? false, 'accepting');
    if (connection === null) {
      this.layer.refuseSyn(peerAddress, segment);
      this.options.onRefused?.(new KernelError('EAGAIN', `${name}: the packet transport has all its connections`));
      return;
    }
    connection.heardSyn(segment);
    this.nrConnections++;
    void this.#accept(connection, peer);
  }

  async #accept(connection: Connection, peer: string): Promise<void> {
    let accepted: AcceptedConnection | null = null;
    try {
      accepted = await this.options.accept(peer, null);
    } catch (error) {
      this.options.onRefused?.(error instanceof KernelError ? error : new KernelError('EIO', `accept ${peer}`, { cause: error }));
    }
    if (accepted === null || this.#isClosed || connection.state === 'closed') {
      if (connection.state !== 'closed') {
        this.layer.countRefused();
        connection.destroy();
      }
      accepted?.onAbandon();
      this.#gone();
      return;
    }
    const taken = accepted;
    const { handler } = taken;
    connection.join(taken.slot, handler);
    connection.onOpened = (error) => {
      if (error === null) taken.onOpen(connection);
      else {
        taken.onAbandon();
        this.#gone();
      }
    };
    connection.onGone = () => this.#gone();
    connection.open();
  }

  #gone(): void {
    this.nrConnections--;
    if (this.#isClosed && this.nrConnections === 0) this.#onIdle();
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.#isClosed = true;
      this.onClosed();
      this.#onIdle = resolve;
      if (this.nrConnections === 0) resolve();
    });
    return this.#closed;
  }
}
