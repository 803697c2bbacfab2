/**
 * Brings pages into memory: one task reads a page, the others wait for it.
 *
 * A read is its own: it goes on when the one who wanted it has been interrupted, and its page is LOCKED until the backing answers. If
 * several pages are read in one go and that fails, each is read alone by whoever wants it, so that one bad page is no one else's error.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { Pfn } from '../mm/arena.js';
import { PG } from '../mm/frame-table.js';
import { Gfp } from '../mm/gfp.js';
import type { TaskContext } from '../task/task-context.js';
import type { AddressSpaceOperations } from './address-space-operations.js';
import { ask } from './answer.js';
import type { PageIndex } from './page-index.js';
import type { PageWaits } from './page-waits.js';
import type { RangeLock } from './range-lock.js';
import { largestWindow, type ReadaheadWindow } from './readahead-window.js';

/** What `get` answers for a page behind the end of the file. */
export const BEHIND_END: NegErrno = -Errno.ENODATA;

/** Several pages were read in one go, and failed. */
const SINGLY: NegErrno = -Errno.EAGAIN;

export class PageFiller {
  readonly #pages: PageIndex;
  readonly #ops: AddressSpaceOperations;
  readonly #waits: PageWaits;
  readonly #range: RangeLock;
  readonly #windowMax: number;
  /** Set by a close: no page comes in any more. */
  isClosed = false;
  /** Reads under way. */
  nrReads = 0;
  /** Is told when one has ended. */
  readonly #owner: { readEnded(): void };

  constructor(pages: PageIndex, ops: AddressSpaceOperations, waits: PageWaits, range: RangeLock, owner: { readEnded(): void }) {
    this.#owner = owner;
    this.#pages = pages;
    this.#range = range;
    this.#ops = ops;
    this.#waits = waits;
    this.#windowMax = largestWindow(pages.memory.nrFrames);
  }

  /** Behind it is nothing to read. */
  #endIndex(): number {
    return Math.ceil(this.#ops.sizeBytes / PAGE_SIZE);
  }

