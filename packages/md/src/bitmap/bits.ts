/**
 * The bits in memory, page by page as they are stored, and what is still to be written of them.
 *
 *     SET       bits were set (or the superblock changed) that are on no backing yet: whoever set them waits
 *     WRITING   such bits are on their way
 *     CLEARED   bits were cleared: to be written some time, nobody waits
 *
 * Standing memory: the pages, contiguous.
 */
import { invariant, PAGE_SIZE, type StandingMemory } from '@tidemark/core';
import { BITMAP_HEADER_BYTES, bitmapPages, bitOfChunk, pageOfChunk } from '../format/bitmap-superblock.js';

export const PageFlag = { SET: 1, WRITING: 2, CLEARED: 4 } as const;

export class BitmapBits {
  readonly nrPages: number;
  /** Frames of the pages. */
  readonly pfns: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #flags: Uint8Array;

  constructor(
    readonly nrChunks: number,
    private readonly memory: StandingMemory,
  ) {
    this.nrPages = bitmapPages(nrChunks);
    invariant(memory.nrFrames >= this.nrPages, 'a bitmap has frames for all its pages');
    this.#bytes = memory.bytes;
    this.#flags = new Uint8Array(this.nrPages);
    this.pfns = Uint32Array.from({ length: this.nrPages }, (_, page) => memory.pfn + page);
  }

  /** The bytes of a page. */
  page(page: number): Uint8Array {
    return this.#bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }

  /** Arena address of a page. */
  addressOf(page: number): number {
    return this.memory.address + page * PAGE_SIZE;
  }

  test(chunk: number): boolean {
    const bit = bitOfChunk(chunk);
    return (this.#bytes[bit >>> 3] & (1 << (bit & 7))) !== 0;
  }

  /** Sets the bits of `from` … `to − 1`. */
  set(from: number, to: number): void {
    for (let chunk = from; chunk < to; chunk++) {
      const bit = bitOfChunk(chunk);
      this.#bytes[bit >>> 3] |= 1 << (bit & 7);
      this.mark(pageOfChunk(chunk), PageFlag.SET);
    }
  }

  /** Clears the bits of `from` … `to − 1`. */
  clear(from: number, to: number): void {
    for (let chunk = from; chunk < to; chunk++) {
      const bit = bitOfChunk(chunk);
      this.#bytes[bit >>> 3] &= ~(1 << (bit & 7));
      this.mark(pageOfChunk(chunk), PageFlag.CLEARED);
    }
  }

  /** Sets every bit, those behind the last chunk's of its page too, as mdadm does. */
  setAll(): void {
    this.#bytes.fill(0xff, BITMAP_HEADER_BYTES, this.nrPages * PAGE_SIZE);
    this.#flags.fill(PageFlag.SET);
  }

  /** Bits that are set. */
  get nrSet(): number {
    let count = 0;
    for (let chunk = 0; chunk < this.nrChunks; chunk++) if (this.test(chunk)) count++;
    return count;
  }

  has(page: number, flag: number): boolean {
    return (this.#flags[page] & flag) !== 0;
  }

  mark(page: number, flag: number): void {
    this.#flags[page] |= flag;
  }

  unmark(page: number, flag: number): void {
    this.#flags[page] &= ~flag;
  }

  /** The first page with one of the flags from `from` on, or −1. */
  nextWith(flag: number, from = 0): number {
    for (let page = from; page < this.nrPages; page++) if ((this.#flags[page] & flag) !== 0) return page;
    return -1;
  }

  /** True if the bits of `first` … `last` are on the backing, as far as they are set. */
  isStored(first: number, last: number): boolean {
    for (let page = pageOfChunk(first); page <= pageOfChunk(last); page++) {
      if ((this.#flags[page] & (PageFlag.SET | PageFlag.WRITING)) !== 0) return false;
    }
    return true;
  }

  free(): void {
    this.memory.free();
  }
}
