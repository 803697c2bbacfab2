/**
 * A socket of a simulated link: the contract of `Socket`, with events of the run in place of the host's.
 *
 * It goes as host sockets go: one read at a time straight into the slot, then the handler, then the slot says where the next read goes;
 * `destroy` drops what was not taken and sends the end behind what was, or a reset if bytes were waiting to be read; bytes that reach a
 * socket that is closed bring a reset back.
 */
import { KernelError } from '@tidemark/core';
import type { ReceiveSlot, Socket, SocketHandler } from '@tidemark/net';
import type { Machine } from '../simulation/machine.js';
import type { EventSource } from '../time/event-queue.js';
import type { SimulatedNetwork } from './network.js';
import type { Pipe, PipeReceiver, PipeSender } from './pipe.js';

/** One end of a connection, with a socket or before it has one (accepted, and waiting for its memory). */
export class ConnectionSide implements PipeSender, PipeReceiver {
  /** Where it sends. */
  out!: Pipe;
  /** Where it reads. */
  in!: Pipe;
  /** The side at the other end. */
  other!: ConnectionSide;
  socket: SimulatedSocket | null = null;
  /** No socket any more, or never one. */
  isGone = false;
  readonly source: EventSource;

  constructor(
    readonly network: SimulatedNetwork,
    readonly machine: Machine,
    readonly peer: string,
    private readonly onGone: () => void,
  ) {
    this.source = network.world.events.source(`socket of ${machine.name} with ${peer}`);
  }

  onDrained(): void {
    this.socket?.drained();
  }

  onArrival(): void {
    if (!this.isGone) {
      this.socket?.arrived();
      return;
    }
    // The end of one that is closed already says nothing new; bytes do.
    const bytes = new Uint8Array(1);
    for (let got = this.in.read(bytes); got !== 0; got = this.in.read(bytes)) {
      if (got < 0) continue;
      this.other.resetSoon('the peer has closed the connection');
      return;
    }
  }

  /** The machine goes on without it. */
  gone(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.onGone();
  }

  /** Refuses it before there is a socket. */
  refuse(): void {
    if (this.isGone) return;
    this.gone();
    this.out.end();
  }

  /** Whoever is at this end will learn that the connection is reset. */
  resetSoon(why: string): void {
    if (this.isGone || !this.machine.isAlive) return;
    const { world, link } = this.network;
    world.events.add(this.source, link.latencyMs, () => this.reset(why), this.machine);
  }

  /** The connection is lost here, now. */
  reset(why: string): void {
    if (this.isGone) return;
    this.out.break();
    this.in.break();
    if (this.socket === null) this.gone();
    else this.socket.lost(new KernelError('ECONNRESET', `connection with ${this.peer}: ${why}`));
  }
}

export class SimulatedSocket implements Socket {
  readonly #side: ConnectionSide;
  #isOpen = true;
  #isClosing = false;
  #isPaused = false;
  #isReading = false;
  #endsWhenDrained: 'no' | 'half' | 'whole' = 'no';
  #error: KernelError | null = null;

  constructor(
    side: ConnectionSide,
    readonly slot: ReceiveSlot,
    public handler: SocketHandler,
  ) {
    this.#side = side;
    slot.reset();
    side.socket = this;
  }

  get peer(): string {
    return this.#side.peer;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get nrUnsentBytes(): number {
    return this.#side.out.nrQueuedBytes;
  }

  send(bytes: Uint8Array, onSent: (() => void) | null): void {
    if (this.#isOpen) this.#side.out.send(bytes, onSent);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused || !this.#isOpen || !this.slot.takeUp()) return;
    this.#isPaused = false;
    this.readSoon();
  }

  end(): void {
    if (!this.#isOpen || this.#endsWhenDrained !== 'no') return;
    this.#endsWhenDrained = 'half';
    if (this.nrUnsentBytes === 0) this.drained();
  }

  closeWhenSent(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const wasEnded = this.#endsWhenDrained === 'half';
    this.#endsWhenDrained = 'whole';
    if (this.nrUnsentBytes === 0) this.#close(!wasEnded);
  }

  destroy(error?: KernelError): void {
    this.#isOpen = false;
    if (error !== undefined) this.#error ??= error;
    if (this.#isClosing) return;
    const { in: incoming, out, other } = this.#side;
    out.dropQueue();
    if (incoming.isReadable) other.resetSoon('the peer has closed the connection');
    this.#close(this.#endsWhenDrained !== 'half');
  }

  /** For the connection: all that was sent has been taken. */
  drained(): void {
    if (this.#endsWhenDrained === 'half' && this.#isOpen) this.#side.out.end();
    if (this.#endsWhenDrained === 'whole') this.#close(true);
  }

  /** For the connection: it is reset. */
  lost(error: KernelError): void {
    this.#isOpen = false;
    if (this.#isClosing) return;
    this.#error ??= error;
    this.#close(false);
  }

  #close(sendsEnd: boolean): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    const side = this.#side;
    if (sendsEnd) side.out.end();
    const close = (): void => {
      side.gone();
      this.handler.onClose(this, this.#error);
    };
    side.network.world.events.add(side.source, 0, close, side.machine);
  }

  /** For the connection: something came that may be read in the same event. */
  arrived(): void {
    if (!this.#isReading) this.#read();
  }

  /** For the connection: there may be something to read. */
  readSoon(): void {
    if (this.#isReading || this.#isPaused || !this.#isOpen || !this.#side.in.isReadable) return;
    this.#isReading = true;
    const { world } = this.#side.network;
    world.events.add(this.#side.source, 0, () => this.#read(), this.#side.machine);
  }

  #read(): void {
    this.#isReading = false;
    if (this.#isPaused || !this.#isOpen) return;
    const got = this.#side.in.read(this.slot.target());
    if (got < 0) this.handler.onEnd(this);
    else if (got > 0) {
      this.slot.received(got);
      const goOn = this.handler.onReceive(this);
      this.slot.plan();
      this.#isPaused = this.#isPaused || !goOn || !this.slot.takeUp();
    }
    this.readSoon();
  }
}
