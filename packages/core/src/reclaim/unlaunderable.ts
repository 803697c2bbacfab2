/**
 * What reclaim can neither drop nor swap out, and how much of it there may be: the checked inequality of M10. Frames.
 *
 *     dirty file + under writeback + kept + standing + transient + slab + anonymous without slot + Σ (limit − usage)  ≤  most
 *
 * Each frame counts once. Slab is what no shrinker could give back. The last term is what accounts may still take, not what they hold. Enforced where a term grows: at dirty time
 * (`DirtyThrottle`), at admission, at swap-out start by the units.
 */
import { FrameClass } from '../mm/frame-table.js';
import type { Memory } from '../mm/memory.js';
import type { Shrinker } from '../mm/reclaimer.js';
import type { SwapWriteout } from './swap-writeout.js';

export class Unlaunderable {
  readonly #memory: Memory;
  readonly #swap: () => SwapWriteout | null;
  readonly #shrinkers: readonly Shrinker[];
  #most: number | null = null;

  constructor(memory: Memory, shrinkers: readonly Shrinker[], swap: () => SwapWriteout | null) {
    this.#memory = memory;
    this.#shrinkers = shrinkers;
    this.#swap = swap;
  }

  /** The left side. */
  get nrPages(): number {
    const { allocator, fileCounts, reserve } = this.#memory;
    const swap = this.#swap();
    const file = fileCounts.nrDirty + fileCounts.nrWriteback + fileCounts.nrKept;
    let slab = allocator.classCount(FrameClass.SLAB);
    for (const shrinker of this.#shrinkers) slab -= shrinker.count();
    const fixed = allocator.classCount(FrameClass.STANDING) + allocator.classCount(FrameClass.TRANSIENT) + Math.max(slab, 0);
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
