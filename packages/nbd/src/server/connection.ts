/**
 * One accepted connection: its memory and units (what it is allowed), its handshake, its transmission, and its end.
 *
 * It ends in one of three ways: *drained* (the client said DISC or sent its last byte, or the server closes: what was taken in is
 * answered, then the socket closes), *failed* (protocol broken, handshake too slow: closed at once), or *lost*. The memory goes back when
 * the socket is closed and the device has ended every request that points into it.
 */
import { type Clock, KernelError, type Memory, type TimerHandle } from '@tidemark/core';
import { type AcceptedConnection, ReceiveSlot, ReplyRing, type Socket, type SocketHandler } from '@tidemark/net';
import type { Export } from './export.js';
import type { Allowance } from './guests.js';
import { Negotiation, type NegotiationHost, type Offer } from './negotiation.js';

import type { Agreed } from './request-check.js';
import { Transmission } from './transmission.js';

/** Replies open at once on one connection. */
const RING_ENTRIES = 1024;

/** What a connection needs of its server. */
export interface ConnectionParts {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly offer: Offer;
  readonly handshakeTimeoutMs: number;
  /** The connection is over and its memory is back. `error` is null after an orderly end. */
  onGone(connection: ServerConnection, error: KernelError | null): void;
}

export class ServerConnection implements AcceptedConnection, SocketHandler, NegotiationHost {
  readonly slot: ReceiveSlot;
  readonly handler = this;
  readonly #ring: ReplyRing;
  readonly #negotiation: Negotiation;
  #transmission: Transmission | null = null;
  #socket: Socket | null = null;
  #handshakeTimer: TimerHandle | null = null;
  /** No more is taken in; close when idle. */
  #isDraining = false;
  #isClosed = false;
  #error: KernelError | null = null;

  constructor(
    private readonly parts: ConnectionParts,
    private readonly allowed: Allowance,
  ) {
    const { receive, transmit } = allowed.memory;
    this.slot = new ReceiveSlot(receive);
    this.#ring = new ReplyRing(
      transmit,
      RING_ENTRIES,
      (bytes, onSent) => this.#socket?.send(bytes, onSent),
      () => this.#progress(),
    );
    this.#negotiation = new Negotiation(this, parts.offer);
  }

  get bytes(): Uint8Array {
    return this.#ring.bytes;
  }

  get view(): DataView {
    return this.#ring.view;
  }

  onOpen(socket: Socket): void {
    this.#socket = socket;
    if (this.#isDraining) {
      socket.destroy();
      return;
    }
    const { clock, handshakeTimeoutMs } = this.parts;
    this.#handshakeTimer = clock.setTimer(handshakeTimeoutMs, () => {
      this.#handshakeTimer = null;
      this.#fail(new KernelError('ETIMEDOUT', `the handshake took longer than ${handshakeTimeoutMs} ms`));
    });
    this.#negotiation.begin(this.#resumeNegotiation);
  }

  onAbandon(): void {
    this.#isClosed = true;
    this.#finish();
  }

  onReceive(): boolean {
    return this.#take();
  }

  /** @returns true if the socket may go on being read. */
  #take(): boolean {
    if (this.#isClosed) return false;
    if (this.#transmission !== null) {
      const goOn = this.#transmission.receive();
      if (this.#transmission.hasDisconnected) this.drain();
      return goOn;
    }
    if (this.#isDraining) return false;
    try {
      return this.#negotiation.receive(this.#resumeNegotiation);
    } catch (error) {
      this.#fail(error as KernelError);
      return false;
    }
  }

  readonly #resumeNegotiation = (): void => {
    if (this.#transmission === null && this.#take()) this.#socket?.resume();
  };

  /** A request ended or a reply was sent. */
  #progress(): void {
    const transmission = this.#transmission;
    if (transmission === null) return;
    if (this.#isClosed) {
      this.#finish();
      return;
    }
    if (transmission.isBlocked) this.#take();
    else this.#ring.flush();
    if (this.#isDraining) this.#closeIfIdle();
    else if (!transmission.isBlocked) this.#socket?.resume();
  }

  sendReply(lengthBytes: number, onSent: () => void): void {
    this.#socket?.send(this.#ring.bytes.subarray(0, lengthBytes), onSent);
  }

  onTransmission(chosen: Export, agreed: Agreed): void {
    this.#stopHandshakeTimer();
    const { memory, offer } = this.parts;
    this.#transmission = new Transmission({
      target: chosen,
      slot: this.slot,
      ring: this.#ring,
      units: this.allowed.units,
      nrEntries: RING_ENTRIES,
      nrBios: memory.sizes.slotFrames,
      maxPayloadBytes: offer.maxPayloadBytes,
      agreed,
      onProgress: () => this.#progress(),
      fail: (error) => this.#fail(error),
    });
    if (this.#take()) this.#socket?.resume();
  }

  onAbort(): void {
    this.#isDraining = true;
    this.#socket?.closeWhenSent();
  }

  onEnd(): void {
    this.drain();
  }

  /** Takes in no more, answers what was taken in, then closes. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#socket?.pause();
    this.#transmission?.drain();
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.#transmission === null || this.#transmission.isIdle) this.#socket?.closeWhenSent();
  }

  /** Closes at once. */
  destroy(error: KernelError): void {
    this.#isDraining = true;
    this.#fail(error);
  }

  #fail(error: KernelError): void {
    this.#error ??= error;
    this.#socket?.destroy(error);
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    this.#isClosed = true;
    this.#error ??= error;
    this.#stopHandshakeTimer();
    this.#transmission?.close();
    this.#finish();
  }

  #stopHandshakeTimer(): void {
    if (this.#handshakeTimer !== null) this.parts.clock.clearTimer(this.#handshakeTimer);
    this.#handshakeTimer = null;
  }

  #finish(): void {
    if (this.#transmission !== null && this.#transmission.nrInFlight > 0) return;
    this.allowed.memory.free();
    this.parts.onGone(this, this.#error);
  }
}
