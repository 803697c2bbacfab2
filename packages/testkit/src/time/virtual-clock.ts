/**
 * A kernel's clock and scheduler in virtual time: both only put events into the run's queue, owned by the kernel's machine.
 */
import type { Clock, Scheduler, TimerHandle } from '@tidemark/core';
import type { EventQueue, EventSource, SimulatedEvent } from './event-queue.js';

/** Time that moves when nothing is left to do now. */
export class VirtualClock implements Clock {
  readonly #events: EventQueue;
  readonly #owner: object | null;
  readonly #source: EventSource;
  #nrPending = 0;

  constructor(events: EventQueue, name: string, owner: object | null = null) {
    this.#events = events;
    this.#owner = owner;
    this.#source = events.source(`timers of ${name}`);
  }

  get nrPendingTimers(): number {
    return this.#nrPending;
  }

  nowMs(): number {
    return this.#events.nowMs;
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    this.#nrPending++;
    const fired = (): void => {
      this.#nrPending--;
      fire();
    };
    return this.#events.add(this.#source, delayMs, fired, this.#owner, true);
  }

  clearTimer(timer: TimerHandle): void {
    if (this.#events.cancel(timer as SimulatedEvent)) this.#nrPending--;
  }
}

/** Deferred work: an event that is due now. */
export class VirtualScheduler implements Scheduler {
  readonly #events: EventQueue;
  readonly #owner: object | null;
  readonly #source: EventSource;

  constructor(events: EventQueue, name: string, owner: object | null = null) {
    this.#events = events;
    this.#owner = owner;
    this.#source = events.source(`deferred work of ${name}`);
  }

  defer(work: () => void): void {
    this.#events.add(this.#source, 0, work, this.#owner);
  }
}
