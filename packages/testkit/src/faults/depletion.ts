/**
 * Depletion (test method, 3): free memory is held at a level, whatever reclaim frees, by a task that takes every frame above it. It takes as
 * any ordinary caller may, so it cannot go below `min`, and what it holds counts as `transient`.
 */
import { Gfp, type Kernel, type Pfn, TaskContext } from '@tidemark/core';

const TASK = TaskContext.root('depletion');

/** Holds the free memory of a kernel at a level, in frames, whatever reclaim frees. */
export class Depletion {
  readonly #kernel: Kernel;
  readonly #levelFrames: number;
  readonly #held: Pfn[] = [];

  /** @param level frames that stay free, or the name of a mark. */
  constructor(kernel: Kernel, level: 'min' | 'low' | 'high' | number) {
    this.#kernel = kernel;
    this.#levelFrames = typeof level === 'number' ? level : kernel.memory.allocator.watermarks[level];
  }

  /** Frames it holds. */
  get nrHeld(): number {
    return this.#held.length;
  }

  /** Takes what is free above the level. To hold it there, call it after every event: `world.afterEachEvent(() => depletion.take())`. */
  take(): void {
    const { allocator } = this.#kernel.memory;
    while (allocator.nrFree > this.#levelFrames) {
      const pfn = allocator.allocPage(TASK, Gfp.TRANSIENT);
      if (pfn < 0) return;
      this.#held.push(pfn);
    }
  }

  /** Gives everything back. */
  release(): void {
    for (const pfn of this.#held.splice(0)) this.#kernel.memory.allocator.freePage(pfn);
  }
}
