/**
 * One swap area: its pinned file and its tables, all of them allocated when it is taken (M9). Swapping a page out then allocates
 * nothing.
 *
 *     per slot   1 byte of slot map, 1 bit "all zeroes", one u32 cell; with checksums one u32 more
 *     cell       frame while the page is in the swap cache, shadow after eviction
 *
 * The area is itself an address space: it owns swap-cache pages that were read ahead and that no buffer has mapped yet.
 */
import {
  type AddressSpace,
  type Cell,
  CellTag,
  type Clock,
  cellValue,
  type FootprintTerm,
  type FrameArray,
  PAGE_SIZE,
  frameCell,
  Gfp,
  type Memory,
  type NegErrno,
  type PinnedFile,
  PG,
  type Pfn,
  type SwapEntry,
  swapEntry,
  tagOf,
  WaitQueue,
  type TaskContext,
} from '@tidemark/core';
import type { SwapHeader } from './header.js';
import { FAILED_RETRY_MS } from './params.js';
import { pageChecksum } from './page-checksum.js';
import { SlotMap } from './slot-map.js';
import type { SwapBacking } from './swap-backing.js';

/** What an area is made of. */
export interface SwapAreaParts {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly number: number;
  /** What `swapOff` knows it by. */
  readonly name: string;
  readonly backing: SwapBacking;
  readonly pinned: PinnedFile;
  readonly header: SwapHeader;
  readonly priority: number;
  readonly trusted: boolean;
  readonly checksum: boolean;
}

export class SwapArea implements AddressSpace {
  id = 0;
  readonly isAnonymous = true;
  readonly name: string;
  readonly number: number;
  readonly backing: SwapBacking;
  readonly pinned: PinnedFile;
  readonly header: SwapHeader;
  readonly priority: number;
  readonly trusted: boolean;
  readonly slots: SlotMap;
  readonly #memory: Memory;
  readonly #clock: Clock;
  readonly #cells: FrameArray;
  readonly #zeroes: FrameArray;
  readonly #checksums: FrameArray | null;
  /** Queues of those who wait for a slot that is being read; made when somebody waits. */
  readonly #readers = new Map<number, WaitQueue>();
  /** Pages of this area that are in memory. */
  nrCached = 0;
  /** Takes no new pages: it is being taken off. */
  isClosing = false;
  /** Its tables are given back: nobody may look into them. */
  isGone = false;
  /** When its device failed whatever it was given; null: it takes pages. */
  #failedAtMs: number | null = null;
  /** What its device answered when it failed last; 0 if it never did. */
  failure: NegErrno = 0;

  /** Its device fails whatever it is given: it takes no new pages for a while, then is tried again. */
  fail(status: NegErrno): void {
    this.failure = status;
    this.#failedAtMs = this.#clock.nowMs();
  }

  /** Its device takes pages again. */
  recover(): void {
    this.#failedAtMs = null;
  }

  get hasFailed(): boolean {
    return this.#failedAtMs !== null;
  }

  /** True if it takes new pages. */
  get isOpen(): boolean {
    if (this.isClosing) return false;
    return this.#failedAtMs === null || this.#clock.nowMs() - this.#failedAtMs >= FAILED_RETRY_MS;
  }

  /** @throws KernelError ENOMEM if the tables do not fit; then nothing was taken. */
  constructor(parts: SwapAreaParts) {
    const { memory, header } = parts;
    this.name = parts.name;
    this.number = parts.number;
    this.backing = parts.backing;
    this.pinned = parts.pinned;
    this.header = header;
    this.priority = parts.priority;
    this.trusted = parts.trusted;
    this.#memory = memory;
    this.#clock = parts.clock;
    const nrSlots = header.lastPage + 1;
    const owner = `swap area ${this.name}`;
    const taken: { free(): void }[] = [];
    const take = (what: string, words: number): FrameArray => {
      const array = memory.allocFrameArray(`${owner} ${what}`, words, Gfp.STANDING);
      taken.push(array);
      return array;
    };
    try {
      this.#cells = take('cells', nrSlots);
      this.#zeroes = take('zero bits', Math.ceil(nrSlots / 32));
      this.#checksums = parts.checksum ? take('checksums', nrSlots) : null;
      this.slots = new SlotMap(memory, owner, nrSlots, header.badPages);
    } catch (error) {
      for (const array of taken) array.free();
      throw error;
    }
  }

