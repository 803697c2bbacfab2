/**
 * The arena: every page frame of a kernel, made once at boot.
 *
 * Memory is a list of chunks of up to 1 GiB, because a typed array of Node 20 ends at 4 GiB. A frame is 4096 bytes of one chunk and
 * is named by its number (`Pfn`). Memory inside a frame is named by an *address*, frame number × 4096 + offset: one number below 2^53.
 * A buddy block never crosses a chunk, so an address and a length inside one block are always a plain run of bytes.
 *
 *     const chunk = arena.chunkOf(address);            // Uint8Array of the whole chunk
 *     const at = arena.offsetInChunk(address);         // byte index into it
 */
import { invariant } from '../base/errno.js';
import { PAGE_SHIFT, PAGE_SIZE } from '../base/size.js';

/** A page frame number: 0 … nrFrames − 1. */
export type Pfn = number;

/** log2 of the frames of a chunk. */
export const CHUNK_FRAME_SHIFT = 18;
const CHUNK_FRAME_MASK = (1 << CHUNK_FRAME_SHIFT) - 1;
/** Bytes of a chunk: no run of memory crosses a multiple of it. */
export const CHUNK_BYTES = 2 ** (CHUNK_FRAME_SHIFT + PAGE_SHIFT);
const WORDS_PER_PAGE = PAGE_SIZE / 4;

export class Arena {
  readonly nrFrames: number;
  readonly #bytes: Uint8Array[] = [];
  readonly #words: Uint32Array[] = [];

  constructor(nrFrames: number) {
    invariant(Number.isSafeInteger(nrFrames) && nrFrames > 0, 'an arena needs frames');
    this.nrFrames = nrFrames;
    for (let first = 0; first < nrFrames; first += 1 << CHUNK_FRAME_SHIFT) {
      const frames = Math.min(nrFrames - first, 1 << CHUNK_FRAME_SHIFT);
      const buffer = new ArrayBuffer(frames * PAGE_SIZE); // the host gives the pages when they are first touched
      this.#bytes.push(new Uint8Array(buffer));
      this.#words.push(new Uint32Array(buffer));
    }
  }

  /** The chunk that holds `address`. */
  chunkOf(address: number): Uint8Array {
    return this.#bytes.length === 1 ? this.#bytes[0] : this.#bytes[Math.floor(address / CHUNK_BYTES)];
  }

  /** Byte index of `address` in its chunk. */
  offsetInChunk(address: number): number {
    return this.#bytes.length === 1 ? address : address % CHUNK_BYTES;
  }

  /** The address of a view of arena memory. */
  addressOf(view: Uint8Array): number {
    const index = this.#bytes.findIndex(({ buffer }) => buffer === view.buffer);
    invariant(index >= 0, 'a view is of arena memory');
    return index * CHUNK_BYTES + view.byteOffset;
  }

  /** A view of arena memory. Costs 27 ns and an object: not for hit paths. */
  view(address: number, lengthBytes: number): Uint8Array {
    const at = this.offsetInChunk(address);
    const chunk = this.chunkOf(address);
    invariant(at + lengthBytes <= chunk.length, 'a run of memory crosses the end of its chunk');
    return chunk.subarray(at, at + lengthBytes);
  }

  /** Every chunk as 32-bit words, for structures that index them themselves on a hot path (XArray nodes). */
  get wordChunks(): readonly Uint32Array[] {
    return this.#words;
  }

  /** The chunk of a frame as 32-bit words; `wordIndexOf(pfn)` is the frame's first. */
  wordsOf(pfn: Pfn): Uint32Array {
    return this.#words[pfn >>> CHUNK_FRAME_SHIFT];
  }

  /** Index of a frame's first word in `wordsOf(pfn)`. */
  wordIndexOf(pfn: Pfn): number {
    return (pfn & CHUNK_FRAME_MASK) * WORDS_PER_PAGE;
  }

  /** Copies out of a frame. */
  copyOut(pfn: Pfn, offsetInPage: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    const from = (pfn & CHUNK_FRAME_MASK) * PAGE_SIZE + offsetInPage;
    target.set(this.#bytes[pfn >>> CHUNK_FRAME_SHIFT].subarray(from, from + lengthBytes), targetOffset);
  }

  /** Copies into a frame. */
  copyIn(pfn: Pfn, offsetInPage: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    const whole = sourceOffset === 0 && lengthBytes === source.length;
    this.#bytes[pfn >>> CHUNK_FRAME_SHIFT].set(
      whole ? source : source.subarray(sourceOffset, sourceOffset + lengthBytes),
      (pfn & CHUNK_FRAME_MASK) * PAGE_SIZE + offsetInPage,
    );
  }

  /** Fills frames with zeroes. */
  zero(pfn: Pfn, nrFrames = 1): void {
    const from = (pfn & CHUNK_FRAME_MASK) * PAGE_SIZE;
    this.#bytes[pfn >>> CHUNK_FRAME_SHIFT].fill(0, from, from + nrFrames * PAGE_SIZE);
  }

  /**
   * Reads the first word of each frame of a batch, before the frames are looked at one by one: the host's cache misses then overlap
   * instead of following each other, which saves a quarter of the time a cold batch takes.
   * @returns the words, or-ed.
   */
  touch(pfns: Uint32Array, count: number): number {
    let words = 0;
    for (let i = 0; i < count; i++) words |= this.wordsOf(pfns[i])[this.wordIndexOf(pfns[i])];
    return words;
  }

  /** True if a frame holds nothing but zeroes. Ends at the first word that does not. */
  isZero(pfn: Pfn): boolean {
    const words = this.wordsOf(pfn);
    const first = this.wordIndexOf(pfn);
    for (let i = first; i < first + WORDS_PER_PAGE; i++) if (words[i] !== 0) return false;
    return true;
  }
}
