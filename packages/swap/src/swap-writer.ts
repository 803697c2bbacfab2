/**
 * Swapping pages out of memory to one area.
 *
 *     add(page)* → runs of consecutive slots → PinnedFile.swapOut → acknowledged → flush → clean: freed, or kept if used meanwhile
 *                                                      └─ backing trusted: no flush needed ─┘
 *
 * Acknowledged is not durable: a page's frame is freed only when a flush has covered it. Acknowledged pages gather until nothing is in
 * flight or half of the units wait, and are flushed together. If the flush says that the server lost what it had acknowledged
 * (`WRITE_AGAIN`), or fails, every page that waits for a flush becomes dirty again and is written once more; nothing is lost, for all of
 * them are still in memory. So is every page of a run under way at that time, when the run ends: a part of it may have been acknowledged before
 * the loss, and the flush that told of it was the only one that will.
 *
 * A page on its way out is a unit of the area's node (M8), from `add` until it is freed or kept: it holds one of the node's tickets, that
 * of a run's first page goes with the write. Nobody waits for a unit here.
 *
 * A write that fails is tried page by page; a page that fails alone stays in memory, dirty, and its slot is bad once another write has gone well. When 16
 * pages in a row have failed it is not the slots: the area has failed, and takes no more pages for 5 s; then one batch is tried.
 */
import {
  type Memory,
  type NegErrno,
  PG,
  type Pfn,
  type Reclaim,
  type TaskContext,
  type TracePoints,
  type UnitPool,
  WaitQueue,
  WRITE_AGAIN,
  type WriteoutTicket,
  isPromise,
} from '@tidemark/core';
import { nrWriteRuns } from './footprint.js';
import { FLUSH_FAILURES_MAX, FLUSH_LOSSES_MAX, RUN_PAGES, WRITE_FAILURES_MAX, writebackPages } from './params.js';
import type { SwapArea } from './swap-area.js';

/** One write to consecutive slots. */
class WriteRun {
  slot = 0;
  count = 0;
  /** Losses that flushes had told of when it began. */
  nrLosses = 0;
  readonly pfns = new Uint32Array(RUN_PAGES);
  /** Of each page. */
  readonly tickets: WriteoutTicket[] = [];
}

/** Pages with their tickets. */
class PageList {
  count = 0;
  readonly pfns: Uint32Array;
  readonly tickets: WriteoutTicket[] = [];

  constructor(countMax: number) {
    this.pfns = new Uint32Array(countMax);
  }

  push(pfn: Pfn, ticket: WriteoutTicket): void {
    this.pfns[this.count] = pfn;
    this.tickets[this.count++] = ticket;
  }
}

/** What a writer works with. */
export interface SwapWriterParts {
  readonly memory: Memory;
  readonly reclaim: Reclaim;
  readonly trace: TracePoints;
  readonly task: TaskContext;
  /** Frees a frame, and its slot, whose buffer was closed while it was on its way out. */
  readonly freeOrphan: (pfn: Pfn) => void;
}

export class SwapWriter {
  readonly #area: SwapArea;
  readonly #parts: SwapWriterParts;
  readonly #unitsMax: number;
  readonly #spareRuns: WriteRun[] = [];
  #open: WriteRun | null = null;
  #units: UnitPool | null = null;
  /** Acknowledged pages that wait for a flush, and those whose flush is under way. */
  #pending: PageList;
  #flushing: PageList;
  #nrRunsInFlight = 0;
  #nrHeld = 0;
  /** Flushes that failed, and so may have lost what was acknowledged. */
  #nrLosses = 0;
  /** Failures in a row. */
  #flushFailures = 0;
  /** Slots of writes that failed in a row: bad if a later write goes well, innocent if the area turns out to have failed. */
  readonly #suspects: number[] = [];
  readonly #idle: WaitQueue;

  constructor(area: SwapArea, parts: SwapWriterParts) {
    this.#area = area;
    this.#parts = parts;
    this.#unitsMax = writebackPages(parts.memory.nrFrames);
    this.#pending = new PageList(this.#unitsMax);
    this.#flushing = new PageList(this.#unitsMax);
    for (let i = nrWriteRuns(parts.memory.nrFrames); i > 0; i--) this.#spareRuns.push(new WriteRun());
    this.#idle = new WaitQueue({ kind: 'writeback', name: `swap-out to ${area.name}`, heldBy: () => area.backing.worksFor() });
  }

  /** The area's node is admitted: from here on pages may be added. */
  start(units: UnitPool): void {
    this.#units = units;
  }

