/** A completion: one event that happens once, and any number of tasks that wait for it. */
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TaskContext } from './task-context.js';
import { WaitQueue, type WaitTarget } from './wait-queue.js';

/** Ends with a status: 0 or above for success, below 0 for `-Errno.X`. */
export class Completion {
  readonly #queue: WaitQueue;
  #status: number | null = null;

  constructor(target: WaitTarget) {
    this.#queue = new WaitQueue(target);
  }

  get isDone(): boolean {
    return this.#status !== null;
  }

  /** Ends it; only the first call counts. */
  complete(status = 0): void {
    if (this.#status !== null) return;
    this.#status = status;
    this.#queue.wakeAll(status);
  }

  /** The status, now or when it is known. */
  wait(task: TaskContext): MaybePromise<number> {
    return this.#status ?? this.#queue.wait(task);
  }
}
