/**
 * Who waits for what, now: the raw material of a stall report (M22). Every wait in core passes through a `WaitQueue`, which enters it
 * here if its task belongs to a kernel. Costs nothing when nobody waits.
 */
import type { TaskContext } from './task-context.js';
import type { WaitTarget } from './wait-queue.js';

/** One task waiting. */
export interface Wait {
  readonly task: TaskContext;
  readonly target: WaitTarget;
  /** On the kernel's clock. */
  readonly sinceMs: number;
}

/** The waits of one kernel, oldest first. */
export class WaitRegistry implements Iterable<Wait> {
  readonly #waits = new Set<Wait>();

  constructor(private readonly nowMs: () => number) {}

  get size(): number {
    return this.#waits.size;
  }

  enter(task: TaskContext, target: WaitTarget): Wait {
    const wait: Wait = { task, target, sinceMs: this.nowMs() };
    this.#waits.add(wait);
    return wait;
  }

  leave(wait: Wait): void {
    this.#waits.delete(wait);
  }

  [Symbol.iterator](): Iterator<Wait> {
    return this.#waits[Symbol.iterator]();
  }
}
