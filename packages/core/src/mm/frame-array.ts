/**
 * A table of 32-bit words that lives in arena frames, so that it is accounted: swap cells, slot maps, PagedBuffer cells.
 *
 * Word i is word i mod 1024 of frame i / 1024. The frame numbers themselves are kept in one typed array, 4 bytes for 4 MiB of what the
 * cells describe. Bytes and bits are read as parts of words, lowest first.
 */
import type { Arena, Pfn } from './arena.js';

const WORD_SHIFT = 10;
const WORD_MASK = (1 << WORD_SHIFT) - 1;

export class FrameArray {
  readonly #arena: Arena;
  readonly #pfns: Uint32Array;
  #free: (() => void) | null;

  constructor(
    arena: Arena,
    pfns: Uint32Array,
    /** Words. */
    readonly length: number,
    free: () => void,
  ) {
    this.#arena = arena;
    this.#pfns = pfns;
    this.#free = free;
  }

  get nrFrames(): number {
    return this.#pfns.length;
  }

  get(i: number): number {
    const pfn: Pfn = this.#pfns[i >>> WORD_SHIFT];
    return this.#arena.wordsOf(pfn)[this.#arena.wordIndexOf(pfn) + (i & WORD_MASK)];
  }

  set(i: number, value: number): void {
    const pfn: Pfn = this.#pfns[i >>> WORD_SHIFT];
    this.#arena.wordsOf(pfn)[this.#arena.wordIndexOf(pfn) + (i & WORD_MASK)] = value;
  }

  getByte(i: number): number {
    return (this.get(i >>> 2) >>> ((i & 3) * 8)) & 0xff;
  }

  setByte(i: number, value: number): void {
    const shift = (i & 3) * 8;
    this.set(i >>> 2, (this.get(i >>> 2) & ~(0xff << shift)) | (value << shift));
  }

  getBit(i: number): boolean {
    return ((this.get(i >>> 5) >>> (i & 31)) & 1) !== 0;
  }

  setBit(i: number, on: boolean): void {
    const bit = 1 << (i & 31);
    this.set(i >>> 5, on ? this.get(i >>> 5) | bit : this.get(i >>> 5) & ~bit);
  }

  /** Gives the frames back; once. */
  free(): void {
    this.#free?.();
    this.#free = null;
  }
}
