/**
 * The pages of one file that are in memory: cell → frame, or the shadow of a page that was evicted.
 *
 *     absent ──enter──► LOCKED ──unlock──► valid, on the lists ──evict──► shadow
 *        │                 └──abandon──► as before    │  ▲
 *        └──enterValid────────────────────────────────┘  └─ DIRTY, WRITEBACK
 *                                                     └──detach──► absent; the frame is freed when its last user is done
 *
 * A page of a file that only memory holds leaves the lists when it is written: it is kept.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { XA_MAX_INDEX, XArray } from '../base/xarray.js';
import type { Pfn } from '../mm/arena.js';
import { type Cell, CellTag, cellValue, frameCell, tagOf } from '../mm/cell.js';
import { PG } from '../mm/frame-table.js';
import type { Memory } from '../mm/memory.js';
import type { PageAging } from '../mm/reclaimer.js';

/** Index nodes may take one frame in this many before shadows are forgotten. */
const NODES_PART = 16;
/** Shadows worth a walk. */
const DROP_LEAST = 64;

export class PageIndex {
  /** Cells and marks. */
  readonly cells: XArray;
  readonly memory: Memory;
  readonly aging: PageAging;
  /** Id of the space, for the frame table. */
  spaceId = 0;
  /** The page that was written last; -1 before the first. Several writes to it in a row are one use. */
  lastWritten = -1;
  #nrPages = 0;

  constructor(memory: Memory, aging: PageAging) {
    this.memory = memory;
    this.aging = aging;
    this.cells = new XArray(memory.xarrayNodes);
  }

  /** Pages in memory. */
  get nrPages(): number {
    return this.#nrPages;
  }

  /** The frame of a page that is in memory, or -1. Allocates nothing. */
  lookup(index: number): Pfn {
    const cell = this.cells.load(index);
    return (cell & 3) === CellTag.FRAME ? cell >>> 2 : -1;
  }

  /** True if the frame holds that page now. */
  holds(pfn: Pfn, index: number): boolean {
    return this.cells.load(index) === frameCell(pfn);
  }

  /**
   * Puts a frame in as a page whose content is not there yet: LOCKED and referenced. It keeps the shadow that was there.
   * @returns 0, `-EEXIST`, or `-ENOMEM` for want of a node.
   */
  enter(index: number, pfn: Pfn): 0 | NegErrno {
    const before = this.cells.load(index);
    if (tagOf(before) === CellTag.FRAME) return -Errno.EEXIST;
    const status = this.#store(index, pfn);
    if (status < 0) return status;
    const { frames } = this.memory;
    frames.space[pfn] = this.spaceId;
    frames.index[pfn] = index;
    frames.priv[pfn] = before;
    frames.flags[pfn] |= PG.LOCKED;
    frames.pin(pfn);
    this.#nrPages++;
    return 0;
  }

  #store(index: number, pfn: Pfn): 0 | NegErrno {
    const status = this.cells.store(index, frameCell(pfn));
    if (status === 0 || (this.memory.allocator.reclaimer?.cleanPass(1) ?? 0) === 0) return status;
    return this.cells.store(index, frameCell(pfn));
  }

  /** The content of a page is valid; the reference stays. */
  unlock(pfn: Pfn): void {
    const { frames } = this.memory;
    frames.flags[pfn] &= ~PG.LOCKED;
    const shadow = frames.priv[pfn];
    frames.priv[pfn] = 0;
    this.aging.add(pfn, shadow);
  }

  /** The content of a locked page will not come: its frame is freed, its cell as it was before. */
  abandon(index: number, pfn: Pfn): void {
    const { frames } = this.memory;
    this.cells.store(index, frames.priv[pfn]);
    frames.priv[pfn] = 0;
    this.#nrPages--;
    frames.unpin(pfn);
    this.#free(pfn);
  }

  /** Done with a page that was pinned. A frame that has left the cache meanwhile goes with its last user. */
  unpin(pfn: Pfn): void {
    const { frames } = this.memory;
    if (frames.unpin(pfn) === 0 && (frames.flags[pfn] & PG.ORPHAN) !== 0) this.#free(pfn);
  }

  /** Takes a page out that is neither locked nor under writeback nor marked. */
  detach(index: number, pfn: Pfn): void {
    const { frames } = this.memory;
    this.aging.remove(pfn);
    this.cells.store(index, 0);
    this.#nrPages--;
    if (frames.refs[pfn] > 0) frames.flags[pfn] |= PG.ORPHAN;
    else this.#free(pfn);
  }

  #free(pfn: Pfn): void {
    this.memory.allocator.freePage(pfn);
  }

  /** As `AddressSpace.evict`: the cell keeps the shadow, memory permitting; the caller frees the frame. */
  evict(pfn: Pfn, shadow: Cell): void {
    this.#nrPages--;
    const { frames, xarrayNodes, nrFrames } = this.memory;
    const mayKeepShadow = xarrayNodes.nrFrames * NODES_PART < nrFrames || this.#dropShadows();
    this.cells.store(frames.index[pfn], mayKeepShadow ? shadow : 0);
  }

  /**
   * Forgets every shadow, if there are more of them than pages: a long scan would fill memory with the nodes of what it has left
   * behind. Each shadow is dropped once, so this costs a step for each eviction.
   * @returns true if there was something to forget.
   */
  #dropShadows(): boolean {
    if (this.cells.nrEntries < 2 * this.#nrPages + DROP_LEAST) return false;
    this.forgetShadows(0, XA_MAX_INDEX);
    return true;
  }

  /** Forgets the shadows of a range: the pages are no more. */
  forgetShadows(first: number, last: number): void {
    const { cells } = this;
    for (let index = cells.findNext(first); index >= 0 && index <= last; index = cells.findNext(index + 1)) {
      if (tagOf(cells.load(index)) === CellTag.SHADOW) cells.store(index, 0);
    }
  }

  /** As `PageCache.release`. */
  release(first: number, last: number): number {
    const { frames, allocator } = this.memory;
    let nrHeld = 0;
    for (let index = this.nextPage(first); index >= 0 && index <= last; index = this.nextPage(index + 1)) {
      const pfn = this.lookup(index);
      const flags = frames.flags[pfn];
      if ((flags & PG.COUNTED) === 0) continue;
      if ((flags & (PG.DIRTY | PG.WRITEBACK | PG.LOCKED)) !== 0 || frames.refs[pfn] > 0) nrHeld++;
      else if (!allocator.exchange(pfn)) this.detach(index, pfn);
    }
    return nrHeld;
  }

  /** The first page in memory from `index` on: its index, or -1. */
  nextPage(index: number): number {
    const { cells } = this;
    let next = cells.findNext(index);
    while (next >= 0 && tagOf(cells.load(next)) !== CellTag.FRAME) next = cells.findNext(next + 1);
    return next;
  }

  /** Frees every page and node; nobody uses any. */
  clear(): void {
    this.#nrPages = 0;
    this.cells.clear((_index, cell) => {
      if (tagOf(cell) !== CellTag.FRAME) return;
      const pfn = cellValue(cell);
      this.aging.remove(pfn);
      this.#free(pfn);
    });
  }
}
