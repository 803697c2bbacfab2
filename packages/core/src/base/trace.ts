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
  /** Pages began or ended their way out. */
  writeback: { what: string; state: 'start' | 'end'; nrPages: number; status: number };
  /** A connection of a block device was lost or is back. */
  reconnect: { device: string; state: 'lost' | 'back' | 'failed'; attempt: number };
  /** A swap area changed. */
  swap: { area: string; state: 'on' | 'off' | 'bad-slot' | 'failed'; detail: number };
}

/** What is called with an event. */
export type TraceListener<K extends keyof TraceEvents> = (event: TraceEvents[K]) => void;

/** The trace points of one kernel. */
export class TracePoints {
  readonly #emitter = new EventEmitter();
  #nrListeners = 0;

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

  emit<K extends keyof TraceEvents>(name: K, event: TraceEvents[K]): void {
    this.#emitter.emit(name, event);
  }
}
