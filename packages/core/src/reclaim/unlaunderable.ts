/**
 * What reclaim can neither drop nor swap out, and how much of it there may be: the checked inequality of M10. Frames.
 *
 *     dirty file + under writeback + kept + standing + transient + slab + anonymous without slot + Σ (limit − usage)  ≤  most
 *
 * Each frame counts once. The last term is what accounts may still take, not what they hold. Enforced where a term grows: at dirty time
 * (`DirtyThrottle`), at admission, at swap-out start by the units.
 */
import { FrameClass } from '../mm/frame-table.js';
import type { Memory } from '../mm/memory.js';
import type { SwapWriteout } from './swap-writeout.js';

export class Unlaunderable {
  readonly #memory: Memory;
  readonly #swap: () => SwapWriteout | null;
  #most: number | null = null;

  constructor(memory: Memory, swap: () => SwapWriteout | null) {
    this.#memory = memory;
    this.#swap = swap;
  }

  /** The left side. */
  get nrPages(): number {
    const { allocator, fileCounts, reserve } = this.#memory;
    const swap = this.#swap();
    const file = fileCounts.nrDirty + fileCounts.nrWriteback + fileCounts.nrKept;
    const fixed =
      allocator.classCount(FrameClass.STANDING) + allocator.classCount(FrameClass.TRANSIENT) + allocator.classCount(FrameClass.SLAB);
    return file + fixed + this.nrAnonWithoutSlot + (swap?.nrWriteback ?? 0) + reserve.emergencyFrames;
  }

  /** Anonymous pages for which no free slot is left; without swap: all. */
  get nrAnonWithoutSlot(): number {
    const swap = this.#swap();
    const nrAnon = this.#memory.allocator.classCount(FrameClass.ANON);
    return swap === null ? nrAnon : Math.max(nrAnon - swap.nrCached - swap.nrFreeSlots, 0);
  }

  /** The right side: at most total − `high`, which is what it is if nobody has set it. */
  get most(): number {
    const largest = this.#memory.nrFrames - this.#memory.allocator.high;
    return this.#most === null ? largest : Math.min(this.#most, largest);
  }

  set most(nrPages: number) {
    this.#most = nrPages;
  }
}