  /** Pages begun and not ended. */
  get nrHeld(): number {
    return this.#nrHeld;
  }

  /** Pages that could begin now. */
  get room(): number {
    if (this.#area.hasFailed && !this.#area.isOpen) return 0;
    if (this.#spareRuns.length === 0 || this.#units === null) return 0;
    return Math.min(this.#unitsMax - this.nrHeld, this.#units.nrFree);
  }

  /** Begins one dirty page with a slot in this area. Pages with consecutive slots are gathered until `submit`. @returns false if full. */
  add(pfn: Pfn, slot: number): boolean {
    const { frames, arena, counters } = this.#parts.memory;
    if (arena.isZero(pfn)) {
      this.#area.setZero(slot, true);
      frames.flags[pfn] &= ~(PG.DIRTY | PG.RECLAIM);
      counters.swpout_zero++;
      this.#parts.reclaim.endSwapWriteback(pfn);
      return true;
    }
    let run = this.#open;
    if (run !== null && (run.count === RUN_PAGES || run.slot + run.count !== slot)) {
      this.submit();
      run = null;
    }
    if (this.nrHeld >= this.#unitsMax || (run === null && this.#spareRuns.length === 0)) return false; // what is pre-attached is all out
    const { task } = this.#parts;
    const ticket = this.#units?.tryBegin(task) ?? null;
    if (ticket === null) return false;
    this.#nrHeld++;
    if (run === null) {
      run = this.#spareRuns.pop() as WriteRun;
      run.slot = slot;
      run.count = 0;
      this.#open = run;
    }
    run.pfns[run.count] = pfn;
    run.tickets[run.count++] = ticket;
    // Clean before the write begins: whoever writes to it from here on makes it dirty again.
    frames.flags[pfn] = (frames.flags[pfn] & ~PG.DIRTY) | PG.WRITEBACK;
    this.#area.noteContent(slot, pfn);
    return true;
  }

  /** Starts the run that was gathered. */
  submit(): void {
    const run = this.#open;
    if (run === null) return;
    this.#open = null;
    run.nrLosses = this.#nrLosses;
    this.#nrRunsInFlight++;
    const status = this.#area.pinned.swapOut(this.#parts.task.withTicket(run.tickets[0]), run.slot, run.pfns, 0, run.count);
    if (isPromise(status)) void status.then((ended) => this.#runEnded(run, ended));
    else this.#runEnded(run, status);
  }

  #runEnded(run: WriteRun, status: 0 | NegErrno): void {
    if (status !== 0 && run.count > 1) {
      void this.#retrySingly(run);
      return;
    }
    if (status === 0) {
      this.#parts.memory.counters.pswpout += run.count;
      for (let i = 0; i < run.count; i++) this.#acknowledged(run.pfns[i], run.tickets[i], run.nrLosses);
    } else this.#failed(run.pfns[0], run.tickets[0], run.slot, status);
    this.#runDone(run);
  }

  async #retrySingly(run: WriteRun): Promise<void> {
    for (let i = 0; i < run.count; i++) {
      const nrLosses = this.#nrLosses;
      if (this.#area.hasFailed) {
        this.#failed(run.pfns[i], run.tickets[i], run.slot + i, this.#area.failure); // no use trying each: every try may take its device's time limit
        continue;
      }
      const status = await this.#area.pinned.swapOut(this.#parts.task.withTicket(run.tickets[i]), run.slot + i, run.pfns, i, 1);
      if (status === 0) {
        this.#parts.memory.counters.pswpout++;
        this.#acknowledged(run.pfns[i], run.tickets[i], nrLosses);
      } else this.#failed(run.pfns[i], run.tickets[i], run.slot + i, status);
    }
    this.#runDone(run);
  }

  #runDone(run: WriteRun): void {
    run.count = 0;
    this.#spareRuns.push(run);
    this.#nrRunsInFlight--;
    this.#flushIfDue();
    this.#noteProgress();
  }

  /** @param nrLosses those known when the write began. */
  #acknowledged(pfn: Pfn, ticket: WriteoutTicket, nrLosses: number): void {
    const { frames, counters } = this.#parts.memory;
    for (const suspect of this.#suspects.splice(0)) this.#markBad(suspect);
    if (this.#area.trusted) {
      this.#succeeded();
      this.#end(pfn, ticket);
    } else if (nrLosses !== this.#nrLosses) {
      counters.swpout_again++;
      frames.flags[pfn] |= PG.DIRTY;
      this.#end(pfn, ticket);
    } else this.#pending.push(pfn, ticket);
  }

  /** The area takes no more pages for a while. */
  #fail(status: NegErrno): void {
    if (!this.#area.hasFailed && this.#parts.trace.enabled) {
      this.#parts.trace.emit('swap', { area: this.#area.name, state: 'failed', detail: 0 });
    }
    this.#area.fail(status);
  }

  /** What was given to the device is as safe as it gets: if the area had failed, it has no longer. */
  #succeeded(): void {
    if (!this.#area.hasFailed) return;
    this.#area.recover();
    if (this.#parts.trace.enabled) this.#parts.trace.emit('swap', { area: this.#area.name, state: 'on', detail: this.#area.slots.nrSlots });
  }

  #markBad(slot: number): void {
    this.#area.slots.markBad(slot);
    if (this.#parts.trace.enabled) this.#parts.trace.emit('swap', { area: this.#area.name, state: 'bad-slot', detail: slot });
  }

  /** The slot cannot be written: the page stays in memory and gets another one next time. */
  #failed(pfn: Pfn, ticket: WriteoutTicket, slot: number, status: NegErrno): void {
    const { frames, counters } = this.#parts.memory;
    counters.swpout_error++;
    frames.flags[pfn] |= PG.DIRTY;
    this.#area.leaveCache(slot, pfn, 0);
    this.#suspects.push(slot);
    if (this.#area.hasFailed || this.#suspects.length >= WRITE_FAILURES_MAX) {
      this.#fail(status);
      for (const suspect of this.#suspects.splice(0)) this.#area.freeSlot(suspect);
    }
    this.#end(pfn, ticket);
  }

  /** A page's way out is over. */
  #end(pfn: Pfn, ticket: WriteoutTicket): void {
    const { flags } = this.#parts.memory.frames;
    flags[pfn] &= ~(PG.WRITEBACK | PG.RECLAIM);
    this.#nrHeld--;
    ticket.end();
    if ((flags[pfn] & PG.ORPHAN) !== 0) this.#parts.freeOrphan(pfn);
    else this.#parts.reclaim.endSwapWriteback(pfn);
  }

  #flushIfDue(): void {
    if (this.#flushing.count > 0 || this.#pending.count === 0) return;
    if (this.#nrRunsInFlight > 0 && this.#pending.count * 2 < this.#unitsMax) return;
    [this.#pending, this.#flushing] = [this.#flushing, this.#pending];
    const status = this.#area.pinned.flush(this.#parts.task.withTicket(this.#flushing.tickets[0]));
    if (isPromise(status)) void status.then((ended) => this.#flushEnded(ended));
    else this.#flushEnded(status);
  }

  #flushEnded(status: 0 | NegErrno): void {
    const { counters } = this.#parts.memory;
    if (status === 0) {
      this.#flushFailures = 0;
      this.#succeeded();
    } else {
      const isLost = status === WRITE_AGAIN;
      const nrPages = this.#flushing.count + this.#pending.count;
      this.#markDirty(this.#flushing);
      this.#markDirty(this.#pending);
      this.#nrLosses++;
      if (isLost) counters.swpout_again += nrPages;
      else counters.swpout_error += nrPages;
      if (++this.#flushFailures >= (isLost ? FLUSH_LOSSES_MAX : FLUSH_FAILURES_MAX)) this.#fail(status);
      this.#endAll(this.#pending);
    }
    this.#endAll(this.#flushing);
    this.#flushIfDue();
    this.#noteProgress();
  }

  #markDirty({ pfns, count }: PageList): void {
    const { flags } = this.#parts.memory.frames;
    for (let i = 0; i < count; i++) flags[pfns[i]] |= PG.DIRTY;
  }

  /** Their way out is over; the list is empty when the last has ended, and takes no other until then. */
  #endAll(list: PageList): void {
    for (let i = 0; i < list.count; i++) this.#end(list.pfns[i], list.tickets[i]);
    list.count = 0;
  }

  #noteProgress(): void {
    this.#parts.reclaim.noteProgress();
    if (this.nrHeld === 0) this.#idle.wakeAll();
  }

  /** Waits until nothing is on its way out. @returns 0, or the errno of the task's signal. */
  async idle(task: TaskContext): Promise<0 | NegErrno> {
    while (this.nrHeld > 0) {
      const ended = await this.#idle.wait(task);
      if (ended < 0) return ended;
    }
    return 0;
  }
}
