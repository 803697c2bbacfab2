/**
 * Locks that writeout can wait for (M11). A chain of writeout waits not only for memory but for locks, so every lock belongs to a node of the
 * writeout graph, and two things are required of whoever takes it:
 *
 *     it has a ticket of that node in hand             else the holder may come to wait for memory that only the waiting writeout frees
 *     while it holds the lock it never waits for ordinary memory: what needs that (a new cache page, a copy of user data) is got before
 *
 * Both are checked where they happen (`LockRule`, which mm implements): counted always, thrown in tests. A task knows the locks it holds by
 * derivation, as it knows everything about itself:
 *
 *     const inside = await lock.acquire(task);              // or acquireShared
 *     if (typeof inside === 'number') return inside;        // aborted
 *     … whatever is done under the lock is done by `inside` …
 *     lock.release(inside);
 *
 * First come, first served; readers that stand one behind the other go in together. A wait ends early with the errno of the task's signal.
 * Its holders are in stall reports.
 */
import { Errno, invariant, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import type { HeldLock, TaskContext, TaskScope } from './task-context.js';
import { WaitQueue } from './wait-queue.js';

/** Whether a task may take a lock: the half of the waiting rule that is asked at `acquire`. */
export interface LockRule {
  /** Called before anything is taken or waited for; may throw. */
  checkLock(task: TaskContext, lock: Lock): void;
}

const EXCLUSIVE = 0;
const SHARED = 1;
type Mode = typeof EXCLUSIVE | typeof SHARED;

/** One lock, for one writer or any number of readers. */
export class Lock {
  readonly #queue: WaitQueue;
  /** As they are now, with the lock: the writer, or the readers. */
  readonly #holders: TaskContext[] = [];
  #mode: Mode = EXCLUSIVE;

  /**
   * @param node whose writeout can wait for it.
   * @param name for stall reports: `inode 12 of ext3:vda`.
   */
  constructor(
    readonly node: TaskScope,
    readonly name: string,
    private readonly rule: LockRule,
  ) {
    this.#queue = new WaitQueue({ kind: 'lock', name, heldBy: () => this.#holders });
  }

  /** Tasks that hold it. */
  get nrHolders(): number {
    return this.#holders.length;
  }

  get nrWaiters(): number {
    return this.#queue.nrWaiters;
  }

  /**
   * Takes it for oneself, waiting if need be.
   * @returns the task as it is with the lock in hand; `-EDEADLK` if it holds it already; the errno of its signal.
   */
  acquire(task: TaskContext): MaybePromise<TaskContext | NegErrno> {
    return this.#acquire(task, EXCLUSIVE);
  }

  /** Takes it together with other readers. As `acquire`. */
  acquireShared(task: TaskContext): MaybePromise<TaskContext | NegErrno> {
    return this.#acquire(task, SHARED);
  }

  /** Takes it for oneself if nobody has it or waits for it. @returns null if somebody does. */
  tryAcquire(task: TaskContext): TaskContext | null {
    const inside = this.#isFree(EXCLUSIVE) ? this.#acquire(task, EXCLUSIVE) : null;
    return isPromise(inside) || typeof inside === 'number' ? null : inside;
  }

  #acquire(task: TaskContext, mode: Mode): MaybePromise<TaskContext | NegErrno> {
    if (task.holds(this)) return -Errno.EDEADLK;
    this.rule.checkLock(task, this);
    const site = task.waits?.keepsSites === true ? new Error(this.name) : null;
    const inside = task.holding({ lock: this, site, isHeld: false });
    if (!this.#isFree(mode)) return this.#wait(inside, mode);
    this.#enter(inside, mode);
    return inside;
  }

  #isFree(mode: Mode): boolean {
    return this.#queue.nrWaiters === 0 && this.#admits(mode);
  }

  #admits(mode: Mode): boolean {
    return this.#holders.length === 0 || (mode === SHARED && this.#mode === SHARED);
  }

  #enter(inside: TaskContext, mode: Mode): void {
    this.#mode = mode;
    this.#holders.push(inside);
    recordOf(inside).isHeld = true;
  }

  async #wait(inside: TaskContext, mode: Mode): Promise<TaskContext | NegErrno> {
    const woken = await this.#queue.wait(inside, mode);
    if (woken >= 0) return inside; // it was let in before it was woken
    this.#letIn(); // a writer that gives up may have stood in the way of readers
    return woken;
  }

  /** Gives it back. @param inside what `acquire` returned. */
  release(inside: TaskContext): void {
    const at = this.#holders.indexOf(inside);
    invariant(at >= 0, `${inside.name} gives back ${this.name}, which it does not hold`);
    this.#holders.splice(at, 1);
    recordOf(inside).isHeld = false;
    this.#letIn();
  }

  #letIn(): void {
    while (this.#queue.nrWaiters > 0 && this.#admits(this.#queue.oldestWant as Mode)) {
      this.#enter(this.#queue.oldest as TaskContext, this.#queue.oldestWant as Mode);
      this.#queue.wakeOne();
    }
  }
}

/** What `inside` was derived with when it asked for its last lock. */
function recordOf(inside: TaskContext): HeldLock {
  return inside.locks[inside.locks.length - 1];
}
