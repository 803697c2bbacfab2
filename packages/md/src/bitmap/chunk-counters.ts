/**
 * One 16-bit counter for each chunk (M17), in frames that are taken when they are needed: 2,048 counters a frame. When no frame can be
 * had, two coarse counters stand in for a frame's, one for each 1,024 chunks; so counting never fails. The frame is tried for again once both
 * are 0. A counter of 0 is one that nobody knows; a frame without any other goes back.
 *
 * Standing memory: four words a group of 2,048 chunks: frame + 1, counters that are not 0, the two coarse counters, flags.
 */
import { type Arena, type FrameArray, invariant, type Pfn } from '@tidemark/core';

/** Counters of a frame. */
export const GROUP_CHUNKS = 2048;
const GROUP_SHIFT = 11;
/** Most that a counter counts. */
export const COUNT_MAX = 0x3fff;
const HALF_CHUNKS = GROUP_CHUNKS / 2;
const WORDS_PER_GROUP = 4;
const FRAME = 0;
const IN_USE = 1;
const COARSE = 2;
const FLAGS = 3;

/** Where frames come from; `take` gives a zeroed one, or a negative number. It may not wait. */
export interface CounterFrames {
  take(): Pfn;
  give(pfn: Pfn): void;
}

/** Words of standing memory for `nrChunks`. */
export function counterWords(nrChunks: number): number {
  return Math.ceil(nrChunks / GROUP_CHUNKS) * WORDS_PER_GROUP;
}

export class ChunkCounters {
  readonly nrGroups: number;
  /** Groups that count coarsely now, and times one began to. */
  nrCoarse = 0;
  nrFallbacks = 0;

  constructor(
    readonly nrChunks: number,
    private readonly arena: Arena,
    private readonly table: FrameArray,
    private readonly frames: CounterFrames,
  ) {
    this.nrGroups = Math.ceil(nrChunks / GROUP_CHUNKS);
  }

  #word(group: number, field: number): number {
    return this.table.get(group * WORDS_PER_GROUP + field);
  }

  #setWord(group: number, field: number, value: number): void {
    this.table.set(group * WORDS_PER_GROUP + field, value);
  }

  #pfn(group: number): Pfn {
    return this.#word(group, FRAME) - 1;
  }

  /** The counter that counts for a chunk. */
  get(chunk: number): number {
    const group = chunk >>> GROUP_SHIFT;
    const pfn = this.#pfn(group);
    const shift = (pfn < 0 ? this.#half(chunk) : chunk & 1) * 16;
    const word = pfn < 0 ? this.#word(group, COARSE) : this.arena.wordsOf(pfn)[this.#wordIndex(pfn, chunk)];
    return (word >>> shift) & 0xffff;
  }

  /**
   * Adds to the count of a chunk's own counter, if that is `least` at least: the quick way of a write that finds its bit set.
   * @returns the counter then; −1 if it counts for others too, or has less, and nothing was added.
   */
  addOwn(chunk: number, least: number, delta: 1 | -1): number {
    const pfn = this.#pfn(chunk >>> GROUP_SHIFT);
    if (pfn < 0) return -1;
    const words = this.arena.wordsOf(pfn);
    const at = this.#wordIndex(pfn, chunk);
    const shift = (chunk & 1) * 16;
    const count = (words[at] >>> shift) & COUNT_MAX;
    if (count < least || count === COUNT_MAX) return -1;
    words[at] += delta * (1 << shift);
    return (words[at] >>> shift) & 0xffff;
  }

  /** Makes a counter ready to become more than 0. */
  prepare(chunk: number): void {
    const group = chunk >>> GROUP_SHIFT;
    if (this.#pfn(group) >= 0 || this.#word(group, COARSE) !== 0) return;
    const pfn = this.frames.take();
    if (pfn >= 0) this.#setWord(group, FRAME, pfn + 1);
    else this.nrFallbacks++;
  }

  set(chunk: number, value: number): void {
    const group = chunk >>> GROUP_SHIFT;
    const pfn = this.#pfn(group);
    if (pfn < 0) {
      const before = this.#word(group, COARSE);
      const shift = this.#half(chunk) * 16;
      const after = ((before & ~(0xffff << shift)) | (value << shift)) >>> 0;
      this.#setWord(group, COARSE, after);
      if (before === 0 && after !== 0) this.nrCoarse++;
      if (before !== 0 && after === 0) this.nrCoarse--;
      return;
    }
    const words = this.arena.wordsOf(pfn);
    const at = this.#wordIndex(pfn, chunk);
    const shift = (chunk & 1) * 16;
    const before = (words[at] >>> shift) & 0xffff;
    words[at] = (words[at] & ~(0xffff << shift)) | (value << shift);
    if ((before === 0) === (value === 0)) return;
    const inUse = this.#word(group, IN_USE) + (value === 0 ? -1 : 1);
    invariant(inUse >= 0, 'a group of counters has no fewer than none in use');
    this.#setWord(group, IN_USE, inUse);
    if (inUse > 0) return;
    this.#setWord(group, FRAME, 0);
    this.frames.give(pfn);
  }

  /** The first chunk that the counter of `chunk` counts for. */
  spanStart(chunk: number): number {
    return this.#isCoarse(chunk) ? chunk - (chunk % HALF_CHUNKS) : chunk;
  }

  /** The first chunk behind those that the counter of `chunk` counts for. */
  spanEnd(chunk: number): number {
    return this.#isCoarse(chunk) ? Math.min(chunk - (chunk % HALF_CHUNKS) + HALF_CHUNKS, this.nrChunks) : chunk + 1;
  }

  #isCoarse(chunk: number): boolean {
    return this.#pfn(chunk >>> GROUP_SHIFT) < 0;
  }

  #half(chunk: number): number {
    return (chunk >>> (GROUP_SHIFT - 1)) & 1;
  }

  #wordIndex(pfn: Pfn, chunk: number): number {
    return this.arena.wordIndexOf(pfn) + ((chunk & (GROUP_CHUNKS - 1)) >>> 1);
  }

  /** True if no counter of a group is more than 0. */
  isGroupIdle(group: number): boolean {
    return this.#pfn(group) < 0 && this.#word(group, COARSE) === 0;
  }

  /** A group that the daemon should look at. */
  setPending(chunk: number): void {
    this.#setWord(chunk >>> GROUP_SHIFT, FLAGS, 1);
  }

  /** @returns whether it was pending. */
  takePending(group: number): boolean {
    const wasPending = this.#word(group, FLAGS) !== 0;
    this.#setWord(group, FLAGS, 0);
    return wasPending;
  }

  /** Gives every frame back. */
  free(): void {
    for (let group = 0; group < this.nrGroups; group++) {
      const pfn = this.#pfn(group);
      if (pfn >= 0) this.frames.give(pfn);
    }
    this.table.free();
  }
}
