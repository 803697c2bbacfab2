/**
 * A counting semaphore, first come first served: nobody overtakes a waiter, however few units it wants.
 */
import { Errno, invariant, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TaskContext } from './task-context.js';
import { type WaitParty, WaitQueue, type WaitTarget } from './wait-queue.js';

/** `count` units; a unit is whatever its owner says. */
export class Semaphore {
  readonly #queue: WaitQueue;
  #available: number;
  /** Who acquired last; of a semaphore of one, who has it. */
  #holder: TaskContext | null = null;

  /** @param target without a `heldBy` of its own a semaphore of one names the task that has it. */
  constructor(
    readonly count: number,
    target: WaitTarget,
  ) {
    this.#available = count;
    const { kind, name } = target;
    this.#queue = new WaitQueue({ kind, name, heldBy: () => target.heldBy?.() ?? this.#holders() });
  }

  #holders(): WaitParty[] {
    return this.count === 1 && this.#holder !== null ? [this.#holder] : [];
  }

  /** Units free now. */
  get available(): number {
    return this.#available;
  }

  get nrWaiters(): number {
    return this.#queue.nrWaiters;
  }

  /** Takes `units` if nobody waits and they are there. */
  tryAcquire(units = 1): boolean {
    if (this.#queue.nrWaiters > 0 || this.#available < units) return false;
    this.#available -= units;
    return true;
  }

  /**
   * Takes `units`, waiting if need be.
   * @returns 0; `-EINVAL` at once for more than there will ever be; the errno of the task's signal if it aborts.
   */
  acquire(task: TaskContext, units = 1): MaybePromise<0 | NegErrno> {
    if (units > this.count) return -Errno.EINVAL;
    if (!this.tryAcquire(units)) return this.#acquireSlow(task, units);
    this.#holder = task;
    return 0;
  }

  async #acquireSlow(task: TaskContext, units: number): Promise<0 | NegErrno> {
    const woken = await this.#queue.wait(task, units);
    if (woken >= 0) return 0; // the units were taken for us before we were woken
    this.#grant(); // we may have been the one whose want held up the others
    return woken;
  }

  /** Gives units back and hands them to the oldest waiter whose want they meet. */
  release(units = 1): void {
    this.#available += units;
    this.#holder = null;
    invariant(this.#available <= this.count, `semaphore ${this.#queue.target.name}: more units given back than taken`);
    this.#grant();
  }

  #grant(): void {
    while (this.#queue.nrWaiters > 0 && this.#available >= this.#queue.oldestWant) {
      this.#available -= this.#queue.oldestWant;
      this.#holder = this.#queue.oldest;
      this.#queue.wakeOne();
    }
  }
}
