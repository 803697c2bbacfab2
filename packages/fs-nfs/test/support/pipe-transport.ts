/**
 * A transport within the process: what connects to an address finds who listens there, in whatever kernel. Bytes go over in pieces, each in a turn of the
 * sender's scheduler, so that it works in virtual time as well. For subjects that bring their own server, where no network of a run is at hand.
 */
import { definePlugin, type KernelError, KernelError as Failure, type Plugin, SCHEDULER, type Scheduler, TRANSPORT } from '@tidemark/core';
import {
  type ConnectionEnd,
  type ConnectOptions,
  formatAddress,
  type Listener,
  type ListenOptions,
  type ReceiveSlot,
  type Socket,
  type SocketAddress,
  type SocketHandler,
} from '@tidemark/net';

const listeners = new Map<string, ListenOptions>();

/** One end. What it sends waits until the other end can read. */
class PipeSocket implements Socket {
  readonly peer = 'pipe';
  readonly slot: ReceiveSlot;
  handler: SocketHandler;
  isOpen = true;
  other: PipeSocket | null = null;
  readonly #scheduler: Scheduler;
  readonly #queue: { bytes: Uint8Array; onSent: (() => void) | null }[] = [];
  #isPaused = false;
  #isMoving = false;
  #closesWhenSent = false;
  #isClosed = false;

  constructor({ slot, handler }: ConnectionEnd, scheduler: Scheduler) {
    this.slot = slot;
    this.handler = handler;
    this.#scheduler = scheduler;
    slot.reset();
  }

  get nrUnsentBytes(): number {
    return this.#queue.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    if (!this.isOpen) return;
    this.#queue.push({ bytes, onSent });
    this.move();
  }

  /** Takes the next piece over, soon. */
  move(): void {
    if (this.#isMoving || this.#queue.length === 0) return;
    this.#isMoving = true;
    this.#scheduler.defer(() => {
      this.#isMoving = false;
      this.#step();
    });
  }

  #step(): void {
    const { other } = this;
    const first = this.#queue[0];
    if (first === undefined || other === null || this.#isClosed || other.#isClosed || other.#isPaused) return;
    const taken = other.#receive(first.bytes);
    if (taken === first.bytes.length) {
      this.#queue.shift();
      first.onSent?.();
    } else first.bytes = first.bytes.subarray(taken);
    if (this.#queue.length > 0) this.move();
    else if (this.#closesWhenSent) this.destroy();
  }

  #receive(bytes: Uint8Array): number {
    const target = this.slot.target();
    const length = Math.min(target.length, bytes.length);
    target.set(bytes.subarray(0, length));
    this.slot.received(length);
    const goOn = this.handler.onReceive(this);
    this.slot.plan();
    if (!goOn || !this.slot.takeUp()) this.#isPaused = true;
    return length;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused || this.#isClosed || !this.slot.takeUp()) return;
    this.#isPaused = false;
    this.other?.move();
  }

  end(): void {
    this.closeWhenSent();
  }

  closeWhenSent(): void {
    this.isOpen = false;
    this.#closesWhenSent = true;
    if (this.#queue.length === 0) this.destroy();
  }

  destroy(error: KernelError | null = null): void {
    this.isOpen = false;
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { other } = this;
    // The other end hears of it first: when this one does, nobody has a timer for the connection any more.
    this.#scheduler.defer(() => {
      if (other !== null && !other.#isClosed) {
        other.isOpen = false;
        other.#isClosed = true;
        other.handler.onClose(other, new Failure('ECONNRESET', 'the other end of the pipe is gone'));
      }
      this.#scheduler.defer(() => this.handler.onClose(this, error));
    });
  }
}

/** Makes a kernel able to connect and listen. */
export const pipeTransport: Plugin = definePlugin({
  name: 'pipes',
  register(container) {
    container.register(TRANSPORT, {
      useFactory: (c) => {
        const scheduler = c.resolve(SCHEDULER);
        const connect = async (address: SocketAddress, options: ConnectOptions): Promise<Socket> => {
          const name = formatAddress(address);
          const accepted = await listeners.get(name)?.accept('pipe', null);
          if (accepted === undefined || accepted === null) throw new Failure('ECONNREFUSED', `connect to ${name}: nobody takes it`);
          const near = new PipeSocket(options, scheduler);
          const far = new PipeSocket(accepted, scheduler);
          near.other = far;
          far.other = near;
          accepted.onOpen(far);
          return near;
        };
        const listen = async (address: SocketAddress, options: ListenOptions): Promise<Listener> => {
          listeners.set(formatAddress(address), options);
          const close = async (): Promise<void> => void listeners.delete(formatAddress(address));
          return { address, nrConnections: 0, close };
        };
        return { name: 'pipes', kinds: ['tcp', 'unix'], connect, listen };
      },
    });
  },
});
