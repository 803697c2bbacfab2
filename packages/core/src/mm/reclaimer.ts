/**
 * What the page allocator needs of reclaim. The allocator needs reclaim and reclaim needs the allocator, so mm declares this, reclaim
 * implements it, and the kernel binds the two.
 */
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TaskContext } from '../task/task-context.js';

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
  /** True while a writeout is in flight whose end may free frames: then an allocation waits instead of failing (M1). */
  readonly isWriteoutInFlight: boolean;
}

/** A cache of objects that gives memory back under pressure. It neither starts nor waits for I/O. */
export interface Shrinker {
  readonly name: string;
  /** Frames it could free now. */
  count(): number;
  /** Frees about `nrFrames`. @returns frames freed. */
  scan(nrFrames: number): number;
}
