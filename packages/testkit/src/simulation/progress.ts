/**
 * The oracle (M22): *quiescent but not done*.
 *
 * Progress is an operation of the scenario that ends (`World.progress`, a task of `World.together`), or a version of a page that is on its
 * backing for the first time. A frame freed, bytes moved, a page written again or a timer fired is none.
 *
 * A run is stuck when it is not done, and
 *   1. nothing at all is pending, or
 *   2. nothing but timers of kernels is pending, and since the last progress more time has passed than `patienceMs` and than three times
 *      the longest delay of any timer that is set.
 *
 * Which timers are periodic or retries need not be said. A timer of delay d that is armed again whenever it fires has fired at least twice
 * within 3 d (a retry is armed again only after its attempt, hence 3 and not 2); one that fires once has fired. A back-off that still grows
 * keeps the run alive, since its delay then is a large part of the time that has passed; one that has reached its longest does not. And
 * `patienceMs` is longer than the limits that plugins keep by reading the clock (NBD gives a server up after 30 s).
 */
import { type Kernel, pagesWrittenFirst } from '@tidemark/core';
import type { World } from './world.js';

/** Longest time without progress, by default. */
export const PATIENCE_MS = 120_000;
const TIMER_ROUNDS = 3;

/** Tells whether a run still gets anywhere: when something was last done for the first time. */
export class ProgressWatch {
  readonly #world: World;
  readonly #patienceMs: number;
  /** Most first-time page versions that were ever counted on a kernel. */
  readonly #written = new Map<Kernel, number>();
  #nrOperations = 0;
  #lastMs = 0;
  /** Events when the last progress was seen. */
  lastEvent = 0;

  constructor(world: World, patienceMs = PATIENCE_MS) {
    this.#world = world;
    this.#patienceMs = patienceMs;
  }

  /** Looks after an event. @param nrEvents events so far. */
  look(nrEvents: number): void {
    let hasMoved = this.#world.nrProgress !== this.#nrOperations;
    this.#nrOperations = this.#world.nrProgress;
    for (const { isAlive, kernel } of this.#world.machines) {
      if (!isAlive || kernel === null) continue;
      const firstTime = pagesWrittenFirst(kernel.memory.counters);
      if (firstTime <= (this.#written.get(kernel) ?? 0)) continue;
      this.#written.set(kernel, firstTime);
      hasMoved = true;
    }
    if (!hasMoved) return;
    this.#lastMs = this.#world.nowMs;
    this.lastEvent = nrEvents;
  }

  /** The verdict of the rules above. */
  get isStuck(): boolean {
    const { events } = this.#world;
    if (events.nrPending === 0) return true;
    if (events.nrUnderWay > 0) return false;
    const elapsedMs = this.#world.nowMs - this.#lastMs;
    return elapsedMs > this.#patienceMs && elapsedMs > TIMER_ROUNDS * events.longestTimerMs();
  }
}
