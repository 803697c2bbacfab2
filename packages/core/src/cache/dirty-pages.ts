/**
 * The dirty pages of one cache: which they are, and their way out.
 *
 *     dirty ──fill a run──► WRITEBACK, clean ──ended──► clean
 *       ▲                        │  └─ written to meanwhile: dirty again, written again
 *       └────────failed──────────┘
 *
 * A run is one `writepages`: consecutive pages, one unit of the node they are written through (M8). Whoever may not wait takes a unit if
 * there is one; a sync waits. A failure is kept in `errors`, and what failed stays dirty.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { isPromise } from '../base/maybe-promise.js';
import { XaMark } from '../base/xarray.js';
import type { Pfn } from '../mm/arena.js';
import { PG } from '../mm/frame-table.js';
import type { WriteoutTicket } from '../mm/ticket.js';
import type { UnitPool } from '../mm/unit-pool.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import { TaskContext } from '../task/task-context.js';
import { anyPage, type MayWrite } from './address-space.js';
import type { AddressSpaceOperations } from './address-space-operations.js';
import { ask } from './answer.js';
import { type Backing, type DirtyCache, FAILURES_MAX } from './backing.js';
import { ErrorSequence } from './error-sequence.js';
import type { PageIndex } from './page-index.js';
import type { PageWaits } from './page-waits.js';
import type { RangeLock } from './range-lock.js';
import { RUN_PAGES, type WriteRun } from './write-run.js';

/** What the dirty pages of a cache need of the kernel. */
export interface DirtyPagesParts {
  readonly pages: PageIndex;
  readonly ops: AddressSpaceOperations;
  readonly waits: PageWaits;
  readonly backing: Backing;
  readonly range: RangeLock;
  /** The kernel's clock, and its units. */
  readonly writeback: {
    nowMs(): number;
    /** The units of a node that was admitted; else null. */
    unitsOf(node: WriteoutNode): UnitPool | null;
  };
}

export class DirtyPages implements DirtyCache {
  readonly errors = new ErrorSequence();
  readonly #parts: DirtyPagesParts;
  /** Made with the first run. */
  #madeTask: TaskContext | null = null;
  readonly #pagesPerWrite: number;
  #nrDirty = 0;
  #nrKept = 0;
  #nrRuns = 0;
  /** Where `startWriteback` goes on, so that a page that is written all the time does not hold up those behind it. */
  #resumeAt = 0;
  #dirtySinceMs = 0;
  /** No page beyond it was ever dirty. */
  #highestDirtied = -1;

  /** @param file whose they are, for people. */
  constructor(
    readonly file: { readonly name: string },
    parts: DirtyPagesParts,
  ) {
    this.#parts = parts;
    this.#pagesPerWrite = Math.max(1, Math.min(RUN_PAGES, parts.ops.pagesPerWrite ?? RUN_PAGES));
  }

  get name(): string {
    return this.file.name;
  }

