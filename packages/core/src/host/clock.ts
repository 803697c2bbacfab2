/** The host's time. Timers are counted, so that a leak check can tell when one was left behind. */
import type { Clock, TimerHandle } from '../task/clock.js';

/** Longest delay Node's timers take, in milliseconds; a longer one would fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

interface HostTimer {
  timeout: NodeJS.Timeout;
}

/** `performance.now` and `setTimeout`. */
export class HostClock implements Clock {
  readonly #pending = new Set<TimerHandle>();

  get nrPendingTimers(): number {
    return this.#pending.size;
  }

  nowMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  setTimer(delayMs: number, fire: () => void): TimerHandle {
    const dueMs = this.nowMs() + delayMs;
    const arm = (): NodeJS.Timeout => setTimeout(tick, Math.min(Math.max(dueMs - this.nowMs(), 0), LONGEST_MS));
    const tick = (): void => {
      if (dueMs - this.nowMs() > 1) {
        timer.timeout = arm(); // a delay longer than Node's longest: another leg
        return;
      }
      this.#pending.delete(timer);
      fire();
    };
    const timer: HostTimer = { timeout: arm() };
    this.#pending.add(timer);
    return timer;
  }

  clearTimer(timer: TimerHandle): void {
    if (this.#pending.delete(timer)) clearTimeout((timer as HostTimer).timeout);
  }
}
