/**
 * Wait queues: where a task waits until somebody wakes it, first come first served.
 *
 * Every wait names what it waits for: the queue is made with a `WaitTarget`, and there is no other way to wait in core. A wait ends
 * with the value it was woken with (0 by default), or with a negative errno when its task's signal aborts.
 */
import type { NegErrno } from '../base/errno.js';
import { abortErrno } from './abort.js';
import type { TaskContext } from './task-context.js';
import type { Wait } from './wait-registry.js';

/** What is waited for, for stall reports: `{ kind: 'frames', name: 'free above min' }`. */
export interface WaitTarget {
  readonly kind: string;
  readonly name: string;
  /** Who must act for the wait to end: holders, servers, devices, or other things waited for. Asked for stall reports only. */
  heldBy?(): Iterable<WaitParty>;
}

/** Anything a stall report can name: a task, a thing waited for, a node of the writeout graph. */
export interface WaitParty {
  readonly name: string;
  readonly kind?: string;
  heldBy?(): Iterable<WaitParty>;
}

interface Waiter {
  readonly task: TaskContext;
  readonly want: number;
  readonly resolve: (value: number) => void;
  readonly record: Wait | null;
  onAbort: (() => void) | null;
}

/** A first-in first-out queue of waiting tasks. */
export class WaitQueue {
  readonly #waiters: Waiter[] = [];
  #head = 0;

  constructor(readonly target: WaitTarget) {}

  /** Tasks waiting now. */
  get nrWaiters(): number {
    return this.#waiters.length - this.#head;
  }

  /** The task that has waited longest, or null. */
  get oldest(): TaskContext | null {
    return this.nrWaiters === 0 ? null : this.#waiters[this.#head].task;
  }

  /** What the task that has waited longest said it wants; 0 if nobody waits. */
  get oldestWant(): number {
    return this.nrWaiters === 0 ? 0 : this.#waiters[this.#head].want;
  }

  /**
   * Waits to be woken.
   * @param want how much of the thing is wanted, for a waker that counts.
   * @returns the value of the wake-up, or a negative errno if the task's signal aborted.
   */
  wait(task: TaskContext, want = 0): Promise<number | NegErrno> {
    const ended = task.checkSignal();
    if (ended !== 0) return Promise.resolve(ended);
    return new Promise((resolve) => {
      const waiter: Waiter = { task, want, resolve, record: task.waits?.enter(task, this.target) ?? null, onAbort: null };
      const signal = task.signal;
      if (signal !== null) {
        waiter.onAbort = () => {
          const at = this.#waiters.indexOf(waiter, this.#head);
          if (at >= 0) this.#waiters.splice(at, 1);
          if (waiter.record !== null) task.waits?.leave(waiter.record);
          resolve(abortErrno(signal));
        };
        signal.addEventListener('abort', waiter.onAbort, { once: true });
      }
      this.#waiters.push(waiter);
    });
  }

  /** Wakes the oldest waiter. @returns false if nobody waits. */
  wakeOne(value = 0): boolean {
    if (this.nrWaiters === 0) return false;
    const waiter = this.#waiters[this.#head++];
    if (this.#head === this.#waiters.length || this.#head >= 64) {
      this.#waiters.splice(0, this.#head);
      this.#head = 0;
    }
    this.#wake(waiter, value);
    return true;
  }

  #wake({ task, record, onAbort, resolve }: Waiter, value: number): void {
    if (record !== null) task.waits?.leave(record);
    if (onAbort !== null) task.signal?.removeEventListener('abort', onAbort);
    resolve(value);
  }

  /**
   * Offers something to those who wait, oldest first, until one takes it.
   * @param offer gives the value to wake this one with, or null to go on to the next.
   * @returns false if nobody takes it.
   */
  offer(offer: (task: TaskContext, want: number) => number | null): boolean {
    for (let at = this.#head; at < this.#waiters.length; at++) {
      const value = offer(this.#waiters[at].task, this.#waiters[at].want);
      if (value === null) continue;
      this.#wake(this.#waiters.splice(at, 1)[0], value);
      return true;
    }
    return false;
  }

  /** Wakes everyone who waits now. */
  wakeAll(value = 0): void {
    for (let n = this.nrWaiters; n > 0; n--) this.wakeOne(value);
  }
}
