/**
 * The pages of one PagedBuffer: a cell each, and what moves a page between its states.
 *
 *     0 ──write──► frame, no slot ──reclaim: addToSwap──► frame with slot ──written, evicted──► slot
 *                    ▲   dirtied again: the slot goes ──┘        ▲                                │
 *                    └───────────────────────────────────────────┴──────────── fault ◄────────────┘
 *
 * Operations and what orders them. Everything between two waits is one step, so only what waits can meet another.
 *
 * | | read/write hit | fault | swap-out | close |
 * |---|---|---|---|---|
 * | fault | none: no frame yet | one read a slot, the others wait for it | – | slot marked dying; the reader frees it |
 * | swap-out | sets DIRTY: written again | finds the page in the swap cache | – | frame marked orphan; the writer frees it |
 */
import {
  type AddressSpace,
  type Cell,
  CellTag,
  cellValue,
  Errno,
  entryArea,
  entrySlot,
  type FrameArray,
  frameCell,
  Gfp,
  type Kernel,
  type MaybePromise,
  type Memory,
  type NegErrno,
  PG,
  type Pfn,
  swapCell,
  type TaskContext,
  tagOf,
} from '@tidemark/core';
import type { SwapManager } from './swap-manager.js';
import { RETRY } from './swap-reader.js';

export class AnonymousSpace implements AddressSpace {
  id = 0;
  readonly isAnonymous = true;
  readonly #manager: SwapManager;
  readonly #memory: Memory;
  readonly #kernel: Kernel;
  readonly cells: FrameArray;
  #isClosed = false;
  /** Closed by its kernel's shutdown, not by its user. */
  wasCutOff = false;

  /** @throws KernelError ENOMEM if the cells do not fit. */
  constructor(
    kernel: Kernel,
    manager: SwapManager,
    readonly name: string,
    readonly nrPages: number,
  ) {
    this.#kernel = kernel;
    this.#manager = manager;
    this.#memory = kernel.memory;
    this.cells = kernel.memory.allocFrameArray(`cells of ${name}`, nrPages, Gfp.SLAB);
    try {
      kernel.spaces.add(this);
    } catch (error) {
      this.cells.free();
      throw error;
    }
    manager.addSpace(this);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Reclaim takes a clean page: its cell names the slot from now on. */
  evict(pfn: Pfn, shadow: Cell): void {
    const { frames } = this.#memory;
    const entry = frames.priv[pfn];
    this.cells.set(frames.index[pfn], swapCell(entry));
    this.#manager.areaOf(entry).leaveCache(entrySlot(entry), pfn, shadow);
  }

  /**
   * Makes sure that a page which was written before is in memory, with one reference that the caller drops.
   * @returns its frame, or a negative errno.
   */
  fault(task: TaskContext, index: number): MaybePromise<Pfn | NegErrno> {
    const pfn = this.#faultNow(index);
    return pfn >= 0 ? pfn : this.#faultSlow(task, index);
  }

  /** The page if it is in memory, mapped or in the swap cache; else -1. Takes a reference. */
  #faultNow(index: number): Pfn {
    const cell = this.cells.get(index);
    const { frames } = this.#memory;
    if (tagOf(cell) === CellTag.FRAME) {
      frames.pin(cellValue(cell));
      return cellValue(cell);
    }
    const entry = cellValue(cell);
    const area = this.#manager.areaOf(entry);
    const pfn = area.frameOf(entrySlot(entry));
    if (pfn < 0 || (frames.flags[pfn] & PG.LOCKED) !== 0) return -1;
    if ((frames.flags[pfn] & PG.READAHEAD) !== 0) {
      frames.flags[pfn] &= ~PG.READAHEAD;
      this.#manager.readerOf(entry).noteHit();
    }
    this.#memory.counters.pgfault++;
    frames.space[pfn] = this.id;
    frames.index[pfn] = index;
    frames.pin(pfn);
    this.cells.set(index, frameCell(pfn));
    return pfn;
  }

