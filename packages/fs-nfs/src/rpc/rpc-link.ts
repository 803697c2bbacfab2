/**
 * RpcLink: keeps one RPC connection, as long as there is something to be said on it.
 *
 *     idle ──a call──▶ connecting ──connected──▶ up ──lost──▶ connecting, if calls are in flight; else idle
 *                          └──failed──▶ a pause, longer each time up to `BACKOFF_MAX_MS`; again, while calls are in flight
 *
 * It never gives up by itself: whether a call waits for ever (`hard`) or not (`soft`) is its connection's to say. A server whose connections
 * break the protocol `BROKEN_MAX` times in a row without one good reply ends what is in flight.
 */
import {
  type AbortSignalLike,
  AbortSource,
  type Clock,
  errorFrom,
  abortErrno,
  KernelError,
  type TimerHandle,
  type TracePoints,
} from '@tidemark/core';
import type { Socket } from '@tidemark/net';

const BACKOFF_FIRST_MS = 20;
const BACKOFF_MAX_MS = 2_000;
/** Longest one attempt may take. */
const ATTEMPT_TIMEOUT_MS = 10_000;
const BROKEN_MAX = 3;

/** What the link needs of its connection. */
export interface RpcLinkParts {
  readonly name: string;
  readonly clock: Clock;
  readonly trace: TracePoints;
  /** @throws KernelError as `Transport.connect`. */
  connect(timeoutMs: number, signal: AbortSignalLike): Promise<Socket>;
  /** Calls are in flight. */
  hasWork(): boolean;
  /** There is a socket: what is in flight is to be sent. */
  onUp(socket: Socket): void;
  /** The server speaks something else: nothing in flight will be answered. */
  onBroken(error: KernelError): void;
}

export class RpcLink {
  #state: 'idle' | 'connecting' | 'up' | 'closed' = 'idle';
  #socket: Socket | null = null;
  #nrAttempts = 0;
  #nrBroken = 0;
  #nrConnections = 0;
  #timer: TimerHandle | null = null;
  #attempt: Promise<void> | null = null;
  readonly #end = new AbortSource();

  constructor(private readonly parts: RpcLinkParts) {}

  /** The socket, or null while there is none. */
  get socket(): Socket | null {
    return this.#socket;
  }

  /** Connections made so far. */
  get nrConnections(): number {
    return this.#nrConnections;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /**
   * Connects for the first time, in one attempt.
   * @throws KernelError as `Transport.connect`.
   */
  async open(timeoutMs: number, signal: AbortSignalLike | null): Promise<void> {
    if (this.#state !== 'idle') return;
    if (signal?.aborted) throw errorFrom(abortErrno(signal), `connect to ${this.parts.name}: given up`);
    this.#state = 'connecting';
    const onAbort = (): void => this.#end.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      this.#connected(await this.parts.connect(timeoutMs, this.#end.signal));
    } catch (error) {
      this.#state = 'idle';
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** There is a call to send. */
  wake(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'connecting';
    this.#schedule();
  }

  /** A good reply came. */
  progress(): void {
    this.#nrAttempts = 0;
    this.#nrBroken = 0;
  }

  /** The socket is gone; `error` says why. */
  lost(error: KernelError | null): void {
    if (this.#state !== 'up') return;
    this.#socket = null;
    this.#trace('lost');
    if (error?.code === 'EPROTO' && ++this.#nrBroken >= BROKEN_MAX) {
      this.#nrBroken = 0;
      this.#state = 'idle';
      this.parts.onBroken(error);
      return;
    }
    this.#again();
  }

  #again(): void {
    if (this.parts.hasWork()) {
      this.#state = 'connecting';
      this.#schedule();
    } else this.#state = 'idle';
  }

  #schedule(): void {
    const backoffMs = this.#nrAttempts === 0 ? 0 : Math.min(BACKOFF_FIRST_MS * 2 ** (this.#nrAttempts - 1), BACKOFF_MAX_MS);
    this.#timer = this.parts.clock.setTimer(backoffMs, () => {
      this.#timer = null;
      this.#nrAttempts++;
      this.#attempt = this.#connect().finally(() => {
        this.#attempt = null;
      });
    });
  }

  async #connect(): Promise<void> {
    let socket: Socket;
    try {
      socket = await this.parts.connect(ATTEMPT_TIMEOUT_MS, this.#end.signal);
    } catch {
      this.#trace('failed');
      if (this.#state === 'connecting') this.#again();
      return;
    }
    this.#connected(socket);
  }

  #connected(socket: Socket): void {
    if (this.#state !== 'connecting') {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.#state = 'up';
    this.#nrConnections++;
    if (this.#nrConnections > 1) this.#trace('back');
    this.parts.onUp(socket);
  }

  /** No attempt is made any more, and none is under way when the promise ends. The socket is the caller's to close. */
  async close(): Promise<void> {
    this.#state = 'closed';
    if (this.#timer !== null) this.parts.clock.clearTimer(this.#timer);
    this.#timer = null;
    this.#end.abort(new KernelError('EIO', `${this.parts.name} is closed`));
    await this.#attempt;
  }

  #trace(state: 'lost' | 'back' | 'failed'): void {
    const { trace, name } = this.parts;
    if (trace.enabled) trace.emit('reconnect', { device: name, state, attempt: this.#nrAttempts });
  }
}
