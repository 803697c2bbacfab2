/**
 * Link: keeps one device connected.
 *
 *     up ──lost──▶ connecting ──connected──▶ up            a loss raises the generation
 *                      │ time limit over
 *                      ▼
 *                    down ──wake (a new request)──▶ connecting, one attempt
 *
 * Attempts begin at once and back off to `BACKOFF_MAX_MS`. The time limit counts from the loss until the next *reply*, not until the
 * next connection: a server that accepts and then fails each time is given up as well. When the limit is over the owner fails what is
 * in flight, and the link stays down, without timers, until a new request wakes it.
 */
import {
  type AbortSignalLike,
  AbortSource,
  type Clock,
  Errno,
  errnoOf,
  KernelError,
  type TimerHandle,
  type TracePoints,
} from '@tidemark/core';
import type { Socket } from '@tidemark/net';
import type { Connected } from './connect.js';

const BACKOFF_FIRST_MS = 20;
const BACKOFF_MAX_MS = 2_000;
/** Longest one attempt may take, handshake included. */
const ATTEMPT_TIMEOUT_MS = 10_000;
/** Connections in a row that broke the protocol before a good reply; then the server is given up without waiting for the limit. */
const BROKEN_MAX = 3;

/** What the link needs of its device. */
export interface LinkParts {
  readonly name: string;
  readonly clock: Clock;
  readonly trace: TracePoints;
  readonly timeLimitMs: number;
  /**
   * Connects and negotiates. @throws KernelError; with code ESTALE if the export is no longer the one that was opened: then the link is
   * dead for good.
   */
  connect(timeoutMs: number, signal: AbortSignalLike): Promise<Connected>;
  /** Connected again; `generation` has been raised, and the socket is the owner's to handle. */
  onUp(connected: Connected): void;
  /** The time limit is over, or the link is dead: nothing in flight will be answered. */
  onGivenUp(error: KernelError): void;
}

type State = 'up' | 'connecting' | 'down' | 'dead';

export class Link {
  /** Connections made so far; the first is 1. Half of every cookie. */
  generation = 1;
  #state: State = 'up';
  #socket: Socket | null;
  /** When the present trouble began; null if replies come. */
  #troubleSinceMs: number | null = null;
  #upSinceMs: number;
  #nrAttempts = 0;
  #nrBroken = 0;
  /** The attempt under way is the only one, made for a new request. */
  #isWoken = false;
  #timer: TimerHandle | null = null;
  #attempt: Promise<void> | null = null;
  readonly #end = new AbortSource();

  constructor(
    private readonly parts: LinkParts,
    socket: Socket,
  ) {
    this.#socket = socket;
    this.#upSinceMs = parts.clock.nowMs();
  }

  /** The socket, or null while there is none. */
  get socket(): Socket | null {
    return this.#socket;
  }

  get isDead(): boolean {
    return this.#state === 'dead';
  }

  /** A good reply came: the present connection works. */
  progress(): void {
    if (this.#troubleSinceMs === null) return;
    this.#troubleSinceMs = null;
    this.#nrAttempts = 0;
    this.#nrBroken = 0;
  }

  /** The socket is gone; `error` says why. */
  lost(error: KernelError | null): void {
    if (this.#state === 'dead') return;
    const { clock, timeLimitMs } = this.parts;
    const now = clock.nowMs();
    this.#socket = null;
    if (this.#troubleSinceMs === null || now - this.#upSinceMs > timeLimitMs) {
      this.#troubleSinceMs = now;
      this.#nrAttempts = 0;
    }
    this.#trace('lost');
    if (error?.code === 'EPROTO' && ++this.#nrBroken >= BROKEN_MAX) {
      this.#giveUp('down', error);
      return;
    }
    this.#state = 'connecting';
    this.#schedule();
  }

  /** There is a request: tries once more if the link is down. */
  wake(): void {
    if (this.#state !== 'down') return;
    this.#state = 'connecting';
    this.#isWoken = true;
    this.#troubleSinceMs = this.parts.clock.nowMs();
    this.#start();
  }

  /** What is left of the time limit. */
  get #leftMs(): number {
    return (this.#troubleSinceMs as number) + this.parts.timeLimitMs - this.parts.clock.nowMs();
  }

  #schedule(): void {
    const leftMs = this.#leftMs;
    if (leftMs <= 0) {
      this.#giveUp('down', new KernelError('EIO', `${this.parts.name} could not be reached for ${this.parts.timeLimitMs} ms`));
      return;
    }
    const backoffMs = this.#nrAttempts === 0 ? 0 : Math.min(BACKOFF_FIRST_MS * 2 ** (this.#nrAttempts - 1), BACKOFF_MAX_MS);
    this.#timer = this.parts.clock.setTimer(Math.min(backoffMs, leftMs), () => {
      this.#timer = null;
      this.#start();
    });
  }

  #start(): void {
    this.#nrAttempts++;
    this.#attempt = this.#connect().finally(() => {
      this.#attempt = null;
    });
  }

  async #connect(): Promise<void> {
    const timeoutMs = Math.max(Math.min(this.#leftMs, ATTEMPT_TIMEOUT_MS), 1);
    let connected: Connected;
    try {
      connected = await this.parts.connect(timeoutMs, this.#end.signal);
    } catch (error) {
      this.#trace('failed');
      if (this.#state !== 'connecting') return;
      if (errnoOf(error) === -Errno.ESTALE) this.#giveUp('dead', error as KernelError);
      else if (this.#isWoken) this.#giveUp('down', error as KernelError);
      else this.#schedule();
      return;
    }
    if (this.#state !== 'connecting') {
      await connected.abandon();
      return;
    }
    this.generation = (this.generation + 1) >>> 0;
    this.#socket = connected.socket;
    this.#state = 'up';
    this.#upSinceMs = this.parts.clock.nowMs();
    this.#isWoken = false;
    this.#trace('back');
    this.parts.onUp(connected);
  }

  #giveUp(state: 'down' | 'dead', error: KernelError): void {
    this.#state = state;
    this.#isWoken = false;
    this.#troubleSinceMs = null;
    this.#nrAttempts = 0;
    this.#nrBroken = 0;
    this.parts.onGivenUp(error);
  }

  /** Ends it: no attempt is made any more, and none is under way when the promise ends. The socket is the caller's to close. */
  async close(): Promise<void> {
    this.#state = 'dead';
    if (this.#timer !== null) this.parts.clock.clearTimer(this.#timer);
    this.#timer = null;
    this.#end.abort();
    await this.#attempt;
  }

  #trace(state: 'lost' | 'back' | 'failed'): void {
    const { trace, name } = this.parts;
    if (trace.enabled) trace.emit('reconnect', { device: name, state, attempt: this.#nrAttempts });
  }
}
