/**
 * Trace points: named events that cost one comparison when nobody listens.
 *
 *     kernel.trace.on('kswapd', ({ state }) => …);
 *     if (trace.enabled) trace.emit('kswapd', { state: 'wake', nrFree });
 */
import { EventEmitter } from 'eventemitter3';

/** Every trace point and what it carries. Plugins add theirs by declaration merging. */
export interface TraceEvents {
  /** kswapd woke, went to sleep for good, took its nap, or gave up after fruitless runs. */
  kswapd: { state: 'wake' | 'nap' | 'sleep' | 'hopeless'; nrFree: number };
  /** A direct reclaim ended. */
  directReclaim: { task: string; nrReclaimed: number; nrFree: number };
  /** An allocation failed for good. */
  outOfMemory: { task: string; nrFree: number };
  /** A node did something against its declaration: `Violation` of mm. */
  violation: { kind: string; node: string; message: string };
  /** A connection of a block device was lost or is back. */
  reconnect: { device: string; state: 'lost' | 'back' | 'failed'; attempt: number };
  /** A swap area changed. */
  swap: { area: string; state: 'on' | 'off' | 'bad-slot' | 'failed'; detail: number };
}

/** What is called with an event. */
export type TraceListener<K extends keyof TraceEvents> = (event: TraceEvents[K]) => void;

const LISTENER_ERRORS_MAX = 16;

/** The trace points of one kernel. Listeners must not call back into the kernel. */
export class TracePoints {
  readonly #emitter = new EventEmitter();
  #nrListeners = 0;
  /** What listeners threw, oldest first. */
  readonly listenerErrors: unknown[] = [];

  /** True if anybody listens to anything; look at it before building an event. */
  get enabled(): boolean {
    return this.#nrListeners > 0;
  }

  on<K extends keyof TraceEvents>(name: K, listener: TraceListener<K>): this {
    this.#emitter.on(name, listener);
    this.#nrListeners++;
    return this;
  }

  off<K extends keyof TraceEvents>(name: K, listener: TraceListener<K>): this {
    const before = this.#emitter.listenerCount(name);
    this.#emitter.off(name, listener);
    this.#nrListeners -= before - this.#emitter.listenerCount(name);
    return this;
  }

  /** Tells the listeners. One that throws harms only itself: its error is kept in `listenerErrors`, the last few. */
  emit<K extends keyof TraceEvents>(name: K, event: TraceEvents[K]): void {
    try {
      this.#emitter.emit(name, event);
    } catch (error) {
      this.listenerErrors.push(error);
      if (this.listenerErrors.length > LISTENER_ERRORS_MAX) this.listenerErrors.shift();
    }
  }
}
