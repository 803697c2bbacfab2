/**
 * Dirty throttling (M10): who may make one more page dirty, and who waits.
 *
 * A writer claims a page before it makes it dirty, so that many writers together stay within the limit. In order:
 *
 * | the writer | may go on if |
 * |---|---|
 * | has a ticket (M16) | always: its units bound it, and whoever waits for it must not be paced (trap 2) |
 * | is throttled by one device only (M16) | that device, the one it writes, is under its share (trap 12) |
 * | writes to a backing without a dirty page and at most one in flight | always: every device may have one unit dirty and in its pipe |
 * | any, under freerun | the backing is not strict, or under its share |
 * | any | all are under the limit, and the backing under its share |
 *
 *     share = threshold × its part of recent writes, at least (limit − dirty) / 8, at most maxPercent of the threshold
 *
 * A writer over the limit starts writes and waits for some to end, 200 ms at most at a time. If writes to its backing fail while it waits
 * and none goes well, it ends with their error: what cannot be written must not become more.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { FrameClass } from '../mm/frame-table.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { Memory } from '../mm/memory.js';
import type { Clock } from '../task/clock.js';
import type { TaskContext } from '../task/task-context.js';
import { type Backing, FAILURES_MAX } from './backing.js';
import { DirtyLimits } from './dirty-limits.js';
import { RUN_PAGES, RUNS_MAX } from './write-run.js';

/** What a page cache asks before a page becomes dirty. */
export interface DirtyThrottle {
  /**
   * Claims a page of `backing`, waiting while too much is dirty. Every claim that was granted ends with one `unclaim`.
   * @returns 0; the errno of the task's signal; that of writes which fail; `-ENOMEM` if what cannot be reclaimed has no room and nothing is
   * in flight.
   */
  claim(task: TaskContext, backing: Backing): MaybePromise<0 | NegErrno>;
  /** The page is dirty, and counted as such, or will not be. */
  unclaim(backing: Backing): void;
  /** Pages that the flushers should write now so that writers need not wait. */
  readonly nrOverBackground: number;
}

/** What a throttle is made of. */
export interface DirtyThrottleParts {
  readonly memory: Memory;
  readonly clock: Clock;
  /** Every backing with dirty pages. */
  readonly dirtyBackings: ReadonlySet<Backing>;
  /** Wakes the flushers. */
  readonly wakeFlushers: () => void;
}

/** Registered under `DIRTY_THROTTLE`. */
export type DirtyThrottleFactory = (parts: DirtyThrottleParts) => DirtyThrottle;

const PAUSE_MS = 200;
/** Failures in a row, and nothing written, that a writer sees before it fails. */
const PATIENCE = 4;

class HardLimits implements DirtyThrottle {
  readonly #parts: DirtyThrottleParts;
  readonly #limits = new DirtyLimits();
  #nrClaimed = 0;

  constructor(parts: DirtyThrottleParts) {
    this.#parts = parts;
  }

  // The levels, for the arithmetic: no object is made.
  get nrFree(): number {
    return this.#parts.memory.allocator.nrFree;
  }

  get high(): number {
    return this.#parts.memory.allocator.high;
  }

  get nrFile(): number {
    const { allocator, fileCounts } = this.#parts.memory;
    return Math.max(allocator.classCount(FrameClass.FILE) - fileCounts.nrKept, 0);
  }

  get nrDirty(): number {
    const { fileCounts } = this.#parts.memory;
    return fileCounts.nrDirty + fileCounts.nrWriteback + this.#nrClaimed;
  }

  get nrOverBackground(): number {
    return Math.max(this.nrDirty - this.#limits.background(this), 0);
  }

  claim(task: TaskContext, backing: Backing): MaybePromise<0 | NegErrno> {
    if (!this.#admits(task, backing)) return this.#claimSlow(task, backing);
    this.#grant(backing);
    return 0;
  }

  #grant(backing: Backing): void {
    backing.nrClaimed++;
    this.#nrClaimed++;
    if (this.nrOverBackground > 0) this.#parts.wakeFlushers();
  }

  unclaim(backing: Backing): void {
    backing.nrClaimed--;
    this.#nrClaimed--;
    this.#parts.memory.fileCounts.written.wakeAll();
  }

  #admits(task: TaskContext, backing: Backing): boolean {
    if (task.ticket !== null) return true;
    if (!this.#hasRoom()) return false;
    const onlyBy = task.throttledBy;
    if (onlyBy !== null && onlyBy !== backing.key) return true;
    if (backing.nrDirty + backing.nrClaimed === 0 && backing.nrWriteback <= 1) return true;
    if (onlyBy === null && !backing.share.isStrict && this.nrDirty < this.#limits.freerun(this)) return true;
    const limit = this.#limits.limit(this, this.#parts.clock.nowMs());
    if (onlyBy === null && this.nrDirty >= limit) return false;
    return backing.nrPages < this.#shareOf(backing, limit);
  }

  /** Most pages of a backing. */
  #shareOf(backing: Backing, limit: number): number {
    const threshold = this.#limits.threshold(this);
    const { isStrict, maxPercent } = backing.share;
    const most = Math.floor((threshold * maxPercent) / 100);
    let nrRecent = 0;
    for (const other of this.#parts.dirtyBackings) nrRecent += other.nrRecent;
    const part = this.#parts.dirtyBackings.size <= 1 || nrRecent === 0 ? limit : Math.floor((limit * backing.nrRecent) / nrRecent);
    return Math.min(Math.max(part, (limit - this.nrDirty) >>> 3), isStrict ? most : Math.max(most, maxPercent === 100 ? limit : 0));
  }

  /** One page more leaves what reclaim can neither drop nor swap out within its bound. */
  #hasRoom(): boolean {
    const { allocator, reserve } = this.#parts.memory;
    const bound = allocator.reclaimer?.unlaunderable;
    return bound === undefined || !reserve.policy.checksInequality || bound.nrPages + this.#nrClaimed < bound.most;
  }

  async #claimSlow(task: TaskContext, backing: Backing): Promise<0 | NegErrno> {
    const { allocator } = this.#parts.memory;
    backing.failuresInARow = Math.min(backing.failuresInARow, FAILURES_MAX - PATIENCE);
    const failuresBefore = backing.failuresInARow;
    while (!this.#admits(task, backing)) {
      if (backing.nrDirty > 0) backing.startWriteback(RUN_PAGES * RUNS_MAX);
      else for (const other of [...this.#parts.dirtyBackings]) other.startWriteback(RUN_PAGES * RUNS_MAX);
      if (this.#admits(task, backing)) break;
      if (backing.failuresInARow >= failuresBefore + PATIENCE && backing.nrWriteback === 0) return backing.lastError;
      if (!this.#hasRoom() && allocator.reclaimer?.isWorkInFlight === false) return -Errno.ENOMEM;
      const woken = await this.#pause(task);
      if (woken < 0) return woken;
    }
    this.#grant(backing);
    return 0;
  }

  /** Waits until some page has been written, or a while. */
  async #pause(task: TaskContext): Promise<number> {
    const { memory, clock } = this.#parts;
    const { written } = memory.fileCounts;
    const timer = clock.setTimer(PAUSE_MS, () => written.wakeAll());
    const woken = await written.wait(task);
    clock.clearTimer(timer);
    return woken;
  }
}

/** The default. */
export const hardDirtyLimits: DirtyThrottleFactory = (parts) => new HardLimits(parts);
