/**
 * The lock of a range of pages that is being taken out of a file, or replaced behind the cache's back: one range at a time for each file.
 *
 * While a range is held, no page of it comes in, becomes dirty, or is begun to be written; who wants one waits. Direct reads hold the lock
 * together, with no range. First come, first served.
 */
import type { NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import { Semaphore } from '../task/semaphore.js';
import type { TaskContext } from '../task/task-context.js';

/** Direct reads of one file at once. */
const SHARED_MAX = 64;

export class RangeLock {
  /** Made when the first range is held. */
  #made: Semaphore | null = null;
  #first = Number.POSITIVE_INFINITY;
  #last = -1;

  /** @param file what the lock is of, for stall reports. */
  constructor(readonly file: { readonly name: string }) {}

  get #turn(): Semaphore {
    this.#made ??= new Semaphore(SHARED_MAX, { kind: 'range', name: `range of ${this.file.name}` });
    return this.#made;
  }

  /** True if the page belongs to the range. */
  covers(index: number): boolean {
    return index >= this.#first && index <= this.#last;
  }

  /** The last page of the range. */
  get last(): number {
    return this.#last;
  }

  /** True if nobody holds it. */
  get isFree(): boolean {
    return this.#made === null || this.#made.available === SHARED_MAX;
  }

  /** Waits until the range that is held now is free. @returns 0, or the errno of the task's signal. */
  async over(task: TaskContext): Promise<number> {
    const got = await this.#turn.acquire(task);
    if (got === 0) this.#turn.release();
    return got;
  }

  /** Does `work` with a range to itself. @param last below `first` for no page. @returns what it does, or the errno of the task's signal. */
  exclusively(task: TaskContext, first: number, last: number, work: () => MaybePromise<0 | NegErrno>): Promise<0 | NegErrno> {
    return this.#hold(task, SHARED_MAX, async () => {
      this.#first = first;
      this.#last = last;
      try {
        return await work();
      } finally {
        this.#first = Number.POSITIVE_INFINITY;
        this.#last = -1;
      }
    });
  }

  /** Does `work` while no range is held. As `exclusively`. */
  shared(task: TaskContext, work: () => Promise<number | NegErrno>): Promise<number | NegErrno> {
    return this.#hold(task, 1, work);
  }

  async #hold(task: TaskContext, units: number, work: () => Promise<number>): Promise<number> {
    const got = await this.#turn.acquire(task, units);
    if (got < 0) return got;
    try {
      return await work();
    } finally {
      this.#turn.release(units);
    }
  }
}
