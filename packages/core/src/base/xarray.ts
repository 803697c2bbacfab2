/**
 * XArray: a sparse array from u32 index to u32 entry, with marks; the index of a file's pages.
 *
 * A radix tree of 64 slots a node. Its nodes live in memory that the tree's `XArrayNodeStore` takes from the arena, so what an index
 * costs is accounted. An entry is any u32 but 0; 0 means absent. Each entry has two marks, and looking for the next marked entry
 * costs a walk down the tree.
 *
 * A node is 64 slot words (children, or entries at the bottom) and six mark words, two for each of
 *     0 dirty   1 writeback   2 present
 * Its id times 64 is its first slot, counted in words over all chunks of the store; a chunk has 2^28 words.
 *
 * A mark of a slot in an inner node says that something below carries it. Presence is kept as a mark, so that looking for the next
 * entry, seeing that a node is empty and looking for the next mark are one thing. A tree of height h covers indices below 64^h; it
 * grows at the top when a higher index is stored, and shrinks when only the lowest child is left.
 *
 * The bottom node that was changed last is remembered, so that what is done to one index after the other, or several times to one, does not
 * walk down each time: a bottom node has at least one entry, so the nodes above know that it is there, and a mark in it that is not
 * the first or the last of its kind changes nothing above.
 *
 * `load` allocates nothing. `store` takes the nodes it may need first, so one that fails has changed nothing.
 */
import { lowestBit } from './bitmap.js';
import { Errno, type NegErrno } from './errno.js';

/** Where nodes live. `mm/xarray-nodes.ts` implements it over page frames. */
export interface XArrayNodeStore {
  /** Makes sure that the next `nrNodes` calls of `allocNode` succeed. @returns false if there is no memory. */
  reserve(nrNodes: number): boolean;
  /** A node's id, never 0; its slots and marks are 0. Only after `reserve`. */
  allocNode(): number;
  freeNode(id: number): void;
  /** The memory nodes are in; never exchanged. */
  readonly chunks: readonly Uint32Array[];
  /** Index in the node's chunk of its first mark word. */
  marksAt(id: number): number;
}

/** Marks of an entry. */
export const XaMark = { DIRTY: 0, WRITEBACK: 1 } as const;
export type XaMark = (typeof XaMark)[keyof typeof XaMark];

const PRESENT = 2;
/** Mark words of a node. */
export const XA_MARK_WORDS = 6;
/** Slots of a node. */
export const XA_SLOTS = 64;
/** The highest index. */
export const XA_MAX_INDEX = 2 ** 32 - 1;

/** log2 of the node ids of a chunk. */
export const XA_CHUNK_ID_SHIFT = 22;

const SLOT_BITS = 6;
const CHUNK_ID_MASK = 2 ** XA_CHUNK_ID_SHIFT - 1;
const SLOT_MASK = XA_SLOTS - 1;
const MAX_HEIGHT = 6;
/** No index has it as its upper part. */
const NO_LEAF = -1;

/** The nodes from the root to the bottom, for walks that come back up. Shared: no walk calls out. */
const path = new Uint32Array(MAX_HEIGHT);

/** A sparse array of u32. */
export class XArray {
  readonly #store: XArrayNodeStore;
  readonly #chunks: readonly Uint32Array[];
  /** The top node, 0 for an empty tree. */
  #root = 0;
  /** Bits by which an index is shifted to give the slot in the root: 6 × (height − 1). */
  #shift = 0;
  #nrEntries = 0;
  /** The bottom node that is remembered: the part of its indices that they share, its chunk, where its slots and its marks begin. */
  #leafPart = NO_LEAF;
  #leafWords: Uint32Array;
  #leafSlots = 0;
  #leafMarks = 0;

  constructor(store: XArrayNodeStore) {
    this.#store = store;
    this.#chunks = store.chunks;
    this.#leafWords = store.chunks[0];
  }

  /** Entries that are not 0. */
  get nrEntries(): number {
    return this.#nrEntries;
  }

