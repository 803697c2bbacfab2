/** A clock that stands until a test moves it: for limits on real sockets, whatever the machine is busy with. */
import { type Clock, CLOCK, definePlugin, type Plugin, type TimerHandle } from '@tidemark/core';

interface Timer {
  readonly dueMs: number;
  readonly fire: () => void;
}

export class MovedClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<Timer>();

  get nrPendingTimers(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    const timer = { dueMs: this.#nowMs + delayMs, fire };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: TimerHandle): void {
    this.#timers.delete(timer as Timer);
  }

  /** Lets time pass, and fires what is due in it, the earliest first. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const [next] = [...this.#timers].filter(({ dueMs }) => dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = next.dueMs;
      next.fire();
    }
    this.#nowMs = endMs;
  }

  /** To be among the plugins behind the host's. */
  plugin(): Plugin {
    return definePlugin({ name: 'moved-clock', register: (container) => void container.register(CLOCK, { useValue: this }) });
  }
}
