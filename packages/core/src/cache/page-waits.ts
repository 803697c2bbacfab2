/** Where tasks wait for one page of a file: to have been read, to have been written. Queues are made when somebody waits. */
import type { NegErrno } from '../base/errno.js';
import type { WaitParty } from '../task/wait-queue.js';
import { WaitQueue } from '../task/wait-queue.js';
import type { TaskContext } from '../task/task-context.js';

export class PageWaits {
  readonly #queues = new Map<number, WaitQueue>();

  /** @param name of the file. @param heldBy who must act, for stall reports. */
  constructor(
    readonly name: string,
    readonly heldBy: () => Iterable<WaitParty>,
  ) {}

  /** Waits until something happens to the page. @returns what it is woken with, or the errno of the task's signal. */
  wait(task: TaskContext, index: number, doing: string): Promise<number | NegErrno> {
    let queue = this.#queues.get(index);
    if (queue === undefined) {
      queue = new WaitQueue({ kind: 'page', name: `page ${index} of ${this.name}, ${doing}`, heldBy: this.heldBy });
      this.#queues.set(index, queue);
    }
    return queue.wait(task);
  }

  /** Wakes those who wait for the page. */
  wake(index: number, value = 0): void {
    if (this.#queues.size === 0) return;
    const queue = this.#queues.get(index);
    if (queue === undefined) return;
    this.#queues.delete(index);
    queue.wakeAll(value);
  }
}