  /** The entry at `index`, 0 if there is none. */
  load(index: number): number {
    if (index >>> SLOT_BITS === this.#leafPart) return this.#leafWords[this.#leafSlots + (index & SLOT_MASK)];
    // Written out, and with `| 0`, so that the walk stays in integer registers: it is the page-cache hit.
    let id = this.#root | 0;
    let shift = this.#shift | 0;
    if (id === 0 || index >>> shift > SLOT_MASK) return 0;
    const chunks = this.#chunks;
    for (; shift > 0; shift = (shift - SLOT_BITS) | 0) {
      id = chunks[id >>> XA_CHUNK_ID_SHIFT][((id & CHUNK_ID_MASK) << SLOT_BITS) | ((index >>> shift) & SLOT_MASK)] | 0;
      if (id === 0) return 0;
    }
    return chunks[id >>> XA_CHUNK_ID_SHIFT][((id & CHUNK_ID_MASK) << SLOT_BITS) | (index & SLOT_MASK)];
  }

  /**
   * Puts `value` at `index`; 0 erases. An entry that is replaced keeps its marks, one that is erased loses them.
   * @returns 0, or `-ENOMEM` with nothing changed. Replacing and erasing never fail.
   */
  store(index: number, value: number): 0 | NegErrno {
    if (value === 0) {
      this.#erase(index);
      return 0;
    }
    if (index >>> SLOT_BITS === this.#leafPart) {
      this.#fillLeaf(index & SLOT_MASK, value);
      return 0;
    }
    const missing = this.#countMissingNodes(index);
    if (missing > 0 && !this.#store.reserve(missing)) return -Errno.ENOMEM;
    this.#grow(index);
    let id = this.#root;
    for (let shift = this.#shift; shift > 0; shift -= SLOT_BITS) {
      const slot = (index >>> shift) & SLOT_MASK;
      let child = this.#slot(id, slot);
      if (child === 0) {
        child = this.#store.allocNode();
        this.#fill(id, slot, child);
      }
      id = child;
    }
    const slot = index & SLOT_MASK;
    if (this.#slot(id, slot) === 0) this.#nrEntries++;
    this.#fill(id, slot, value);
    this.#remember(id, index);
    return 0;
  }

  #remember(id: number, index: number): void {
    this.#leafPart = index >>> SLOT_BITS;
    this.#leafWords = this.#wordsOf(id);
    this.#leafSlots = slotsAt(id);
    this.#leafMarks = this.#store.marksAt(id);
  }

  #freeNode(id: number): void {
    if (slotsAt(id) === this.#leafSlots && this.#wordsOf(id) === this.#leafWords) this.#leafPart = NO_LEAF;
    this.#store.freeNode(id);
  }

  #fillLeaf(slot: number, value: number): void {
    const words = this.#leafWords;
    if (words[this.#leafSlots + slot] === 0) {
      this.#nrEntries++;
      words[this.#leafMarks + PRESENT * 2 + (slot >>> 5)] |= 1 << (slot & 31);
    }
    words[this.#leafSlots + slot] = value;
  }

  /** True if the remembered node has that mark on another slot than this one: then the nodes above know, whatever becomes of this one. */
  #leafHasOther(slot: number, mark: number): boolean {
    const at = this.#leafMarks + mark * 2;
    const bit = 1 << (slot & 31);
    return slot < 32
      ? ((this.#leafWords[at] & ~bit) | this.#leafWords[at + 1]) !== 0
      : (this.#leafWords[at] | (this.#leafWords[at + 1] & ~bit)) !== 0;
  }

  /** True if the entry at `index` carries `mark`. */
  getMark(index: number, mark: XaMark): boolean {
    const depth = this.#descend(index);
    return depth > 0 && this.#isMarked(path[depth - 1], index & SLOT_MASK, mark);
  }

  /** Marks the entry at `index`. @returns false if there is none. */
  setMark(index: number, mark: XaMark): boolean {
    const slotOfLeaf = index & SLOT_MASK;
    if (index >>> SLOT_BITS === this.#leafPart && this.#leafHasOther(slotOfLeaf, mark)) {
      if (this.#leafWords[this.#leafSlots + slotOfLeaf] === 0) return false;
      this.#leafWords[this.#leafMarks + mark * 2 + (slotOfLeaf >>> 5)] |= 1 << (slotOfLeaf & 31);
      return true;
    }
    const depth = this.#descend(index);
    if (depth === 0 || this.#slot(path[depth - 1], index & SLOT_MASK) === 0) return false;
    for (let level = depth - 1, shift = 0; level >= 0; level--, shift += SLOT_BITS) {
      const slot = (index >>> shift) & SLOT_MASK;
      if (this.#isMarked(path[level], slot, mark)) break; // so are all above
      this.#mark(path[level], slot, mark);
    }
    return true;
  }

  /** Takes a mark off the entry at `index`, if it is there. */
  clearMark(index: number, mark: XaMark): void {
    const slot = index & SLOT_MASK;
    if (index >>> SLOT_BITS === this.#leafPart && this.#leafHasOther(slot, mark)) {
      this.#leafWords[this.#leafMarks + mark * 2 + (slot >>> 5)] &= ~(1 << (slot & 31));
      return;
    }
    this.#unmark(this.#descend(index), index, mark);
  }

  /** The first index from `from` on whose entry carries `mark`, or that has an entry if none is given; −1 if there is none. */
  findNext(from: number, mark?: XaMark): number {
    const which = mark ?? PRESENT;
    let index = from;
    while (index <= XA_MAX_INDEX && this.#covers(index)) {
      let id = this.#root;
      let shift = this.#shift;
      for (;;) {
        const slot = (index >>> shift) & SLOT_MASK;
        const next = this.#nextSlot(id, slot, which);
        if (next < 0) break;
        if (next !== slot) index = ((((index >>> shift) & ~SLOT_MASK) | next) << shift) >>> 0;
        if (shift === 0) return index;
        id = this.#slot(id, next);
        shift -= SLOT_BITS;
      }
      index = ((((index >>> shift) | SLOT_MASK) >>> 0) + 1) * (1 << shift); // on to the neighbour of the node that held no more
    }
    return -1;
  }

  /** Erases everything. `visit` is called for each entry after it has gone, in order of index. */
  clear(visit?: (index: number, value: number) => void): void {
    for (let index = this.findNext(0); index >= 0; index = this.findNext(index + 1)) {
      const value = this.load(index);
      this.#erase(index);
      visit?.(index, value);
    }
  }

  /** True if the tree is high enough for `index`. */
  #covers(index: number): boolean {
    return this.#root !== 0 && index >>> this.#shift <= SLOT_MASK;
  }

  /** Nodes that must be allocated before `index` can be stored. */
  #countMissingNodes(index: number): number {
    if (this.#root === 0) return heightFor(index);
    const height = this.#shift / SLOT_BITS + 1;
    const grown = heightFor(index);
    // Above the old root comes one node a level; the new path leaves the old root's right at the top.
    if (grown > height) return grown - height + (grown - 1);
    let id = this.#root;
    for (let shift = this.#shift; shift > 0; shift -= SLOT_BITS) {
      id = this.#slot(id, (index >>> shift) & SLOT_MASK);
      if (id === 0) return shift / SLOT_BITS;
    }
    return 0;
  }

  /** Adds levels at the top until the tree covers `index`. */
  #grow(index: number): void {
    if (this.#root === 0) {
      this.#root = this.#store.allocNode();
      this.#shift = (heightFor(index) - 1) * SLOT_BITS;
      return;
    }
    while (!this.#covers(index)) {
      const top = this.#store.allocNode();
      this.#fill(top, 0, this.#root);
      for (let mark = 0; mark < PRESENT; mark++) if (this.#anyMarked(this.#root, mark)) this.#mark(top, 0, mark);
      this.#root = top;
      this.#shift += SLOT_BITS;
    }
  }

  #erase(index: number): void {
    if (index >>> SLOT_BITS === this.#leafPart && this.#leafHasOther(index & SLOT_MASK, PRESENT)) {
      this.#emptyLeaf(index);
      return;
    }
    let level = this.#descend(index);
    if (level === 0 || this.#slot(path[level - 1], index & SLOT_MASK) === 0) return;
    for (let mark = 0; mark < PRESENT; mark++) this.#unmark(level, index, mark);
    this.#nrEntries--;
    for (let shift = 0; level > 0; shift += SLOT_BITS) {
      const id = path[--level];
      this.#empty(id, (index >>> shift) & SLOT_MASK);
      if (this.#anyMarked(id, PRESENT)) break;
      this.#freeNode(id);
      if (level === 0) this.#root = 0;
    }
    this.#shrink();
  }

  /** The remembered node keeps other entries: nothing changes above but by marks. */
  #emptyLeaf(index: number): void {
    const slot = index & SLOT_MASK;
    const words = this.#leafWords;
    if (words[this.#leafSlots + slot] === 0) return;
    const bit = 1 << (slot & 31);
    for (let mark = 0; mark < PRESENT; mark++) {
      if ((words[this.#leafMarks + mark * 2 + (slot >>> 5)] & bit) !== 0) this.clearMark(index, mark as XaMark);
    }
    words[this.#leafSlots + slot] = 0;
    words[this.#leafMarks + PRESENT * 2 + (slot >>> 5)] &= ~bit;
    this.#nrEntries--;
  }

  /** Drops levels at the top that hold only their first child. */
  #shrink(): void {
    if (this.#root === 0) {
      this.#shift = 0;
      return;
    }
    while (this.#shift > 0 && this.#holdsOnlyFirst(this.#root)) {
      const top = this.#root;
      this.#root = this.#slot(top, 0);
      this.#shift -= SLOT_BITS;
      this.#freeNode(top);
    }
  }

  /** Fills `path` from the root to the bottom node of `index`. @returns its length, 0 if there is no such node. */
  #descend(index: number): number {
    if (!this.#covers(index)) return 0;
    path[0] = this.#root;
    let depth = 1;
    for (let shift = this.#shift; shift > 0; shift -= SLOT_BITS) {
      const child = this.#slot(path[depth - 1], (index >>> shift) & SLOT_MASK);
      if (child === 0) return 0;
      path[depth++] = child;
    }
    this.#remember(path[depth - 1], index);
    return depth;
  }

  /** Takes a mark off the entry at the end of `path`, and off each level above where it was the last. */
  #unmark(depth: number, index: number, mark: number): void {
    for (let level = depth - 1, shift = 0; level >= 0; level--, shift += SLOT_BITS) {
      const id = path[level];
      const slot = (index >>> shift) & SLOT_MASK;
      this.#wordsOf(id)[this.#markWord(id, slot, mark)] &= ~(1 << (slot & 31));
      if (this.#anyMarked(id, mark)) return;
    }
  }

  #wordsOf(id: number): Uint32Array {
    return this.#chunks[id >>> XA_CHUNK_ID_SHIFT];
  }

  #slot(id: number, slot: number): number {
    return this.#wordsOf(id)[slotsAt(id) + slot];
  }

  #fill(id: number, slot: number, value: number): void {
    this.#wordsOf(id)[slotsAt(id) + slot] = value;
    this.#mark(id, slot, PRESENT);
  }

  #empty(id: number, slot: number): void {
    const words = this.#wordsOf(id);
    words[slotsAt(id) + slot] = 0;
    words[this.#markWord(id, slot, PRESENT)] &= ~(1 << (slot & 31));
  }

  #markWord(id: number, slot: number, mark: number): number {
    return this.#store.marksAt(id) + mark * 2 + (slot >>> 5);
  }

  #mark(id: number, slot: number, mark: number): void {
    this.#wordsOf(id)[this.#markWord(id, slot, mark)] |= 1 << (slot & 31);
  }

  #isMarked(id: number, slot: number, mark: number): boolean {
    return ((this.#wordsOf(id)[this.#markWord(id, slot, mark)] >>> (slot & 31)) & 1) === 1;
  }

  #anyMarked(id: number, mark: number): boolean {
    const words = this.#wordsOf(id);
    const at = this.#store.marksAt(id) + mark * 2;
    return (words[at] | words[at + 1]) !== 0;
  }

  #holdsOnlyFirst(id: number): boolean {
    const words = this.#wordsOf(id);
    const at = this.#store.marksAt(id) + PRESENT * 2;
    return words[at] === 1 && words[at + 1] === 0;
  }

  /** The first slot from `slot` on that carries `mark`, or −1. */
  #nextSlot(id: number, slot: number, mark: number): number {
    const words = this.#wordsOf(id);
    const at = this.#store.marksAt(id) + mark * 2;
    if (slot < 32) {
      const low = words[at] & (-1 << slot);
      if (low !== 0) return lowestBit(low);
    }
    const high = words[at + 1] & (slot > 32 ? -1 << (slot - 32) : -1);
    return high === 0 ? -1 : 32 + lowestBit(high);
  }
}

/** Index in its chunk of a node's first slot. */
function slotsAt(id: number): number {
  return (id & CHUNK_ID_MASK) * XA_SLOTS;
}

/** Levels of a tree that covers `index`. */
function heightFor(index: number): number {
  return index === 0 ? 1 : Math.ceil((32 - Math.clz32(index)) / SLOT_BITS);
}
