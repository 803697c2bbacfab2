/**
 * Time, deferred work and randomness: the seams through which a kernel meets its host.
 *
 * Core never reads a wall clock and never draws a random number itself. The host's forms are in `@tidemark/core/host`; the
 * testkit's run in virtual time from a seed.
 */

/** A timer that was set; opaque. */
export type TimerHandle = { readonly timer: unique symbol } | object;

/** Time in milliseconds from an arbitrary start, never going back. */
export interface Clock {
  nowMs(): number;
  /** Milliseconds since 1970, with a fraction, for the times of files; may go back. Without it files carry `nowMs`. */
  wallMs?(): number;
  /** Calls `fire` once, `delayMs` from now. */
  setTimer(delayMs: number, fire: () => void): TimerHandle;
  clearTimer(timer: TimerHandle): void;
  /** Timers set and neither fired nor cleared; 0 after shutdown. */
  readonly nrPendingTimers: number;
}

/** Runs work after the I/O that is ready now: the place where a long loop lets others go first. */
export interface Scheduler {
  defer(work: () => void): void;
}

/** Random bytes, for uuids and cookies. */
export interface RandomSource {
  fill(target: Uint8Array): void;
}

/** Waits `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(delayMs, resolve));
}
