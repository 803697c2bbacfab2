/**
 * The half of the swap plugin that reclaim uses: slots for anonymous pages, and writing them. The whole is `SwapSubsystem`.
 */
import type { Pfn } from '../mm/arena.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { WaitParty } from '../task/wait-queue.js';
import type { MayEnter } from './reclaim-rule.js';

export interface SwapWriteout {
  /** Free slots over all areas that take pages. */
  readonly nrFreeSlots: number;
  /** Pages whose swap-out has begun and not ended. */
  readonly nrWriteback: number;
  /** Anonymous pages in memory that have a slot. */
  readonly nrCached: number;
  /** Pages whose swap-out could begin now without waiting. */
  readonly writeRoom: number;
  /** `writeRoom`, of the areas that may be entered only. */
  writeRoomWithin(mayEnter: MayEnter): number;
  /**
   * Gives an anonymous page a slot and enters it in the swap cache. Allocates nothing.
   * @param mayEnter the areas it may take; null for all.
   * @returns false if they are full.
   */
  addToSwap(pfn: Pfn, mayEnter: MayEnter | null): boolean;
  /** What is on its way out: for stall reports. */
  inFlight(): Iterable<WaitParty>;
  /** The node that a page with a slot is written through. */
  nodeOf(pfn: Pfn): WriteoutNode;
  /**
   * Starts writing dirty swap-cache pages that are on no list. Never waits. Each page started comes back through
   * `Reclaim.endSwapWriteback`, perhaps before this returns.
   * @param mayEnter as for `addToSwap`: a page whose area has failed gets a slot in another.
   * @returns how many, from the front, were started.
   */
  startWriteback(pfns: Uint32Array, count: number, mayEnter: MayEnter | null): number;
}
