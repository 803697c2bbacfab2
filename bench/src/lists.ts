/** Reclaim's lists, as benchmarks need them. */
import { FrameClass, type Kernel, type PageKind, PG, PutBack } from '@tidemark/core';
import { shuffled } from './harness.js';

/**
 * Puts every page at the head of its inactive list, in random order. Each page is a cache miss then, as it is in a system that has run
 * for a while; fresh from a benchmark, lists are in the order of frames.
 */
export function shuffleLists(kernel: Kernel, seed: number): void {
  const { policy } = kernel.reclaim;
  const { flags, frameClass, nrFrames } = kernel.memory.frames;
  for (const pfn of shuffled(nrFrames, seed)) {
    const isPage = frameClass[pfn] === FrameClass.FILE || frameClass[pfn] === FrameClass.ANON;
    if (!isPage || (flags[pfn] & PG.LRU) === 0) continue;
    policy.remove(pfn);
    policy.putBack(pfn, PutBack.KEEP);
  }
}

/** The pages of a kind that go first, next to go first. */
export function oldest(kernel: Kernel, kind: PageKind, count: number): Uint32Array {
  const pages = new Uint32Array(count);
  let pfn = -1;
  for (let i = 0; i < count; i++) {
    pfn = kernel.reclaim.policy.older(kind, pfn);
    if (pfn < 0) throw new Error(`there are ${i} pages on the list, not ${count}`);
    pages[i] = pfn;
  }
  return pages;
}