  /**
   * A page in memory, valid, with a reference for the caller.
   * @param nrWanted pages that the caller will want, this one included.
   * @param window of a reader; null for who has none, and says himself what is a use.
   * @returns its frame; `BEHIND_END`; or another negative errno.
   */
  async get(task: TaskContext, index: number, nrWanted: number, window: ReadaheadWindow | null): Promise<Pfn | NegErrno> {
    const { frames } = this.#pages.memory;
    for (let most = this.#windowMax; ; ) {
      const found = this.#pages.lookup(index);
      if (found >= 0 && (frames.flags[found] & PG.LOCKED) === 0) {
        if (window !== null) frames.use(found, index === window.last);
        frames.pin(found);
        return found;
      }
      if (found < 0 && this.isClosed) return -Errno.EBADF;
      if (found < 0 && index >= this.#endIndex()) return BEHIND_END;
      if (found < 0 && this.#range.covers(index)) {
        const over = await this.#range.over(task);
        if (over < 0) return over;
        continue;
      }
      if (found < 0) {
        const status = await this.#read(task, index, Math.min(nrWanted, most), most === 1 ? null : window);
        if (status === SINGLY && most > 1) most = 1;
        else if (status < 0) return status;
        continue;
      }
      const woken = await this.#waits.wait(task, index, 'being read');
      if (woken < 0) return woken;
      if (this.#pages.lookup(index) < 0) most = 1;
    }
  }

  /** Has the pages behind a marker read, in spare memory. Never waits. */
  readAhead(task: TaskContext, index: number, window: ReadaheadWindow): void {
    const first = window.next(index, this.#windowMax);
    if (this.isClosed) return;
    let start = first;
    while (start < first + window.size && this.#pages.lookup(start) >= 0) start++;
    if (this.#range.covers(start)) return;
    const count = Math.min(first + window.size, this.#endIndex()) - start;
    if (count <= 0) return;
    const pfn = this.#pages.memory.allocator.allocPage(task, Gfp.FILE | Gfp.SPARE);
    const fill = pfn < 0 ? null : this.#gather(task, start, pfn, count);
    if (fill === null) {
      window.cut(0);
      return;
    }
    this.#mark(start, fill.length, window);
    void this.#fill(task, start, fill);
  }

  /** Begins to read a page that is missing. @returns 0 if it has been begun or is there; or an errno. */
  async #read(task: TaskContext, index: number, nrWanted: number, window: ReadaheadWindow | null): Promise<0 | NegErrno> {
    const { memory } = this.#pages;
    const allocated = memory.allocator.allocPageSlow(task, Gfp.FILE);
    const pfn = isPromise(allocated) ? await allocated : allocated;
    if (pfn < 0) return pfn;
    if (this.isClosed || index >= this.#endIndex() || this.#range.covers(index)) {
      memory.allocator.freePage(pfn);
      return 0; // the caller looks again
    }
    const planned = window === null ? nrWanted : window.miss(index, nrWanted, this.#windowMax);
    const fill = this.#gather(task, index, pfn, Math.min(planned, this.#endIndex() - index));
    if (fill === null) return this.#pages.lookup(index) >= 0 || (await makeRoomForNode(this.#pages, task)) ? 0 : -Errno.ENOMEM;
    if (window !== null) this.#mark(index, fill.length, window);
    memory.counters.pgmajfault++;
    const status = this.#fill(task, index, fill);
    if (isPromise(status)) return 0;
    return status < 0 && fill.length > 1 ? SINGLY : status;
  }

  /** The page whose hit has the next window read. */
  #mark(first: number, count: number, window: ReadaheadWindow): void {
    if (count < window.size) window.cut(count);
    const { marker } = window;
    if (marker <= first || marker >= first + count) return;
    const { flags } = this.#pages.memory.frames;
    flags[this.#pages.lookup(marker)] |= PG.READAHEAD;
  }

  /** Enters locked pages from `first` on, as far as they are missing and spare memory goes. @returns null if not even the first could be. */
  #gather(task: TaskContext, first: number, pfn: Pfn, count: number): Uint32Array | null {
    const { allocator, counters } = this.#pages.memory;
    const pfns = new Uint32Array(count);
    let nrTaken = 0;
    for (let next = pfn; next >= 0; ) {
      pfns[nrTaken++] = next;
      const isWanted = nrTaken < count && this.#pages.lookup(first + nrTaken) < 0 && !this.#range.covers(first + nrTaken);
      next = isWanted ? allocator.allocPage(task, Gfp.FILE | Gfp.SPARE) : -1;
    }
    const taken = pfns.subarray(0, nrTaken);
    if (nrTaken > 1) taken.sort(); // so that a device sees long runs of memory
    let n = 0;
    while (n < nrTaken && this.#pages.enter(first + n, taken[n]) === 0) n++;
    for (let i = n; i < nrTaken; i++) allocator.freePage(taken[i]);
    counters.pgfault += n;
    return n === 0 ? null : taken.subarray(0, n);
  }

  /** Reads what was gathered. @returns the status, or a promise if it is not known yet. */
  #fill(task: TaskContext, first: number, pfns: Uint32Array): MaybePromise<0 | NegErrno> {
    this.nrReads++;
    const reader = task.withSignal(null);
    const { readahead } = this.#ops;
    const answer =
      pfns.length > 1 && readahead !== undefined
        ? ask(() => readahead.call(this.#ops, reader, first, pfns, 0, pfns.length))
        : this.#fillSingly(reader, first, pfns);
    if (!isPromise(answer)) return this.#filled(first, pfns, answer);
    return answer.then((status) => this.#filled(first, pfns, status));
  }

  #fillSingly(task: TaskContext, first: number, pfns: Uint32Array): MaybePromise<0 | NegErrno> {
    for (let i = 0; i < pfns.length; i++) {
      const status = this.#fillOne(task, first + i, pfns[i]);
      if (isPromise(status)) return this.#fillRest(task, first, pfns, i, status);
      if (status < 0) return status;
    }
    return 0;
  }

  /** The pages behind `at` at once; the backing may take them in one go or one by one. */
  async #fillRest(task: TaskContext, first: number, pfns: Uint32Array, at: number, begun: Promise<0 | NegErrno>): Promise<0 | NegErrno> {
    const answers: MaybePromise<0 | NegErrno>[] = [begun];
    for (let i = at + 1; i < pfns.length; i++) answers.push(this.#fillOne(task, first + i, pfns[i]));
    const statuses = await Promise.all(answers);
    return statuses.find((status) => status < 0) ?? 0;
  }

  #fillOne(task: TaskContext, index: number, pfn: Pfn): MaybePromise<0 | NegErrno> {
    const { readFolio } = this.#ops;
    if (readFolio === undefined) {
      this.#pages.memory.arena.zero(pfn);
      return 0;
    }
    return ask(() => readFolio.call(this.#ops, task, index, pfn));
  }

  #filled(first: number, pfns: Uint32Array, status: 0 | NegErrno): 0 | NegErrno {
    for (let i = 0; i < pfns.length; i++) {
      const index = first + i;
      if (status === 0) {
        zeroBehindEnd(this.#pages, index, pfns[i], this.#ops.sizeBytes);
        this.#pages.unlock(pfns[i]);
        this.#pages.unpin(pfns[i]);
      } else this.#pages.abandon(index, pfns[i]);
      this.#waits.wake(index, pfns.length === 1 ? status : 0);
    }
    this.nrReads--;
    this.#pages.memory.allocator.reclaimer?.noteProgress();
    this.#owner.readEnded();
    return status;
  }
}

/** What of a page lies behind the end of the file becomes zeroes. @returns true if something else was there. */
export function zeroBehindEnd(pages: PageIndex, index: number, pfn: Pfn, sizeBytes: number): boolean {
  const from = Math.max(sizeBytes - index * PAGE_SIZE, 0);
  if (from >= PAGE_SIZE) return false;
  const bytes = pages.memory.arena.view(pfn * PAGE_SIZE + from, PAGE_SIZE - from);
  let at = 0;
  while (at < bytes.length && bytes[at] === 0) at++;
  if (at === bytes.length) return false;
  bytes.fill(0, at);
  return true;
}

/** Waits for room for a page and a node of the index. @returns false if there will be none. */
export async function makeRoomForNode(pages: PageIndex, task: TaskContext): Promise<boolean> {
  const { memory } = pages;
  await memory.makeRoom(task, 2);
  return memory.allocator.nrFree - 2 >= memory.allocator.floorOf(task);
}