  get #task(): TaskContext {
    this.#madeTask ??= TaskContext.root(`flusher ${this.name}`).asReclaimer();
    return this.#madeTask;
  }

  get nrDirty(): number {
    return this.#nrDirty;
  }

  /** Pages that only memory holds. */
  get nrKept(): number {
    return this.#nrKept;
  }

  get dirtySinceMs(): number {
    return this.#dirtySinceMs;
  }

  /** Writes in flight. */
  get nrRuns(): number {
    return this.#nrRuns;
  }

  writesThrough(): WriteoutNode | null {
    return this.#parts.ops.writesThrough?.() ?? null;
  }

  /** A page differs from its backing from now on. */
  mark(pfn: Pfn, index: number): void {
    const { pages, ops, backing } = this.#parts;
    const { frames, counters, fileCounts } = pages.memory;
    if ((frames.flags[pfn] & PG.DIRTY) !== 0) return;
    frames.flags[pfn] |= PG.DIRTY;
    counters.nr_dirtied++;
    if (ops.writepages === undefined) {
      pages.aging.remove(pfn);
      this.#nrKept++;
      fileCounts.nrKept++;
      return;
    }
    pages.cells.setMark(index, XaMark.DIRTY);
    if (index > this.#highestDirtied) this.#highestDirtied = index;
    fileCounts.nrDirty++;
    backing.nrDirty++;
    if (this.#nrDirty++ > 0) return;
    this.#dirtySinceMs = this.#parts.writeback.nowMs();
    backing.noteDirty(this);
  }

  /** A page that is not being written need not be any more: it leaves the cache. */
  unmark(pfn: Pfn, index: number): void {
    const { pages, ops } = this.#parts;
    const { frames, fileCounts } = pages.memory;
    if ((frames.flags[pfn] & PG.DIRTY) === 0) return;
    frames.flags[pfn] &= ~PG.DIRTY;
    if (ops.writepages === undefined) {
      this.#nrKept--;
      fileCounts.nrKept--;
      return;
    }
    pages.cells.clearMark(index, XaMark.DIRTY);
    this.#lessDirty(1);
    this.#progressed();
  }

  /** Waiters for writeback look again. */
  #progressed(): void {
    const { pages, backing } = this.#parts;
    backing.idle.wakeAll();
    pages.memory.fileCounts.written.wakeAll();
    backing.watcher.hasProgressed(backing);
  }

  #lessDirty(nrPages: number): void {
    const { pages, backing } = this.#parts;
    this.#nrDirty -= nrPages;
    backing.nrDirty -= nrPages;
    pages.memory.fileCounts.nrDirty -= nrPages;
    if (this.#nrDirty === 0 && nrPages > 0) backing.noteClean(this);
  }

  startWriteback(nrPages: number, mayWrite: MayWrite = anyPage): number {
    const { backing } = this.#parts;
    const first = this.#resumeAt;
    let hasWrapped = first === 0;
    let started = 0;
    while (started < nrPages && backing.spareRuns.length > 0 && backing.failuresInARow < FAILURES_MAX) {
      const index = this.#nextToWrite(this.#resumeAt, mayWrite);
      if (index < 0 || (hasWrapped && first > 0 && index >= first)) {
        if (index >= 0 || hasWrapped) break;
        hasWrapped = true;
        this.#resumeAt = 0;
        continue;
      }
      const ticket = this.#tryBegin();
      if (ticket === undefined) break;
      const count = this.#beginRun(index, ticket, mayWrite);
      this.#resumeAt = index + count;
      started += count;
    }
    if (started === 0) this.#resumeAt = 0;
    return started;
  }

  /** Where the unit of a run comes from; null if nobody bounds it. */
  get #units(): UnitPool | null {
    const node = this.writesThrough();
    return node === null ? null : this.#parts.writeback.unitsOf(node);
  }

  /** @returns a unit; null if a run needs none; undefined if there is none now. */
  #tryBegin(): WriteoutTicket | null | undefined {
    const units = this.#units;
    if (units === null) return null;
    if (this.#parts.ops.beginsUnits === true) return units.nrFree > 0 ? null : undefined;
    return units.tryBegin(this.#task) ?? undefined;
  }

  /** The first page from `index` on that is dirty and not being written, or -1. */
  #nextToWrite(index: number, mayWrite: MayWrite): number {
    const { pages, range } = this.#parts;
    const { flags } = pages.memory.frames;
    let next = pages.cells.findNext(index, XaMark.DIRTY);
    const isNone = (pfn: Pfn): boolean => (flags[pfn] & PG.WRITEBACK) !== 0 || range.covers(next) || !mayWrite(pfn);
    while (next >= 0 && isNone(pages.lookup(next))) {
      next = pages.cells.findNext(range.covers(next) ? range.last + 1 : next + 1, XaMark.DIRTY);
    }
    return next;
  }

  /** Begins to write dirty pages from `index` on; there is a spare run. @returns how many. */
  #beginRun(index: number, ticket: WriteoutTicket | null, mayWrite: MayWrite): number {
    const { ops, backing } = this.#parts;
    const run = backing.spareRuns.pop() as WriteRun;
    run.serial = ++backing.nrRunsBegun;
    run.owner = this;
    run.ticket = ticket;
    this.#nrRuns++;
    this.#fillRun(run, index, mayWrite);
    const { count } = run;
    const task = ticket === null ? this.#task : this.#task.withTicket(ticket);
    const status = ask(() => (ops.writepages as NonNullable<typeof ops.writepages>).call(ops, task, run.index, run.pfns, 0, count));
    if (isPromise(status)) void status.then((ended) => this.#runEnded(run, ended));
    else this.#runEnded(run, status);
    return count;
  }

  /** Gathers dirty pages with consecutive indexes; they are clean before their write begins. */
  #fillRun(run: WriteRun, first: number, mayWrite: MayWrite): void {
    const { pages, backing, range } = this.#parts;
    const { frames, fileCounts } = pages.memory;
    run.index = first;
    run.count = 0;
    while (run.count < this.#pagesPerWrite && !range.covers(first + run.count)) {
      const index = first + run.count;
      const pfn = pages.lookup(index);
      if (pfn < 0 || (frames.flags[pfn] & (PG.DIRTY | PG.WRITEBACK | PG.LOCKED)) !== PG.DIRTY || !mayWrite(pfn)) break;
      frames.flags[pfn] = (frames.flags[pfn] & ~PG.DIRTY) | PG.WRITEBACK;
      pages.cells.clearMark(index, XaMark.DIRTY);
      run.pfns[run.count++] = pfn;
    }
    this.#lessDirty(run.count);
    backing.nrWriteback += run.count;
    fileCounts.nrWriteback += run.count;
  }

  #runEnded(run: WriteRun, status: 0 | NegErrno): void {
    const { pages, backing, waits } = this.#parts;
    const { frames, fileCounts, counters, allocator } = pages.memory;
    fileCounts.nrWriteback -= run.count;
    backing.nrWriteback -= run.count;
    for (let i = 0; i < run.count; i++) {
      const pfn = run.pfns[i];
      const index = run.index + i;
      const wanted = (frames.flags[pfn] & PG.RECLAIM) !== 0;
      frames.flags[pfn] &= ~(PG.WRITEBACK | PG.RECLAIM);
      if (status !== 0) this.mark(pfn, index);
      else if (wanted && (frames.flags[pfn] & (PG.LRU | PG.DIRTY)) === PG.LRU) {
        pages.aging.rotate(pfn);
        counters.pgrotated++;
      }
      waits.wake(index);
    }
    if (status === 0) {
      counters.nr_written += run.count;
      backing.nrRecent += run.count;
      backing.failuresInARow = 0;
    } else {
      this.errors.report(status);
      backing.failuresInARow++;
      backing.lastError = status;
    }
    run.ticket?.end();
    run.ticket = null;
    run.owner = null;
    run.serial = 0;
    this.#nrRuns--;
    backing.spareRuns.push(run);
    this.#progressed();
    allocator.reclaimer?.noteProgress();
  }

  /**
   * Writes every page of a range that is dirty now, each tried once. What becomes dirty meanwhile need not be written. Failures are in `errors`.
   * @param last index of the last page.
   * @returns 0, or the errno of the task's signal.
   */
  async write(task: TaskContext, first: number, last: number): Promise<0 | NegErrno> {
    const { backing } = this.#parts;
    backing.failuresInARow = 0;
    backing.nrSyncs++;
    const status = await this.#write(task, first, Math.min(last, this.#highestDirtied));
    backing.nrSyncs--;
    return status;
  }

  /**
   * One ascending pass. Runs of before end first: a page they write may be dirty anew. A page that the pass finds being written is so since
   * the call began, with what it was to write.
   */
  async #write(task: TaskContext, first: number, last: number): Promise<0 | NegErrno> {
    const { backing } = this.#parts;
    let status = await this.runsEnded(task);
    for (let index = first; status === 0; ) {
      if (this.#nextInRange(index, last) < 0) return this.runsEnded(task);
      if (backing.spareRuns.length === 0) {
        status = await backing.idle.wait(task);
        continue;
      }
      const ticket = await this.#begin(task);
      if (typeof ticket === 'number') return ticket;
      index = this.#nextInRange(index, last);
      if (index >= 0 && backing.spareRuns.length > 0) index += this.#beginRun(index, ticket, anyPage);
      else {
        ticket?.end();
        if (index < 0) return this.runsEnded(task);
      }
    }
    return status;
  }

  #nextInRange(index: number, last: number): number {
    const next = this.#nextToWrite(index, anyPage);
    return next > last ? -1 : next;
  }

  /** Waits for a unit. @returns it, null if a run needs none, or the errno of the task's signal. */
  async #begin(task: TaskContext): Promise<WriteoutTicket | null | NegErrno> {
    const units = this.#parts.ops.beginsUnits === true ? null : this.#units;
    return units === null ? null : units.begin(task);
  }

  /** Writes pages that are not in the cache, a unit for each call; waits for units. @returns 0 or a negative errno. */
  async writeNow(task: TaskContext, index: number, pfns: Uint32Array, count: number): Promise<0 | NegErrno> {
    const { ops } = this.#parts;
    const { writepages } = ops;
    if (writepages === undefined) return -Errno.EINVAL;
    let status: 0 | NegErrno = 0;
    for (let done = 0; status === 0 && done < count; done += this.#pagesPerWrite) {
      const ticket = await this.#begin(task);
      if (typeof ticket === 'number') return ticket;
      const writer = ticket === null ? this.#task : this.#task.withTicket(ticket);
      status = await ask(() => writepages.call(ops, writer, index + done, pfns, done, Math.min(this.#pagesPerWrite, count - done)));
      ticket?.end();
    }
    return status;
  }

  /** Waits for this cache's runs begun so far, not for later ones. @returns 0, or the errno of the task's signal. */
  async runsEnded(task: TaskContext): Promise<0 | NegErrno> {
    const { backing } = this.#parts;
    const latest = backing.nrRunsBegun;
    const isRunning = (): boolean => backing.runs.some(({ owner, serial }) => owner === this && serial > 0 && serial <= latest);
    let status = 0;
    while (status === 0 && isRunning()) status = await backing.idle.wait(task);
    return status;
  }

  /** Forgets what could not be written; nothing is in flight. */
  drop(): void {
    this.#parts.pages.memory.fileCounts.nrKept -= this.#nrKept;
    this.#nrKept = 0;
    this.#lessDirty(this.#nrDirty);
    this.#progressed();
  }
}
