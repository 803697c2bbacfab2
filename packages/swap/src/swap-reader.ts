/**
 * Bringing pages back from one area: a fault reads its slot and, in the same aligned window, the neighbours that are in use (M9).
 *
 * Neighbours never use a ticket, never start reclaim, and are the first to go. They enter the swap cache unmapped, owned by the area,
 * and become a buffer's page when it faults on them. The window starts at 8 pages, doubles when three quarters of what
 * was read ahead has been used (or nothing was and faults follow each other), and halves when less than half has been.
 */
import {
  Errno,
  isPromise,
  Gfp,
  type Memory,
  type MaybePromise,
  type NegErrno,
  PG,
  type Pfn,
  PutBack,
  type Reclaim,
  TaskContext,
  WaitQueue,
} from '@tidemark/core';
import { READAHEAD_MAX_PAGES, READAHEAD_START_PAGES } from './params.js';
import type { SwapArea } from './swap-area.js';

/** Look at the cell again: somebody else was faster. No errno, so that no device can answer it. */
export const RETRY: NegErrno = -4096;

const READAHEAD_TASK = TaskContext.root('swap readahead');

export class SwapReader {
  readonly #area: SwapArea;
  readonly #memory: Memory;
  readonly #reclaim: Reclaim;
  readonly #windowMax: number;
  #window = READAHEAD_START_PAGES;
  /** Since the last read: pages read ahead that were used, and pages read ahead. */
  #hits = 0;
  #nrAhead = 0;
  #lastSlot = 0;
  #nrReads = 0;
  readonly #idle: WaitQueue;

  constructor(area: SwapArea, memory: Memory, reclaim: Reclaim) {
    this.#area = area;
    this.#memory = memory;
    this.#reclaim = reclaim;
    this.#idle = new WaitQueue({ kind: 'read', name: `swap-in from ${area.name}`, heldBy: () => area.backing.worksFor() });
    const { transferPages } = area.backing;
    this.#windowMax = Math.min(READAHEAD_MAX_PAGES, 2 ** Math.floor(Math.log2(transferPages)));
    this.#window = Math.min(this.#window, this.#windowMax);
  }

  /** A page that was read ahead has been used. */
  noteHit(): void {
    this.#hits++;
    this.#memory.counters.swap_ra_hit++;
  }

  /**
   * Brings the page of `slot` into memory and leaves it in the swap cache with one reference, which the caller drops.
   * @returns its frame; `RETRY` if the slot's state changed while memory was waited for; else a negative errno (EIO, ENOMEM, …).
   */
  read(task: TaskContext, slot: number): MaybePromise<Pfn | NegErrno> {
    const pfn = this.#memory.allocator.allocPageSlow(task, Gfp.ANON);
    if (isPromise(pfn)) return pfn.then((got) => this.#readInto(task, slot, got, true));
    return this.#readInto(task, slot, pfn, false);
  }

  #readInto(task: TaskContext, slot: number, pfn: Pfn | NegErrno, waited: boolean): MaybePromise<Pfn | NegErrno> {
    if (pfn < 0) return pfn;
    const area = this.#area;
    if (waited && (area.isGone || !area.slots.isInUse(slot) || area.slots.isCached(slot))) {
      this.#memory.allocator.freePage(pfn);
      return RETRY;
    }
    if (area.isZero(slot)) return this.#fillZero(slot, pfn);
    return this.#readWindow(task, slot, pfn);
  }

