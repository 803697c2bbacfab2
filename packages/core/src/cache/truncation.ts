/**
 * Pages that go because the file says so: truncation, holes, invalidation, writes past the cache.
 *
 * The range that goes is held by `RangeLock`. A page that is being read or written is waited for, since its frame and its blocks are in use;
 * one that somebody holds a reference to leaves the index at once, and its frame goes with its last user.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import { XA_MAX_INDEX } from '../base/xarray.js';
import type { Pfn } from '../mm/arena.js';
import { PG } from '../mm/frame-table.js';
import type { TaskContext } from '../task/task-context.js';
import { BEHIND_END, zeroBehindEnd } from './page-filler.js';
import { PageWrite, type WriteParts } from './page-write.js';

/** What becomes of pages that differ from their backing. */
type Dirty = 'dropped' | 'kept';

/** Frees what is behind pages `first` to `last`; none if `last` is less. */
export type FreePages = (first: number, last: number) => MaybePromise<0 | NegErrno>;

export class Truncation {
  readonly #parts: WriteParts;

  constructor(parts: WriteParts) {
    this.#parts = parts;
  }

  /**
   * Gives the file another size. What lies behind a smaller one is gone, and reads as zeroes if the file grows again; the rest of its last page
   * is zeroed, and dirty.
   * @param free has the backing free what is behind the new end; no page of that comes in meanwhile.
   * @returns 0 or a negative errno; then the size may be as it was.
   */
  async resize(task: TaskContext, sizeBytes: number, free: () => MaybePromise<0 | NegErrno>): Promise<0 | NegErrno> {
    const { ops } = this.#parts;
    if (ops.setSize === undefined) return -Errno.EINVAL;
    const first = Math.ceil(sizeBytes / PAGE_SIZE);
    return this.#withPages(task, [sizeBytes], () => this.#resizeIn(task, sizeBytes, first, free));
  }

