/**
 * What is behind a page cache: the contract of whoever has pages with a backing (a device, a file of a filesystem).
 *
 * Rules that hold for every operation:
 *
 * - It answers 0 or a negative errno, a value if it could be done at once (`T | Promise<T>`). An answer of another kind, a throw and a
 *   rejection count as a failure (EIO, or the errno of a `KernelError`).
 * - Frames it is given stay in place and untouched by others until it has answered.
 * - A wait for an answer ends when the waiter's signal aborts; the operation goes on, and the page is busy until it answers.
 *
 * | a file | `writepages` | `setSize` | `dirtyPage` |
 * |---|---|---|---|
 * | of fixed size: a device | yes | – | – |
 * | of a filesystem | yes | yes | allocates blocks, funds the writeout (M7) |
 * | that only memory holds | – | yes | counts what it may take |
 *
 * Without `writepages` a page that was written stays in memory until it is truncated: it is on no list of reclaim.
 */
import type { NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { Pfn } from '../mm/arena.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';

/** What is behind a page cache. */
export interface AddressSpaceOperations {
  /** Bytes of the file now. Read whenever it matters. */
  readonly sizeBytes: number;
  /**
   * The file is that long from now on: a write has ended behind its end, or a truncation begins. Never waits, never fails.
   * Absent: the size never changes, and a write stops there.
   */
  setSize?(sizeBytes: number): void;
  /**
   * What dirty pages go to, as one queue: caches that name the same object share dirty limits and a flusher (M10). `task.localThrottle`
   * takes the same object. Absent: the cache has limits of its own.
   */
  readonly device?: object;
  /** The node of the writeout graph that dirty pages are written through; null if it has none yet. */
  writesThrough?(): WriteoutNode | null;
  /**
   * Fills a frame with page `index`; what lies behind the end of the file, the cache fills with zeroes. Absent: pages that were never
   * written are zeroes.
   */
  readFolio?(task: TaskContext, index: number, pfn: Pfn): MaybePromise<0 | NegErrno>;
  /** Fills `count` frames, `pfns[from]` onwards, with consecutive pages from `index` on; all or none. Absent: page by page. */
  readahead?(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno>;
  /**
   * A page is about to become dirty: does all that may fail or wait for it to be written later, then calls `change.bringIn()` once, and
   * answers what that answered if it is not 0. `ENOSPC` and `EDQUOT` surface here (M7). May block and reclaim, but holds no lock that its
   * own writeout waits for while it waits for memory (M11). Called for each change, also of a page that is dirty already. Absent: nothing can fail.
   */
  dirtyPage?(task: TaskContext, change: PageChange): MaybePromise<0 | NegErrno>;
  /**
   * Writes `count` frames, `pfns[from]` onwards, to consecutive pages from `index` on: one unit of `writesThrough()`, whose ticket the
   * task bears. Opens no transaction and never allocates beyond the ticket. Absent: only memory holds the file.
   */
  writepages?(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno>;
  /** Most pages of one `writepages`. Default 32. */
  readonly pagesPerWrite?: number;
  /** True if `writepages` begins units of its node itself, say one for each page; then the task it gets bears no ticket. */
  readonly beginsUnits?: boolean;
  /** Makes what was written durable. Absent: it is when it is written. */
  sync?(task: TaskContext): MaybePromise<0 | NegErrno>;
  /**
   * A clean page flagged `PG.PRIVATE` is to be evicted (M18, row 9). Must not allocate, wait or throw.
   * @returns false if the page must stay.
   */
  releasePage?(index: number, pfn: Pfn): boolean;
  /**
   * A page leaves the cache by truncation, punching or invalidation, perhaps dirty: what is kept for it may go. Its flags still say
   * what it was. As `releasePage`.
   */
  invalidate?(index: number, pfn: Pfn): void;
  /** Ends what is in flight, with -EIO, and refuses what comes after: the last resort of a close that may not wait. */
  cutOff?(): Promise<void>;
}

/** One change of one page, for `dirtyPage`. Good until that has answered. */
export interface PageChange {
  readonly index: number;
  /** The frame that has the page, or will have it. */
  readonly pfn: Pfn;
  /** The bytes of the page that change: from 0 to 4096. */
  readonly fromByte: number;
  readonly toByte: number;
  /** True if the page is dirty already, and not being written. */
  readonly isDirty: boolean;
  /**
   * Brings the data in, sets the dirty bit and moves the end of the file, in one step that does not wait.
   * @returns 0; or the errno that `dirtyPage` must then answer: `-EAGAIN` if the page has gone meanwhile (the cache will ask again).
   */
  bringIn(): 0 | NegErrno;
}
