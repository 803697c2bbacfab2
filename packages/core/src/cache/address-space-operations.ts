/**
 * What is behind a page cache: the contract of whoever has pages with a backing (a device today, a file of a filesystem later).
 */
import type { NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { Pfn } from '../mm/arena.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';

/** What is behind a page cache. Statuses are 0 or a negative errno; a value, not a promise, if it could be done at once. */
export interface AddressSpaceOperations {
  readonly sizeBytes: number;
  /** As `AddressSpace.writesThrough`. */
  writesThrough?(): WriteoutNode | null;
  /** Fills a frame with page `index`. */
  readFolio(task: TaskContext, index: number, pfn: Pfn): MaybePromise<0 | NegErrno>;
  /** Writes `count` frames, `pfns[from]` onwards, to consecutive pages from `index` on. Never allocates beyond the task's ticket. */
  writepages(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno>;
  /** Makes what was written durable. */
  sync(task: TaskContext): MaybePromise<0 | NegErrno>;
  /** Ends what is in flight, with -EIO, and refuses what comes after: the last resort of a close that may not wait. */
  cutOff(): Promise<void>;
}