  #resizeIn(task: TaskContext, sizeBytes: number, first: number, free: () => MaybePromise<0 | NegErrno>): Promise<0 | NegErrno> {
    const { ops } = this.#parts;
    return this.#parts.range.exclusively(task, first, XA_MAX_INDEX, async () => {
      const before = ops.sizeBytes;
      if (sizeBytes < before) {
        const status = await this.#zero(task, sizeBytes, Math.min(before, first * PAGE_SIZE));
        if (status < 0) return status;
      }
      ops.setSize?.(sizeBytes);
      if (sizeBytes < before) this.#zeroTail(first - 1);
      const status = await this.#drop(task.withSignal(null), first, XA_MAX_INDEX, 'dropped'); // once the size has changed there is no way back
      return status < 0 ? status : free();
    });
  }

  /**
   * As `resize`, if nothing has to be waited for: no range is going, no page that goes is in use, and the rest of the last page need not be
   * zeroed where it is stored.
   * @returns false if something has; then nothing was done.
   */
  resizeAtOnce(sizeBytes: number): boolean {
    const { ops, range } = this.#parts;
    const before = ops.sizeBytes;
    const first = Math.ceil(sizeBytes / PAGE_SIZE);
    const zeroes = sizeBytes < before && sizeBytes % PAGE_SIZE !== 0;
    if (ops.setSize === undefined || (zeroes && ops.writepages !== undefined) || !range.isFree) return false;
    if (this.#nextInUse(zeroes ? first - 1 : first) >= 0) return false;
    ops.setSize(sizeBytes);
    if (zeroes) this.#zeroTail(first - 1);
    if (sizeBytes < before) this.dropAtOnce(first);
    return true;
  }

  /** Takes every page from `first` on out of memory, whether it is written or not. @returns false if some are in use; they stay. */
  dropAtOnce(first: number): boolean {
    if (this.#nextInUse(first) >= 0) return false;
    const { pages } = this.#parts;
    for (let index = pages.nextPage(first); index >= 0; index = pages.nextPage(index + 1)) this.#takeOut(index, pages.lookup(index));
    pages.forgetShadows(first, XA_MAX_INDEX);
    return true;
  }

  /** The first page from `index` on that is being read or written, or -1. */
  #nextInUse(index: number): number {
    const { pages } = this.#parts;
    const { flags } = pages.memory.frames;
    let next = pages.nextPage(index);
    while (next >= 0 && (flags[pages.lookup(next)] & (PG.LOCKED | PG.WRITEBACK)) === 0) next = pages.nextPage(next + 1);
    return next;
  }

  #takeOut(index: number, pfn: Pfn): void {
    const { pages, dirty, ops } = this.#parts;
    ops.invalidate?.(index, pfn);
    dirty.unmark(pfn, index);
    pages.detach(index, pfn);
  }

  /**
   * Makes a hole: whole pages go, the last one of the file also if the hole reaches its end; the rest of the pages at its ends is zeroed. The
   * size stays.
   * @param free has the backing free what is behind the pages that go, while none of them can come in; nobody sees what was there once this
   * has ended. It must free all of these pages, and no other.
   * @returns 0 or a negative errno.
   */
  async punch(task: TaskContext, offsetBytes: number, lengthBytes: number, free: FreePages): Promise<0 | NegErrno> {
    const { sizeBytes } = this.#parts.ops;
    const end = Math.min(offsetBytes + lengthBytes, sizeBytes);
    if (end <= offsetBytes) return free(0, -1);
    const first = Math.ceil(offsetBytes / PAGE_SIZE);
    const last = (end === sizeBytes ? Math.ceil(end / PAGE_SIZE) : Math.floor(end / PAGE_SIZE)) - 1;
    const hole = async (): Promise<0 | NegErrno> => {
      let status = await this.#zero(task, offsetBytes, Math.min(first * PAGE_SIZE, end));
      if (status === 0) status = await this.#zero(task, Math.max((last + 1) * PAGE_SIZE, first * PAGE_SIZE), end);
      const patient = task.withSignal(null);
      if (status === 0) status = await this.#drop(patient, first, last, 'dropped');
      return status < 0 ? status : free(first, last);
    };
    return this.#withPages(task, [offsetBytes, end], () => this.#parts.range.exclusively(task, first, last, hole));
  }

  /**
   * Does `work` with the pages in memory that some offsets cut in two. They are brought in before a range is held: whoever writes out may come to
   * wait for it, and nobody whom writeout waits for may wait for memory (M11).
   */
  async #withPages(task: TaskContext, offsets: readonly number[], work: () => Promise<0 | NegErrno>): Promise<0 | NegErrno> {
    const { pages, filler, ops } = this.#parts;
    const held: Pfn[] = [];
    let status: 0 | NegErrno = 0;
    for (const offset of offsets) {
      if (offset % PAGE_SIZE === 0 || offset >= ops.sizeBytes) continue;
      const pfn = await filler.get(task, Math.floor(offset / PAGE_SIZE), 1, null);
      if (pfn >= 0) held.push(pfn);
      else if (pfn !== BEHIND_END) status = pfn;
      if (status < 0) break;
    }
    if (status === 0) status = await work();
    for (const pfn of held) pages.unpin(pfn);
    return status;
  }

  /**
   * Lets go of the clean pages of a range: others have changed what is behind them. Dirty ones stay.
   * @returns 0; `-EBUSY` if dirty ones stayed; or the errno of the task's signal.
   */
  invalidate(task: TaskContext, offsetBytes: number, lengthBytes: number): Promise<0 | NegErrno> {
    const first = Math.floor(offsetBytes / PAGE_SIZE);
    const last = Math.ceil((offsetBytes + lengthBytes) / PAGE_SIZE) - 1;
    return this.#parts.range.exclusively(task, XA_MAX_INDEX, -1, () => this.#drop(task, first, last, 'kept'));
  }

  /**
   * Has whole pages replaced behind the cache: those in memory go, dirty or not, and none comes in until `work` has ended.
   * @returns what it does, or the errno of the task's signal.
   */
  replace(task: TaskContext, offsetBytes: number, lengthBytes: number, work: () => Promise<0 | NegErrno>): Promise<0 | NegErrno> {
    const first = Math.floor(offsetBytes / PAGE_SIZE);
    const last = Math.ceil((offsetBytes + lengthBytes) / PAGE_SIZE) - 1;
    return this.#parts.range.exclusively(task, first, last, async () => {
      const status = await this.#drop(task, first, last, 'dropped');
      return status < 0 ? status : work();
    });
  }

  /** Zeroes bytes within one page. A page that holds zeroes there already stays as it is. */
  async #zero(task: TaskContext, fromBytes: number, toBytes: number): Promise<0 | NegErrno> {
    if (toBytes <= fromBytes) return 0;
    const parts = this.#parts;
    const { pages, filler } = parts;
    const index = Math.floor(fromBytes / PAGE_SIZE);
    const pfn = await filler.get(task, index, 1, null);
    if (pfn < 0) return pfn === BEHIND_END ? 0 : pfn; // the file became shorter while we waited
    const bytes = pages.memory.arena.view(pfn * PAGE_SIZE + (fromBytes - index * PAGE_SIZE), toBytes - fromBytes);
    const isZero = bytes.every((byte) => byte === 0);
    pages.unpin(pfn);
    if (isZero) return 0;
    const done = await new PageWrite(parts).run(task, fromBytes, null, toBytes - fromBytes, false);
    return Math.min(done, 0);
  }

  /** A write beside the truncation may have put something behind the new end meanwhile. */
  #zeroTail(index: number): void {
    const { pages, dirty, ops } = this.#parts;
    const pfn = index < 0 ? -1 : pages.lookup(index);
    if (pfn < 0 || (pages.memory.frames.flags[pfn] & PG.LOCKED) !== 0) return;
    if (zeroBehindEnd(pages, index, pfn, ops.sizeBytes)) dirty.mark(pfn, index);
  }

  /** Takes the pages of a range out of memory. */
  async #drop(task: TaskContext, first: number, last: number, dirtyOnes: Dirty): Promise<0 | NegErrno> {
    const { pages, waits } = this.#parts;
    const { flags } = pages.memory.frames;
    let status: 0 | NegErrno = 0;
    for (let index = pages.nextPage(first); index >= 0 && index <= last; index = pages.nextPage(index + 1)) {
      const pfn = pages.lookup(index);
      if ((flags[pfn] & (PG.LOCKED | PG.WRITEBACK)) !== 0) {
        await waits.wait(task, index, (flags[pfn] & PG.LOCKED) !== 0 ? 'being read' : 'being written');
        const ended = task.checkSignal();
        if (ended < 0) return ended;
        index--; // it may have gone, or be another
        continue;
      }
      if ((flags[pfn] & PG.DIRTY) !== 0 && dirtyOnes === 'kept') {
        status = -Errno.EBUSY;
        continue;
      }
      this.#takeOut(index, pfn);
    }
    pages.forgetShadows(first, last);
    return status;
  }
}
