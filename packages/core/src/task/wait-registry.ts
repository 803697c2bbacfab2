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
  /** Its stack tells where the wait began; only if the registry keeps sites. */
  readonly site?: Error;
}

/** The waits of one kernel, oldest first. */
export class WaitRegistry implements Iterable<Wait> {
  readonly #waits = new Set<Wait>();
  /** Told when the first task waits, and when the last one no longer does; for the watchdog. */
  onChange: ((isBusy: boolean) => void) | null = null;
  /** Keeps where each wait began, for stall reports: a stack trace a wait. */
  keepsSites = false;

  constructor(private readonly nowMs: () => number) {}

  get size(): number {
    return this.#waits.size;
  }

  enter(task: TaskContext, target: WaitTarget): Wait {
    const wait: Wait = { task, target, sinceMs: this.nowMs(), site: this.keepsSites ? new Error() : undefined };
    this.#waits.add(wait);
    if (this.#waits.size === 1) this.onChange?.(true);
    return wait;
  }

  leave(wait: Wait): void {
    if (this.#waits.delete(wait) && this.#waits.size === 0) this.onChange?.(false);
  }

  [Symbol.iterator](): Iterator<Wait> {
    return this.#waits[Symbol.iterator]();
  }
}
