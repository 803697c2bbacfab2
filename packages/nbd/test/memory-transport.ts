/** A transport whose other end is the test: it sees each send, says when the host has taken it, and delivers bytes as it likes. */
import { definePlugin, type KernelError, TRANSPORT } from '@tidemark/core';
import type { ConnectOptions, Listener, ReceiveSlot, Socket, SocketHandler, Transport } from '@tidemark/net';

export class MemorySocket implements Socket {
  readonly peer = 'memory';
  readonly slot: ReceiveSlot;
  handler: SocketHandler;
  isOpen = true;
  nrUnsentBytes = 0;
  /** Copies of what was sent, and who is to be told. */
  readonly sends: { bytes: Uint8Array; onSent: (() => void) | null }[] = [];

  constructor(options: ConnectOptions) {
    this.slot = options.slot;
    this.handler = options.handler;
    this.slot.reset();
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    if (this.isOpen) this.sends.push({ bytes: Uint8Array.from(bytes), onSent });
  }

  /** Says that everything sent so far is with the host. @returns it. */
  takeSends(): Uint8Array {
    const taken = this.sends.splice(0);
    for (const { onSent } of taken) onSent?.();
    return Buffer.concat(taken.map(({ bytes }) => bytes));
  }

  /** Bytes from the other end, in one read. */
  deliver(bytes: Uint8Array): void {
    const target = this.slot.target();
    target.set(bytes);
    this.slot.received(bytes.length);
    this.handler.onReceive(this);
    this.slot.plan();
    this.slot.takeUp();
  }

  pause(): void {}
  resume(): void {}
  end(): void {}

  closeWhenSent(): void {
    this.destroy();
  }

  destroy(error: KernelError | null = null): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    setImmediate(() => this.handler.onClose(this, error));
  }
}

export class MemoryTransport implements Transport {
  readonly name = 'memory';
  readonly kinds = ['tcp', 'unix'] as const;
  readonly sockets: MemorySocket[] = [];

  async connect(_address: unknown, options: ConnectOptions): Promise<Socket> {
    const socket = new MemorySocket(options);
    this.sockets.push(socket);
    return socket;
  }

  listen(): Promise<Listener> {
    return Promise.reject(new Error('a memory transport only connects'));
  }

  readonly plugin = definePlugin({
    name: 'memory-transport',
    register: (container) => void container.register(TRANSPORT, { useValue: this }),
  });
}
