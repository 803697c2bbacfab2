/**
 * The buddy allocator: blocks of 2^order frames, order 0 to 10, split on demand and merged when freed.
 *
 * A free block is on the list of its order by its first frame, which carries BUDDY and the order. Blocks are aligned to their size,
 * so a block's buddy is its number with one bit flipped. It only counts and hands out; marks and floors are the page allocator's.
 *
 * Single frames go through a short stack of hot ones first, so that a frame freed and taken again is neither merged nor split. Frames on
 * it are free; they are merged when the stack overflows, and when a larger block is wanted and there is none.
 */
import { invariant } from '../base/errno.js';
import type { Pfn } from './arena.js';
import { type FrameTable, MAX_ORDER, PG } from './frame-table.js';

/** Most hot frames, and how many of them, the oldest, are merged when there is one more. */
const HOT_MAX = 64;
const HOT_BATCH = 32;

export class Buddy {
  /** Free frames, hot ones included. */
  nrFree = 0;
  readonly #hot = new Uint32Array(HOT_MAX);
  #nrHot = 0;

  constructor(readonly frames: FrameTable) {
    let pfn = 0;
    while (pfn < frames.nrFrames) {
      let order = MAX_ORDER;
      while (pfn % (1 << order) !== 0 || pfn + (1 << order) > frames.nrFrames) order--;
      this.#link(pfn, order);
      this.nrFree += 1 << order;
      pfn += 1 << order;
    }
  }

  #link(pfn: Pfn, order: number): void {
    const frames = this.frames;
    frames.flags[pfn] = PG.BUDDY;
    frames.order[pfn] = order;
    frames.pushHead(order, pfn);
  }

  /** Takes one frame. @returns it, or -1 if there is none. */
  allocOne(): Pfn {
    if (this.#nrHot === 0) return this.alloc(0);
    this.nrFree--;
    return this.#hot[--this.#nrHot];
  }

  /** Gives one frame back. */
  freeOne(pfn: Pfn): void {
    if (this.#nrHot === HOT_MAX) this.#cool(HOT_BATCH);
    this.#hot[this.#nrHot++] = pfn;
    this.nrFree++;
  }

  /** Merges the oldest hot frames. */
  #cool(count: number): void {
    for (let i = 0; i < count; i++) this.#merge(this.#hot[i], 0);
    this.#hot.copyWithin(0, count, this.#nrHot);
    this.#nrHot -= count;
  }

  /** Takes a block of 2^order frames. @returns its first frame, or -1 if there is no block of that order or above. */
  alloc(order: number): Pfn {
    const frames = this.frames;
    let at = this.#smallest(order);
    if (at > MAX_ORDER && this.#nrHot > 0) {
      this.#cool(this.#nrHot);
      at = this.#smallest(order);
    }
    if (at > MAX_ORDER) return -1;
    const pfn = frames.headOf(at);
    frames.unlink(at, pfn);
    frames.flags[pfn] = 0;
    while (at > order) {
      at--;
      this.#link(pfn + (1 << at), at);
    }
    this.nrFree -= 1 << order;
    return pfn;
  }

  /** The smallest order from `order` on that has a block; above MAX_ORDER if none has. */
  #smallest(order: number): number {
    let at = order;
    while (at <= MAX_ORDER && this.frames.listLength[at] === 0) at++;
    return at;
  }

  /** Gives a block back. */
  free(pfn: Pfn, order: number): void {
    invariant((this.frames.flags[pfn] & PG.BUDDY) === 0 && pfn % (1 << order) === 0, 'a block was freed twice, or is not one');
    this.nrFree += 1 << order;
    this.#merge(pfn, order);
  }

  /** Puts a block on its list, merged with its buddies as far as they are free. */
  #merge(pfn: Pfn, order: number): void {
    const frames = this.frames;
    let first = pfn;
    let at = order;
    while (at < MAX_ORDER) {
      const buddy = first ^ (1 << at);
      if (buddy >= frames.nrFrames || (frames.flags[buddy] & PG.BUDDY) === 0 || frames.order[buddy] !== at) break;
      frames.unlink(at, buddy);
      frames.flags[buddy] = 0;
      first &= ~(1 << at);
      at++;
    }
    this.#link(first, at);
  }

  /** Free blocks by order, hot frames merged, and a check that they are what they should be. For tests and dumps. */
  snapshot(): number[] {
    this.#cool(this.#nrHot);
    const blocks: number[] = [];
    let counted = 0;
    for (let order = 0; order <= MAX_ORDER; order++) {
      blocks.push(this.frames.listLength[order]);
      counted += this.frames.listLength[order] * 2 ** order;
    }
    invariant(counted === this.nrFree, 'free blocks and the free count disagree');
    return blocks;
  }

  /** Frames that are handed out, whatever their class. */
  get nrUsed(): number {
    return this.frames.nrFrames - this.nrFree;
  }
}
