/**
 * The frame table: what the kernel knows of each frame, as a struct of arrays, 30 bytes a frame.
 *
 *     flags 4 | refs 4 | space 4 | index 4 | priv 4 | next 4 | prev 4 | order 1 | frameClass 1
 *
 * There is one writer, the kernel's thread; nothing here is atomic. States of a frame and who moves it on:
 *
 *     free       BUDDY on the first frame of a block            buddy allocator
 *     handed out class ≠ FREE, nothing else                     whoever allocated it
 *     cached     space and index say which page it is           the address space
 *       on a list  LRU (and ACTIVE)                             the replacement policy
 *       isolated   no LRU: reclaim, or I/O, has it              reclaim, swap, page cache
 *         WRITEBACK  being written; LOCKED  being read in
 *     standing   class STANDING; never moves, never reclaimed   its owner
 *
 * `refs` counts those who use a cached page across a wait; a page with refs is not evicted.
 */
import { invariant } from '../base/errno.js';
import type { Pfn } from './arena.js';

/** Page flags. */
export const PG = {
  /** First frame of a free block. */
  BUDDY: 1 << 0,
  /** On a list of the replacement policy. */
  LRU: 1 << 1,
  /** … the active one. */
  ACTIVE: 1 << 2,
  /** Used again since reclaim last looked: not for the use that a page came in for. */
  YOUNG: 1 << 3,
  /** Was young once before: young again means active. */
  REFERENCED: 1 << 4,
  /** Differs from its backing. */
  DIRTY: 1 << 5,
  /** Being written. */
  WRITEBACK: 1 << 6,
  /** Being read in; content not valid yet. */
  LOCKED: 1 << 7,
  /** Anonymous page with a slot; `priv` is the swap entry. */
  SWAPCACHE: 1 << 8,
  /** To be freed as soon as its writeback ends. */
  RECLAIM: 1 << 9,
  /** Was active when it was evicted last, or has been since. */
  WORKINGSET: 1 << 10,
  /** Read ahead of need and not used yet. */
  READAHEAD: 1 << 11,
  /** Its owner is gone: whoever has it now frees it. */
  ORPHAN: 1 << 12,
  /** The reserve was needed to get this frame: the tag of M12. */
  RESERVE: 1 << 13,
  /** Counts against the need of a ticket, whatever memory it came from (M5). */
  COUNTED: 1 << 14,
  /** … and is charged to the ticket's account. */
  CHARGED: 1 << 15,
  /** Its owner keeps something for it: a clean one is evicted only if the owner lets it go (M18, row 9). */
  PRIVATE: 1 << 16,
  /** Used at all since it came in. */
  USED: 1 << 17,
} as const;

/** What a frame is used for; the classes of meminfo add up to every frame of the arena. */
export const FrameClass = {
  FREE: 0,
  /** Pages of files and devices. */
  FILE: 1,
  /** Pages of PagedBuffers. */
  ANON: 2,
  /** Objects and tables: slab, radix tree nodes, PagedBuffer cells. */
  SLAB: 3,
  /** Slots, swap metadata, pre-attached requests: taken at admission and kept. */
  STANDING: 4,
  /** Held by work in flight. */
  TRANSIENT: 5,
} as const;
export type FrameClass = (typeof FrameClass)[keyof typeof FrameClass];
export const NR_FRAME_CLASSES = 6;

/** Lists that frames can be on; each has a sentinel behind the last frame. */
export const MAX_ORDER = 10;
const NR_LISTS = 32;
/** First list id that is not a free list. */
export const FIRST_PAGE_LIST = MAX_ORDER + 1;

/** The frame table, and the intrusive lists through it. */
export class FrameTable {
  readonly flags: Uint32Array;
  readonly refs: Int32Array;
  /** Id of the address space whose page this is; 0 for none. */
  readonly space: Uint32Array;
  /** Page index within the address space. */
  readonly index: Uint32Array;
  /** For the address space: the swap entry of an anonymous page. */
  readonly priv: Uint32Array;
  readonly next: Uint32Array;
  readonly prev: Uint32Array;
  /** Order of a free block, kept on its first frame. */
  readonly order: Uint8Array;
  readonly frameClass: Uint8Array;
  /** Frames on each list. */
  readonly listLength = new Float64Array(NR_LISTS);
  /** References to pages, all told. Who holds one may wait for I/O, but not for memory. */
  nrPinned = 0;
  #nrListsNamed = FIRST_PAGE_LIST;