  #fillZero(slot: number, pfn: Pfn): Pfn {
    const { arena, frames, counters } = this.#memory;
    const shadow = this.#area.shadowOf(slot);
    arena.zero(pfn);
    this.#enter(slot, pfn);
    frames.flags[pfn] &= ~PG.LOCKED;
    counters.swpin_zero++;
    this.#reclaim.policy.add(pfn, shadow);
    return pfn;
  }

  /** A frame takes the place of a slot's page, not valid yet, with a reference. */
  #enter(slot: number, pfn: Pfn): void {
    const { frames } = this.#memory;
    this.#area.enterCache(slot, pfn);
    frames.pin(pfn);
    frames.flags[pfn] |= PG.LOCKED;
    frames.space[pfn] = this.#area.id;
    frames.index[pfn] = slot;
  }

  async #readWindow(task: TaskContext, slot: number, pfn: Pfn): Promise<Pfn | NegErrno> {
    this.#adaptWindow(slot);
    this.#memory.counters.pgmajfault++;
    const shadow = this.#area.shadowOf(slot);
    this.#enter(slot, pfn);
    const windowStart = slot - (slot % this.#window);
    const windowEnd = Math.min(windowStart + this.#window, this.#area.slots.nrSlots);
    const pfns = new Uint32Array(this.#window);
    let target: Promise<NegErrno> | null = null;
    let runStart = windowStart;
    let count = 0;
    for (let at = windowStart; at <= windowEnd; at++) {
      const neighbour = at < windowEnd ? (at === slot ? pfn : this.#frameForNeighbour(at)) : -1;
      if (neighbour >= 0) {
        if (count === 0) runStart = at;
        pfns[count++] = neighbour;
        continue;
      }
      if (count === 0) continue;
      const holdsTarget = slot >= runStart && slot < runStart + count;
      const ended = this.#readRun(task, runStart, pfns.slice(0, count), holdsTarget ? slot : -1, shadow);
      if (holdsTarget) target = ended;
      count = 0;
    }
    const status = (await target) as NegErrno;
    return status === 0 ? pfn : status;
  }

  #frameForNeighbour(slot: number): Pfn {
    const { slots } = this.#area;
    if (!slots.isInUse(slot) || slots.isCached(slot) || this.#area.isZero(slot)) return -1;
    const pfn = this.#memory.allocator.allocPage(READAHEAD_TASK, Gfp.ANON | Gfp.SPARE);
    if (pfn < 0) return -1;
    this.#enter(slot, pfn);
    this.#memory.frames.flags[pfn] |= PG.READAHEAD;
    this.#memory.counters.swap_ra++;
    this.#nrAhead++;
    return pfn;
  }

  /** Reads consecutive slots. @returns the status of `target`'s page. */
  async #readRun(task: TaskContext, first: number, pfns: Uint32Array, target: number, shadow: number): Promise<NegErrno> {
    this.#nrReads++;
    let status = await this.#area.pinned.swapIn(task, first, pfns, 0, pfns.length);
    if (status !== 0 && target >= 0 && pfns.length > 1) {
      // A neighbour's error must not be the target's: read that one alone.
      const at = target - first;
      for (let i = 0; i < pfns.length; i++) if (i !== at) this.#endPage(first + i, pfns[i], status, 0);
      status = await this.#area.pinned.swapIn(task, target, pfns, at, 1);
      status = this.#endPage(target, pfns[at], status, shadow);
    } else {
      const shared = status;
      for (let i = 0; i < pfns.length; i++) {
        const ended = this.#endPage(first + i, pfns[i], shared, first + i === target ? shadow : 0);
        if (first + i === target) status = ended;
      }
    }
    if (--this.#nrReads === 0) this.#idle.wakeAll();
    this.#reclaim.noteProgress();
    return status;
  }

  /** A page's read is over. @returns its status. */
  #endPage(slot: number, pfn: Pfn, read: NegErrno, shadow: number): NegErrno {
    const { frames, counters } = this.#memory;
    const isAhead = (frames.flags[pfn] & PG.READAHEAD) !== 0;
    let status = read;
    if (status === 0 && !this.#area.verifies(slot, pfn)) status = -Errno.EIO;
    frames.flags[pfn] &= ~PG.LOCKED;
    if (status === 0) counters.pswpin++;
    if (this.#area.slots.isDying(slot)) {
      this.#area.leaveCache(slot, pfn, 0);
      this.#area.freeSlot(slot);
      this.#drop(pfn);
      status = RETRY;
    } else if (status !== 0) {
      if (!isAhead) counters.swpin_error++;
      this.#area.leaveCache(slot, pfn, 0);
      this.#drop(pfn);
    } else if (isAhead) {
      frames.unpin(pfn);
      this.#reclaim.policy.putBack(pfn, PutBack.SOON);
    } else this.#reclaim.policy.add(pfn, shadow); // its reference goes to the caller
    this.#area.readEnded(slot);
    return status;
  }

  #drop(pfn: Pfn): void {
    this.#memory.frames.unpin(pfn);
    this.#memory.allocator.freePage(pfn);
  }

  /** Waits until no read is in flight. @returns 0, or the errno of the task's signal. */
  async idle(task: TaskContext): Promise<0 | NegErrno> {
    while (this.#nrReads > 0) {
      const ended = await this.#idle.wait(task);
      if (ended < 0) return ended;
    }
    return 0;
  }

  #adaptWindow(slot: number): void {
    const isSequential = slot === this.#lastSlot + 1 || slot === this.#lastSlot - 1;
    if (this.#nrAhead === 0) {
      if (isSequential) this.#window = Math.min(this.#window * 2, this.#windowMax);
    } else if (this.#hits * 4 >= this.#nrAhead * 3) this.#window = Math.min(this.#window * 2, this.#windowMax);
    else if (this.#hits * 2 < this.#nrAhead) this.#window = Math.max(this.#window >>> 1, 1);
    this.#hits = 0;
    this.#nrAhead = 0;
    this.#lastSlot = slot;
  }
}
