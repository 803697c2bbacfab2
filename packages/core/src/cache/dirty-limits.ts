/**
 * Dirty limits in plain arithmetic (M10). Frames.
 *
 *     dirtyable  = free − min(free, high) + file pages that reclaim can have + 1
 *     threshold  = 20 % of dirtyable      background = 10 %
 *     ceiling    = follows threshold up at once; comes down by (ceiling − max(threshold, dirty)) / 32 every 200 ms
 *     limit      = max(threshold, ceiling)
 *     freerun    = (threshold + background) / 2
 */

const THRESHOLD_PERCENT = 20;
const BACKGROUND_PERCENT = 10;
const STEP_MS = 200;
const STEP_PART = 32;
/** Steps after which the ceiling has come down as far as it will. */
const STEPS_MAX = 512;

export interface DirtyLevels {
  readonly nrFree: number;
  /** The mark `high`. */
  readonly high: number;
  /** File pages, clean or not, but those that only memory holds. */
  readonly nrFile: number;
  /** Dirty, under writeback, or about to be. */
  readonly nrDirty: number;
}

/** The limits now. */
export class DirtyLimits {
  #ceiling = 0;
  #steppedMs = 0;

  threshold({ nrFree, high, nrFile }: DirtyLevels): number {
    return Math.floor((dirtyable(nrFree, high, nrFile) * THRESHOLD_PERCENT) / 100);
  }

  background({ nrFree, high, nrFile }: DirtyLevels): number {
    return Math.floor((dirtyable(nrFree, high, nrFile) * BACKGROUND_PERCENT) / 100);
  }

  freerun(levels: DirtyLevels): number {
    return (this.threshold(levels) + this.background(levels)) >>> 1;
  }

  /** The hard limit; it lags behind a threshold that falls, so that writers are not stopped at once. */
  limit(levels: DirtyLevels, nowMs: number): number {
    const threshold = this.threshold(levels);
    const floor = Math.max(threshold, levels.nrDirty);
    let steps = Math.min(Math.floor((nowMs - this.#steppedMs) / STEP_MS), STEPS_MAX);
    if (steps > 0) this.#steppedMs += STEP_MS * Math.floor((nowMs - this.#steppedMs) / STEP_MS);
    for (; steps > 0 && this.#ceiling > floor; steps--) this.#ceiling -= Math.max(Math.floor((this.#ceiling - floor) / STEP_PART), 1);
    if (threshold > this.#ceiling) this.#ceiling = threshold;
    return Math.max(threshold, this.#ceiling);
  }
}

function dirtyable(nrFree: number, high: number, nrFile: number): number {
  return nrFree - Math.min(nrFree, high) + nrFile + 1;
}
