/**
 * Virtual time: a clock and scheduler that move only when a test says so, and that know when everybody waits for nothing.
 *
 * Timers set through `Clock` are counted, as a kernel's are; events of simulated devices (`after`) are not.
 */
import { CLOCK, type Clock, definePlugin, type Plugin, RANDOM, SCHEDULER, type Scheduler, type TimerHandle } from '@tidemark/core';

interface Event {
  readonly due: number;
  readonly fire: () => void;
}

export class VirtualTime implements Clock, Scheduler {
  #now = 0;
  readonly #events: Event[] = [];
  readonly #timers = new Set<object>();
  #deferred: (() => void)[] = [];

  nowMs(): number {
    return this.#now;
  }

  get nrPendingTimers(): number {
    return this.#timers.size;
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = this.#add(delayMs, () => {
      if (this.#timers.delete(timer)) fire();
    });
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: TimerHandle): void {
    if (this.#timers.delete(timer)) this.#events.splice(this.#events.indexOf(timer as Event), 1);
  }

  /** For devices: an event that is no timer of the kernel's. */
  after(delayMs: number, fire: () => void): void {
    this.#add(delayMs, fire);
  }

  #add(delayMs: number, fire: () => void): Event {
    const event = { due: this.#now + delayMs, fire };
    let at = this.#events.length;
    while (at > 0 && this.#events[at - 1].due > event.due) at--;
    this.#events.splice(at, 0, event);
    return event;
  }

  defer(work: () => void): void {
    this.#deferred.push(work);
  }

  /** Runs everything that can run now. */
  async settle(): Promise<void> {
    do {
      const work = this.#deferred;
      this.#deferred = [];
      for (const each of work) each();
      await new Promise((resolve) => setImmediate(resolve));
    } while (this.#deferred.length > 0);
  }

  /** Moves on to the next event. @returns false if there is none up to `until`. */
  #step(until: number): boolean {
    if (this.#events.length === 0 || this.#events[0].due > until) return false;
    const event = this.#events.shift() as Event;
    this.#now = event.due;
    event.fire();
    return true;
  }

  /** Lets `byMs` pass. */
  async advance(byMs: number): Promise<void> {
    const until = this.#now + byMs;
    await this.settle();
    while (this.#step(until)) await this.settle();
    this.#now = until;
  }

  /** Lets time pass until `work` has ended. @throws Error if it never will: there is nothing left that could happen. */
  async run<T>(work: Promise<T> | T, limitMs = Number.POSITIVE_INFINITY): Promise<T> {
    let isOver = false;
    const ended = Promise.resolve(work).finally(() => {
      isOver = true;
    });
    ended.catch(() => {}); // it is returned below
    const until = this.#now + limitMs;
    for (;;) {
      await this.settle();
      if (isOver) return ended;
      if (!this.#step(until)) throw new Error(`stuck at ${this.#now} ms: nothing is left that could end this`);
    }
  }
}

/** A small seeded generator (mulberry32): numbers from 0 to below 1. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The host of a kernel in virtual time. */
export function virtualHost(time: VirtualTime, seed = 1): Plugin {
  return definePlugin({
    name: 'virtual-host',
    register(container) {
      const random = seeded(seed);
      container.register(CLOCK, { useValue: time });
      container.register(SCHEDULER, { useValue: time });
      container.register(RANDOM, {
        useValue: {
          fill: (target: Uint8Array) => {
            for (let i = 0; i < target.length; i++) target[i] = Math.floor(random() * 256);
          },
        },
      });
    },
  });
}
