/**
 * What the page allocator needs of reclaim. The allocator needs reclaim and reclaim needs the allocator, so mm declares this, reclaim
 * implements it, and the kernel binds the two.
 */
import type { MaybePromise } from '../base/maybe-promise.js';
import type { Pfn } from './arena.js';
import type { Cell } from './cell.js';
import type { TaskContext } from '../task/task-context.js';
import type { WaitParty } from '../task/wait-queue.js';
import type { WaitQueue } from '../task/wait-queue.js';

/** Upward calls of the page allocator. */
export interface Reclaimer {
  /** Free memory fell to `low`. Cheap, callable from anywhere, any number of times. */
  wakeKswapd(): void;
  /**
   * Frees what it can for `task`, about `nrFrames`. Never throws.
   * @returns frames freed; 0 says nothing about what is in flight.
   */
  directReclaim(task: TaskContext, nrFrames: number): MaybePromise<number>;
  /** The clean pass (M6): frees without allocating, writing or waiting. @returns frames freed. */
  cleanPass(nrFrames: number): number;
  /** Has the caches of objects give back about `nrFrames`, at once. Absent: there are none. @returns frames freed. */
  shrinkObjects?(nrFrames: number): number;
  /** Some of it ended: kswapd and those who wait for memory look again. */
  noteProgress(): void;
  /**
   * True while something is under way whose end may let a frame be freed: a page being written, read, or copied by somebody who waited
   * for it. Then an allocation waits instead of failing (M1).
   */
  readonly isWorkInFlight: boolean;
  /** True if it has given up until somebody succeeds. Absent: it never does. */
  readonly isHopeless?: boolean;
  /** What can neither be dropped nor swapped out, and how much of it there may be (M10). Absent: nobody counts. Frames. */
  readonly unlaunderable?: { readonly nrPages: number; readonly most: number };
  /** What that is: for stall reports. */
  inFlight(): Iterable<WaitParty>;
  /** Where to wait for some of it to end. */
  readonly progress: WaitQueue;
}

/** What an address space needs of the replacement policy: its pages come, go, and ask to go next. */
export interface PageAging {
  /** A page has come into memory; `shadow` is what its cell held before, 0 if nothing. */
  add(pfn: Pfn, shadow: Cell): void;
  /** A page leaves the lists, if it is on one. */
  remove(pfn: Pfn): void;
  /** A page on the lists is to go next. */
  rotate(pfn: Pfn): void;
}

/** A cache of objects that gives memory back under pressure. It neither starts nor waits for I/O. */
export interface Shrinker {
  readonly name: string;
  /** True if `scan` allocates nothing: then the clean pass asks it too (M6). Default false. */
  readonly isAllocationFree?: boolean;
  /** Frames it could free now. */
  count(): number;
  /** Frees about `nrFrames`. @returns frames freed. */
  scan(nrFrames: number): number;
}