  /** What the tables of an area of `nrSlots` take. */
  static standingTerms(nrSlots: number, checksum: boolean): FootprintTerm[] {
    const words = (what: string, count: number): FootprintTerm => ({ what, frames: Math.ceil((count * 4) / PAGE_SIZE) });
    const terms = [words('cells', nrSlots), words('zero bits', Math.ceil(nrSlots / 32)), ...SlotMap.standingTerms(nrSlots)];
    return checksum ? [...terms, words('checksums', nrSlots)] : terms;
  }

  get metadataFrames(): number {
    return this.#cells.nrFrames + this.#zeroes.nrFrames + this.slots.nrFrames + (this.#checksums?.nrFrames ?? 0);
  }

  entryOf(slot: number): SwapEntry {
    return swapEntry(this.number, slot);
  }

  /** The frame a slot's page is in, or -1. */
  frameOf(slot: number): Pfn {
    const cell = this.#cells.get(slot);
    return tagOf(cell) === CellTag.FRAME ? cellValue(cell) : -1;
  }

  /** The shadow a slot's page left, or 0. */
  shadowOf(slot: number): Cell {
    const cell = this.#cells.get(slot);
    return tagOf(cell) === CellTag.SHADOW ? cell : 0;
  }

  isZero(slot: number): boolean {
    return this.#zeroes.getBit(slot);
  }

  setZero(slot: number, on: boolean): void {
    this.#zeroes.setBit(slot, on);
  }

  /** The page of `slot` is now in memory, in `pfn`. */
  enterCache(slot: number, pfn: Pfn): void {
    const { frames } = this.#memory;
    this.#cells.set(slot, frameCell(pfn));
    this.slots.setCached(slot, true);
    frames.flags[pfn] |= PG.SWAPCACHE;
    frames.priv[pfn] = this.entryOf(slot);
    this.nrCached++;
  }

  /** The page of `slot` leaves memory, or its slot; the cell keeps `shadow`. */
  leaveCache(slot: number, pfn: Pfn, shadow: Cell): void {
    const { frames } = this.#memory;
    this.#cells.set(slot, shadow);
    this.slots.setCached(slot, false);
    frames.flags[pfn] &= ~PG.SWAPCACHE;
    frames.priv[pfn] = 0;
    this.nrCached--;
  }

  /** Evicts a page that was read ahead and never used. */
  evict(pfn: Pfn, shadow: Cell): void {
    this.leaveCache(this.#memory.frames.index[pfn], pfn, shadow);
  }

  /** Notes what is about to be written to a slot. */
  noteContent(slot: number, pfn: Pfn): void {
    this.#zeroes.setBit(slot, false);
    this.#checksums?.set(slot, pageChecksum(this.#memory.arena, pfn));
  }

  /** True if what was read from a slot is what was written to it, as far as we can tell. */
  verifies(slot: number, pfn: Pfn): boolean {
    return this.#checksums === null || this.#checksums.get(slot) === pageChecksum(this.#memory.arena, pfn);
  }

  /** Gives a slot back whose page is not in memory. */
  freeSlot(slot: number): void {
    this.#cells.set(slot, 0);
    this.#zeroes.setBit(slot, false);
    this.slots.free(slot);
  }

  /** Waits until the read of a slot that is in progress is over. */
  waitForRead(task: TaskContext, slot: number): Promise<number> {
    let queue = this.#readers.get(slot);
    if (queue === undefined) {
      queue = new WaitQueue({ kind: 'page', name: `slot ${slot} of ${this.name}, being read`, heldBy: () => this.backing.worksFor() });
      this.#readers.set(slot, queue);
    }
    return queue.wait(task);
  }

  /** Wakes those who wait for a slot's read. */
  readEnded(slot: number): void {
    const queue = this.#readers.get(slot);
    if (queue === undefined) return;
    this.#readers.delete(slot);
    queue.wakeAll();
  }

  /** Gives the tables back. */
  dispose(): void {
    this.isGone = true;
    this.#cells.free();
    this.#zeroes.free();
    this.#checksums?.free();
    this.slots.dispose();
  }
}
