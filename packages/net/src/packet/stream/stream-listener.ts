/**
 * A listener of the byte stream. A SYN makes a connection that is *accepting*: its owner takes the memory it needs, and only then is the SYN
 * answered. So nothing can come that has no slot to go to, and a client whose server is short of memory waits, or is refused. A connection
 * is a stranger's until it is recognised as one of this kernel's (M16).
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
  #nrStrangers = 0;
  #isClosed = false;
  #closed: Promise<void> | null = null;
  #onIdle: () => void = () => {};

  constructor(
    private readonly layer: StreamLayer,
    readonly address: SocketAddress,
    private readonly options: ListenOptions,
    private readonly onClosed: () => void,
  ) {}

  /** True if what it accepts is part of somebody's writeout: then it may be asked in an emergency too. */
  get isMemalloc(): boolean {
    return this.options.memalloc ?? false;
  }

  /** A connection is asked for. */
  heardSyn(peerAddress: Ipv4Address, segment: Segment): void {
    const { maxConnections } = this.options;
    const name = formatAddress(this.address);
    const peer = `${formatIpv4(peerAddress)}:${segment.sourcePort}`;
    if (this.#nrStrangers >= 2 * maxConnections) {
      this.layer.refuseSyn(peerAddress, segment);
      this.options.onRefused?.(this.#full());
      return;
    }
    const { port } = this.address as SocketAddress & { kind: 'tcp' };
    const connection = this.layer.create(peerAddress, segment.sourcePort, port, this.isMemalloc, 'accepting');
    if (connection === null) {
      this.layer.refuseSyn(peerAddress, segment);
      this.options.onRefused?.(new KernelError('EAGAIN', `${name}: the packet transport has all its connections`));
      return;
    }
    connection.heardSyn(segment);
    this.nrConnections++;
    this.#nrStrangers++;
    void this.#accept(connection, peer);
  }

  async #accept(connection: Connection, peer: string): Promise<void> {
    let accepted: AcceptedConnection | null = null;
    let isStranger = true;
    try {
      const client = await this.layer.recognise(connection);
      isStranger = client === null;
      if (!isStranger) this.#nrStrangers--;
      else if (this.#nrStrangers > this.options.maxConnections) throw this.#full();
      accepted = await this.options.accept(peer, client);
    } catch (error) {
      this.options.onRefused?.(error instanceof KernelError ? error : new KernelError('EIO', `accept ${peer}`, { cause: error }));
    }
    if (accepted === null || this.#isClosed || connection.state === 'closed') {
      if (connection.state !== 'closed') {
        this.layer.countRefused();
        connection.destroy();
      }
      accepted?.onAbandon();
      this.#gone(isStranger);
      return;
    }
    const taken = accepted;
    const { handler } = taken;
    connection.join(taken.slot, handler);
    connection.onOpened = (error) => {
      if (error === null) taken.onOpen(connection);
      else {
        taken.onAbandon();
        this.#gone(isStranger);
      }
    };
    connection.onGone = () => this.#gone(isStranger);
    connection.open();
  }

  #full(): KernelError {
    return new KernelError('EAGAIN', `${formatAddress(this.address)} has its ${this.options.maxConnections} connections`);
  }

  #gone(isStranger: boolean): void {
    this.nrConnections--;
    if (isStranger) this.#nrStrangers--;
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
