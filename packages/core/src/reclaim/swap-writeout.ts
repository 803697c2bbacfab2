/**
 * The half of the swap plugin that reclaim uses: slots for anonymous pages, and writing them. The whole is `SwapSubsystem`.
 */
import type { Pfn } from '../mm/arena.js';

export interface SwapWriteout {
  /** Free slots over all areas that take pages. */
  readonly nrFreeSlots: number;
  /** Pages whose swap-out has begun and not ended. */
  readonly nrWriteback: number;
  /** Anonymous pages in memory that have a slot. */
  readonly nrCached: number;
  /** Pages whose swap-out could begin now without waiting. */
  readonly writeRoom: number;
  /** Gives an anonymous page a slot and enters it in the swap cache. Allocates nothing. @returns false if the areas are full. */
  addToSwap(pfn: Pfn): boolean;
  /**
   * Starts writing dirty swap-cache pages that are on no list. Never waits. Each page started comes back through
   * `Reclaim.endSwapWriteback`, perhaps before this returns.
   * @returns how many, from the front, were started.
   */
  startWriteback(pfns: Uint32Array, count: number): number;
}
