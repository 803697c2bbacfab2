/**
 * Which blocks of a device have a copy: one bit for each, in standing frames.
 *
 * Layout: bit b is bit b mod 32 of word b / 32, 32,768 blocks to a frame.
 */
import { lowestBit } from '../../base/bitmap.js';
import { PAGE_SIZE } from '../../base/size.js';
import type { FrameArray } from '../../mm/frame-array.js';
import { Gfp } from '../../mm/gfp.js';
import type { Memory } from '../../mm/memory.js';

/** Most blocks of a map: what fills the largest arena many times over is no reason for larger numbers. */
export const MAP_BLOCKS_MAX = 2 ** 31;

/** Frames that the map of so many blocks takes. */
export function blockMapFrames(nrBlocks: number): number {
  return Math.ceil(nrBlocks / 8 / PAGE_SIZE);
}

export class BlockMap {
  readonly #words: FrameArray;
  #nrSet = 0;

  /** @throws KernelError ENOMEM naming `owner`. */
  constructor(
    memory: Memory,
    owner: string,
    readonly nrBlocks: number,
  ) {
    this.#words = memory.allocFrameArray(owner, Math.ceil(nrBlocks / 32), Gfp.STANDING);
  }

  /** Blocks that are set. */
  get nrSet(): number {
    return this.#nrSet;
  }

  test(block: number): boolean {
    return this.#words.getBit(block);
  }

  set(block: number): void {
    if (this.#words.getBit(block)) return;
    this.#words.setBit(block, true);
    this.#nrSet++;
  }

  /** Blocks from `from` on, before `to`, that are as `from` is: all set, or all clear. At least 1. */
  runLength(from: number, to: number): number {
    const flip = this.test(from) ? -1 : 0;
    for (let at = from; at < to; at = at - (at % 32) + 32) {
      const others = (this.#words.get(Math.floor(at / 32)) ^ flip) >>> (at % 32);
      if (others !== 0) return Math.min(at + lowestBit(others), to) - from;
    }
    return to - from;
  }

  /** Clears every bit. */
  clear(): void {
    for (let i = 0; i < this.#words.length && this.#nrSet > 0; i++) this.#words.set(i, 0);
    this.#nrSet = 0;
  }

  free(): void {
    this.#words.free();
  }
}
