/**
 * The watchdog (M22): says so when nothing moves although somebody waits. It reports and goes on; it never kills.
 *
 *     const kernel = await Kernel.boot({ …, watchdog: { quietMs: 10_000 } });
 *     kernel.trace.on('stall', (report) => console.error(formatStallReport(report)));
 *
 * The quiet time adds up while at least one task waits and starts again at any progress (`progress.ts`); time in which nobody waits is
 * not counted, so neither an idle kernel nor one task that is woken, finds nothing and waits again can mislead it. A stall is reported
 * when a look finds a whole quiet period without progress: between one and two of them after the last thing that moved, and again after
 * each further one. No timer is pending while nobody waits, so that processes exit and simulations end.
 */
import { KernelError } from '../base/errno.js';
import type { TracePoints } from '../base/trace.js';
import type { Counters } from '../mm/counters.js';
import type { Clock, TimerHandle } from '../task/clock.js';
import type { WaitRegistry } from '../task/wait-registry.js';
import { pagesBroughtIn, pagesWrittenFirst } from './progress.js';
import type { StallReport } from './stall-report.js';

declare module '../base/trace.js' {
  interface TraceEvents {
    /** Nothing has moved for a quiet period, and somebody waits. */
    stall: StallReport;
  }
}

export interface WatchdogOptions {
  /** Time without progress, with a task waiting, after which a stall is reported. In milliseconds, above 0. */
  readonly quietMs: number;
}

/** What it watches. */
export interface WatchdogParts {
  readonly clock: Clock;
  readonly waits: WaitRegistry;
  readonly counters: Counters;
  readonly trace: TracePoints;
  report(): StallReport;
}

export class Watchdog {
  readonly #parts: WatchdogParts;
  #quietMs = 0;
  /** Highest progress seen. */
  #progress = 0;
  /** Waiting time since then, up to `#busySinceMs`. */
  #waitedMs = 0;
  #busySinceMs = 0;
  #timer: TimerHandle | null = null;
  /** Stalls reported. */
  nrStalls = 0;

  constructor(parts: WatchdogParts) {
    this.#parts = parts;
  }

  /** Begins to watch, or goes on with another quiet period. @throws KernelError EINVAL for a period that is none. */
  start({ quietMs }: WatchdogOptions): void {
    if (!Number.isFinite(quietMs) || quietMs <= 0)
      throw new KernelError('EINVAL', `watchdog: a quiet period of ${quietMs} ms; want more than 0`);
    this.stop();
    const { waits } = this.#parts;
    this.#quietMs = quietMs;
    this.#waitedMs = 0;
    this.#hasMoved();
    waits.onChange = (isBusy) => (isBusy ? this.#begin() : this.#pause());
    if (waits.size > 0) this.#begin();
  }

  /** Watches no more. */
  stop(): void {
    this.#parts.waits.onChange = null;
    this.#disarm();
  }

  /** Somebody waits who did not. */
  #begin(): void {
    if (this.#hasMoved()) this.#waitedMs = 0;
    this.#busySinceMs = this.#parts.clock.nowMs();
    this.#timer = this.#parts.clock.setTimer(this.#quietMs - this.#waitedMs, () => this.#look());
  }

  /** Nobody waits any more. */
  #pause(): void {
    this.#waitedMs = Math.min(this.#waitedMs + this.#parts.clock.nowMs() - this.#busySinceMs, this.#quietMs);
    this.#disarm();
  }

  #look(): void {
    this.#timer = null;
    const isStalled = !this.#hasMoved();
    this.#waitedMs = 0;
    this.#begin();
    if (!isStalled) return;
    this.nrStalls++;
    const { trace } = this.#parts;
    if (trace.enabled) trace.emit('stall', this.#parts.report());
  }

  #hasMoved(): boolean {
    const { counters } = this.#parts;
    const progress = pagesWrittenFirst(counters) + pagesBroughtIn(counters);
    if (progress <= this.#progress) return false;
    this.#progress = progress;
    return true;
  }

  #disarm(): void {
    if (this.#timer !== null) this.#parts.clock.clearTimer(this.#timer);
    this.#timer = null;
  }
}
