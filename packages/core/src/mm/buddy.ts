/**
 * The buddy allocator: blocks of 2^order frames, order 0 to 10, split on demand and merged when freed.
 *
 * A free block is on the list of its order by its first frame, which carries BUDDY and the order. Blocks are aligned to their size,
 * so a block's buddy is its number with one bit flipped. It only counts and hands out; marks and floors are the page allocator's.
 */
import { invariant } from '../base/errno.js';
import type { Pfn } from './arena.js';
import { type FrameTable, MAX_ORDER, PG } from './frame-table.js';

export class Buddy {
  /** Frames in free blocks. */
  nrFree = 0;

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

  /** Takes a block of 2^order frames. @returns its first frame, or -1 if there is no block of that order or above. */
  alloc(order: number): Pfn {
    const frames = this.frames;
    let at = order;
    while (at <= MAX_ORDER && frames.listLength[at] === 0) at++;
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

  /** Gives a block back and merges it with its buddies. */
  free(pfn: Pfn, order: number): void {
    const frames = this.frames;
    invariant((frames.flags[pfn] & PG.BUDDY) === 0 && pfn % (1 << order) === 0, 'a block was freed twice, or is not one');
    this.nrFree += 1 << order;
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

  /** True if a block of the order or above is free. */
  has(order: number): boolean {
    for (let at = order; at <= MAX_ORDER; at++) if (this.frames.listLength[at] > 0) return true;
    return false;
  }

  /** Free blocks by order, and a check that they are what they should be. For tests and dumps. */
  snapshot(): number[] {
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

