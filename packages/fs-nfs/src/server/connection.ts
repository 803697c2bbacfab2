/**
 * One accepted connection: its memory, its calls, and its end.
 *
 * It ends in one of three ways: *drained* (the client sent its last byte or nothing for a long time, or the server closes: what was taken in is
 * answered, then the socket closes; a client that still wants something connects again), *failed* (protocol broken: closed at once), or *lost*. The memory goes back when the socket is closed and no call is in progress.
 */
import { type Clock, KernelError, type TaskContext, type TimerHandle } from '@tidemark/core';
import { type AcceptedConnection, ReceiveSlot, ReplyRing, type Socket, type SocketHandler } from '@tidemark/net';
import type { NfsService } from './call.js';
import { CallIntake } from './call-intake.js';
import type { ConnectionMemory } from './connection-memory.js';
import type { Entitlement } from './entitlement.js';
import type { ReplyCache } from './reply-cache.js';

/** Replies open at once, those on their way to the host among them, for each call in progress. */
const REPLIES_PER_CALL = 4;

/** What a connection needs of its server. */
export interface ConnectionParts {
  readonly service: NfsService;
  readonly replies: ReplyCache;
  readonly task: TaskContext;
  readonly clock: Clock;
  readonly host: string;
  readonly memory: ConnectionMemory;
  /** What a client of this kernel is entitled to; null for a stranger. */
  readonly entitled: Entitlement | null;
  /** It is closed when nothing has come for so long and nothing is in progress. */
  readonly idleTimeoutMs: number;
  /** The connection is over and its memory is back. `error` is null after an orderly end. */
  onGone(connection: ServerConnection, error: KernelError | null): void;
}

export class ServerConnection implements AcceptedConnection, SocketHandler {
  readonly slot: ReceiveSlot;
  readonly handler = this;
  readonly #parts: ConnectionParts;
  readonly #ring: ReplyRing;
  readonly #intake: CallIntake;
  #socket: Socket | null = null;
  #isDraining = false;
  /** The client sends no more. */
  #hasEnded = false;
  #isClosed = false;
  #isGone = false;
  #error: KernelError | null = null;
  #idleTimer: TimerHandle | null = null;
  /** When something came last. */
  #heardMs = 0;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
    const { receive, transmit } = parts.memory;
    this.slot = new ReceiveSlot(receive);
    const { callsPerConnection } = parts.service.sizes;
    this.#ring = new ReplyRing(
      transmit,
      callsPerConnection * REPLIES_PER_CALL,
      (bytes, onSent) => this.#socket?.send(bytes, onSent),
      () => this.#progress(),
    );
    const { service, replies, task, clock, host, entitled } = parts;
    this.#intake = new CallIntake({
      service,
      replies,
      slot: this.slot,
      ring: this.#ring,
      task,
      clock,
      host,
      entitled,
      onProgress: () => this.#progress(),
      resume: () => this.#socket?.resume(),
      fail: (error) => this.#fail(error),
    });
  }

  /** Calls in progress. */
  get nrInFlight(): number {
    return this.#intake.nrInFlight;
  }

  onOpen(socket: Socket): void {
    this.#socket = socket;
    this.#heardMs = this.#parts.clock.nowMs();
    if (this.#isDraining) socket.destroy();
    else this.#watch(this.#parts.idleTimeoutMs);
  }

  /** Looks after `delayMs` whether the client still wants anything. */
  #watch(delayMs: number): void {
    const { clock, idleTimeoutMs } = this.#parts;
    this.#idleTimer = clock.setTimer(delayMs, () => {
      this.#idleTimer = null;
      const left = this.#heardMs + idleTimeoutMs - clock.nowMs();
      if (left > 0) this.#watch(left);
      else if (this.#intake.isIdle) this.drain();
      else if (this.#intake.isStalled) this.destroy(new KernelError('ETIMEDOUT', `the client has stalled for ${idleTimeoutMs} ms`));
      else this.#watch(idleTimeoutMs);
    });
  }

  onAbandon(): void {
    this.#isClosed = true;
    this.#finish();
  }

  onReceive(): boolean {
    this.#heardMs = this.#parts.clock.nowMs();
    return this.#intake.receive();
  }

  /** A call ended, or a reply was sent. */
  #progress(): void {
    if (this.#isClosed) {
      this.#finish();
      return;
    }
    const goOn = this.#isDraining ? false : this.#intake.receive();
    if (this.#hasEnded && !this.#intake.isBlocked) this.drain();
    if (this.#isDraining) {
      this.#ring.flush();
      this.#closeIfIdle();
    } else if (goOn) this.#socket?.resume();
  }

  onEnd(): void {
    this.#hasEnded = true;
    if (!this.#intake.isBlocked) this.drain();
  }

  /** Takes in no more, answers what was taken in, then closes. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#socket?.pause();
    this.#intake.stop();
    this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    if (this.#intake.isIdle) this.#socket?.closeWhenSent();
  }

  /** Closes at once. */
  destroy(error: KernelError): void {
    this.#isDraining = true;
    this.#intake.stop();
    this.#fail(error);
  }

  #fail(error: KernelError): void {
    this.#error ??= error;
    this.#isDraining = true;
    this.#socket?.destroy(error);
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    this.#isClosed = true;
    this.#error ??= error;
    this.#intake.stop();
    this.#finish();
  }

  #finish(): void {
    if (this.#isGone || this.#intake.nrInFlight > 0) return;
    this.#isGone = true;
    if (this.#idleTimer !== null) this.#parts.clock.clearTimer(this.#idleTimer);
    this.#parts.memory.free();
    this.#parts.onGone(this, this.#error);
  }
}
