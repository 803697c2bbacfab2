/**
 * A TCP or unix socket of the host, receiving straight into its slot.
 *
 * The host is asked for one read at a time: the callback hands the bytes to the handler, then the slot says where the next read goes.
 * Sends of one turn are corked and leave together when the turn is over.
 */
import type { Socket as NodeSocket } from 'node:net';
import type { KernelError } from '@tidemark/core';
import type { ReceiveSlot } from '../receive-slot.js';
import type { Socket, SocketHandler } from '../socket.js';
import type { ReadInto } from './accepted-handle.js';
import { socketError } from './socket-errors.js';

export class HostSocket implements Socket {
  #raw: NodeSocket | null = null;
  #open = false;
  #closed = false;
  #corked = false;
  /** Stopped by us or by the handler. */
  #paused = false;
  #error: KernelError | null = null;
  /** Callbacks of sends under way, oldest first from `#nrCalled` on; the host ends writes in order. */
  readonly #onSent: (() => void)[] = [];
  #nrCalled = 0;
  /** The `onread` option for the host's socket. */
  readonly onread: ReadInto;

  constructor(
    readonly peer: string,
    readonly slot: ReceiveSlot,
    public handler: SocketHandler,
  ) {
    slot.reset();
    this.onread = { buffer: () => slot.target(), callback: (nrBytes) => this.#received(nrBytes) };
  }

  /** Joins this to a connected socket of the host. */
  attach(raw: NodeSocket): void {
    this.#raw = raw;
    this.#open = true;
    raw.on('error', (thrown) => this.#fail(thrown));
    raw.on('end', () => {
      if (!this.#closed && this.#open) this.handler.onEnd(this);
    });
    raw.on('close', () => {
      this.#open = false;
      this.#closed = true;
      this.#onSent.length = 0;
      this.handler.onClose(this, this.#error);
    });
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get nrUnsentBytes(): number {
    return this.#raw?.writableLength ?? 0;
  }

  #received(nrBytes: number): boolean {
    if (!this.#open) return false;
    this.slot.received(nrBytes);
    const goOn = this.handler.onReceive(this);
    this.slot.plan();
    this.#paused = this.#paused || !goOn || !this.slot.takeUp();
    return !this.#paused;
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    const raw = this.#raw;
    if (!this.#open || raw === null) return;
    if (!this.#corked) {
      this.#corked = true;
      raw.cork();
      process.nextTick(this.#uncork);
    }
    if (onSent === null) raw.write(bytes);
    else {
      this.#onSent.push(onSent);
      raw.write(bytes, this.#sent);
    }
  }

  readonly #uncork = (): void => {
    this.#corked = false;
    this.#raw?.uncork();
  };

  readonly #sent = (error?: Error | null): void => {
    if (this.#closed || error != null) return; // onClose tells
    const onSent = this.#onSent[this.#nrCalled++];
    if (this.#nrCalled === this.#onSent.length || this.#nrCalled >= 256) {
      this.#onSent.splice(0, this.#nrCalled);
      this.#nrCalled = 0;
    }
    onSent();
  };

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#raw?.pause();
  }

  resume(): void {
    if (!this.#paused || !this.#open || !this.slot.takeUp()) return;
    this.#paused = false;
    this.#raw?.resume();
  }

  end(): void {
    if (this.#open) this.#raw?.end();
  }

  closeWhenSent(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#raw?.destroySoon();
  }

  destroy(error?: KernelError): void {
    this.#open = false;
    if (error !== undefined) this.#error ??= error;
    this.#raw?.destroy();
  }

  #fail(thrown: Error): void {
    this.#open = false;
    this.#error ??= socketError(thrown, `connection with ${this.peer}`);
  }
}