  async #faultSlow(task: TaskContext, index: number): Promise<Pfn | NegErrno> {
    for (;;) {
      if (this.#isClosed) return -Errno.EBADF;
      const ended = task.checkSignal();
      if (ended !== 0) return ended;
      const cell = this.cells.get(index);
      if (cell === 0) return -Errno.ENOENT;
      const pfn = this.#faultNow(index);
      if (pfn >= 0) return pfn;
      const entry = cellValue(cell);
      const area = this.#manager.areaOf(entry);
      const slot = entrySlot(entry);
      if (area.frameOf(slot) >= 0) {
        const woken = await area.waitForRead(task, slot);
        if (woken < 0) return woken;
        continue;
      }
      const read = await this.#manager.readerOf(entry).read(task, slot);
      if (read >= 0) {
        const mapped = this.#isClosed ? -1 : this.#faultNow(index);
        this.unref(read); // the reader's; the mapped page has one of its own
        if (mapped >= 0) return mapped;
        continue;
      }
      if (read !== RETRY) return read;
    }
  }

  /** A frame for a new page, to be installed in the step it is there. */
  allocFrame(task: TaskContext, zeroed: boolean): MaybePromise<Pfn | NegErrno> {
    return this.#memory.allocator.allocPageSlow(task, Gfp.ANON | Gfp.GROWS | (zeroed ? Gfp.ZERO : 0));
  }

  /**
   * Makes a frame the page at `index`, dirty. The caller fills it in the same step, so nobody sees what it held before.
   * @param isWhole the page is written whole: what was in its slot is forgotten.
   * @returns false, and the frame is freed, if the page has come to be otherwise while memory was waited for.
   */
  install(index: number, pfn: Pfn, isWhole: boolean): boolean {
    const { frames, allocator, counters } = this.#memory;
    const cell = this.#isClosed ? 0 : this.cells.get(index);
    if (this.#isClosed || tagOf(cell) === CellTag.FRAME || (cell !== 0 && !isWhole)) {
      allocator.freePage(pfn);
      return false;
    }
    if (cell !== 0) this.#manager.freeEntry(cellValue(cell));
    counters.pgfault++;
    frames.space[pfn] = this.id;
    frames.index[pfn] = index;
    frames.flags[pfn] |= PG.DIRTY;
    this.cells.set(index, frameCell(pfn));
    this.#kernel.reclaim.policy.add(pfn, 0);
    return true;
  }

  /** A page is about to change: its slot, if it has one, is worth nothing any more. */
  markDirty(pfn: Pfn): void {
    const { flags } = this.#memory.frames;
    // While it is being written the slot must not be given to another page; the writer finds it dirty afterwards.
    if ((flags[pfn] & (PG.SWAPCACHE | PG.WRITEBACK)) === PG.SWAPCACHE) this.#manager.dropSlot(pfn);
    flags[pfn] |= PG.DIRTY | PG.YOUNG;
  }

  /** Drops a reference; the last one of a page whose buffer is closed frees it. */
  unref(pfn: Pfn): void {
    const { frames } = this.#memory;
    if (frames.unpin(pfn) === 0 && (frames.flags[pfn] & (PG.ORPHAN | PG.WRITEBACK)) === PG.ORPHAN) this.#manager.freeOrphan(pfn);
    this.#kernel.reclaim.noteProgress();
  }

  /** Gives every page, slot and cell back. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { frames } = this.#memory;
    for (let index = 0; index < this.nrPages; index++) {
      const cell = this.cells.get(index);
      if (tagOf(cell) === CellTag.SWAP) this.#manager.freeEntry(cellValue(cell));
      else if (tagOf(cell) === CellTag.FRAME) {
        const pfn = cellValue(cell);
        if ((frames.flags[pfn] & PG.LRU) !== 0) this.#kernel.reclaim.policy.remove(pfn);
        frames.flags[pfn] |= PG.ORPHAN;
        if (frames.refs[pfn] === 0 && (frames.flags[pfn] & PG.WRITEBACK) === 0) this.#manager.freeOrphan(pfn);
      }
    }
    this.cells.free();
    this.#manager.removeSpace(this);
    this.#kernel.spaces.remove(this);
  }

  /** Entries of `area` in use by this buffer, one index at a time, for swapoff: the next from `from` on, or -1. */
  nextInArea(from: number, area: number): number {
    if (this.#isClosed) return -1;
    const { frames } = this.#memory;
    for (let index = from; index < this.nrPages; index++) {
      const cell = this.cells.get(index);
      if (tagOf(cell) === CellTag.SWAP && entryArea(cellValue(cell)) === area) return index;
      if (tagOf(cell) === CellTag.FRAME) {
        const pfn = cellValue(cell);
        if ((frames.flags[pfn] & PG.SWAPCACHE) !== 0 && entryArea(frames.priv[pfn]) === area) return index;
      }
    }
    return -1;
  }
}
