/** Where tasks wait for one page of a file: to have been read, to have been written. Queues are made when somebody waits. */
import type { NegErrno } from '../base/errno.js';
import type { WaitParty } from '../task/wait-queue.js';
import { WaitQueue } from '../task/wait-queue.js';
import type { TaskContext } from '../task/task-context.js';

export class PageWaits {
  /** Made when somebody waits: most files are never waited for. */
  #queues: Map<number, WaitQueue> | null = null;

  /** @param file its name, and who must act, for stall reports. */
  constructor(readonly file: WaitParty) {}

  /** Waits until something happens to the page. @returns what it is woken with, or the errno of the task's signal. */
  wait(task: TaskContext, index: number, doing: string): Promise<number | NegErrno> {
    this.#queues ??= new Map();
    let queue = this.#queues.get(index);
    if (queue === undefined) {
      const heldBy = (): Iterable<WaitParty> => this.file.heldBy?.() ?? [];
      queue = new WaitQueue({ kind: 'page', name: `page ${index} of ${this.file.name}, ${doing}`, heldBy });
      this.#queues.set(index, queue);
    }
    return queue.wait(task);
  }

  /** Wakes those who wait for the page. */
  wake(index: number, value = 0): void {
    if (this.#queues === null) return;
    const queue = this.#queues.get(index);
    if (queue === undefined) return;
    this.#queues.delete(index);
    queue.wakeAll(value);
  }
}