  constructor(readonly nrFrames: number) {
    this.flags = new Uint32Array(nrFrames);
    this.refs = new Int32Array(nrFrames);
    this.space = new Uint32Array(nrFrames);
    this.index = new Uint32Array(nrFrames);
    this.priv = new Uint32Array(nrFrames);
    this.next = new Uint32Array(nrFrames + NR_LISTS);
    this.prev = new Uint32Array(nrFrames + NR_LISTS);
    this.order = new Uint8Array(nrFrames);
    this.frameClass = new Uint8Array(nrFrames);
    for (let list = 0; list < NR_LISTS; list++) {
      this.next[nrFrames + list] = nrFrames + list;
      this.prev[nrFrames + list] = nrFrames + list;
    }
  }

  /** Bytes of bookkeeping a frame costs. */
  static readonly BYTES_PER_FRAME = 30;

  /** A fresh list. There are few, and they live as long as the kernel. */
  createList(): number {
    invariant(this.#nrListsNamed < NR_LISTS, 'the frame table is out of lists');
    return this.#nrListsNamed++;
  }

  /** Takes a reference: the page stays until `unpin`. */
  pin(pfn: Pfn): void {
    this.refs[pfn]++;
    this.nrPinned++;
  }

  /** Drops a reference. @returns those that are left. */
  unpin(pfn: Pfn): number {
    this.nrPinned--;
    return --this.refs[pfn];
  }

  /**
   * A page is used: once more, or for the first time since it came in.
   * @param isSame by the one who used it just before, and no other page since: that is the same use.
   */
  use(pfn: Pfn, isSame: boolean): void {
    if ((this.flags[pfn] & PG.USED) === 0) this.flags[pfn] |= PG.USED;
    else if (!isSame) this.flags[pfn] |= PG.YOUNG;
  }

  /** Puts a frame at the head (newest end) of a list. */
  pushHead(list: number, pfn: Pfn): void {
    const sentinel = this.nrFrames + list;
    const first = this.next[sentinel];
    this.next[pfn] = first;
    this.prev[pfn] = sentinel;
    this.prev[first] = pfn;
    this.next[sentinel] = pfn;
    this.listLength[list]++;
  }

  /** Puts a frame at the tail (oldest end) of a list. */
  pushTail(list: number, pfn: Pfn): void {
    const sentinel = this.nrFrames + list;
    const last = this.prev[sentinel];
    this.prev[pfn] = last;
    this.next[pfn] = sentinel;
    this.next[last] = pfn;
    this.prev[sentinel] = pfn;
    this.listLength[list]++;
  }

  /** Takes a frame off the list it is on, which the caller knows. */
  unlink(list: number, pfn: Pfn): void {
    const next = this.next[pfn];
    const prev = this.prev[pfn];
    this.next[prev] = next;
    this.prev[next] = prev;
    this.listLength[list]--;
  }

  /**
   * Reads what is known of a batch of frames before they are looked at one by one: with a large table every field is a cache miss, and
   * misses of a batch overlap while those of one frame after the other do not.
   * @returns the fields, or-ed.
   */
  touch(pfns: Uint32Array, count: number): number {
    const { refs, space, index, frameClass, flags } = this;
    let fields = 0;
    for (let i = 0; i < count; i++) {
      const pfn = pfns[i];
      fields |= refs[pfn] | space[pfn] | index[pfn] | frameClass[pfn] | flags[pfn ^ 1];
    }
    return fields;
  }

  /** Newest frame of a list, or -1. */
  headOf(list: number): Pfn {
    const pfn = this.next[this.nrFrames + list];
    return pfn < this.nrFrames ? pfn : -1;
  }

  /** Oldest frame of a list, or -1. */
  tailOf(list: number): Pfn {
    const pfn = this.prev[this.nrFrames + list];
    return pfn < this.nrFrames ? pfn : -1;
  }
}
