/**
 * Replacement policies as their papers have them, to set ours beside: equal pages, cold start, hits of a trace. None of this is in a kernel;
 * each is written for its result, not its speed.
 */
import { nrBlocks, type Trace } from '@tidemark/testkit';

/** Hits of a trace with so many frames. */
export type CountHits = (trace: Trace, nrFrames: number) => number;

/** A queue of blocks, oldest first: what is deleted and set again is the newest. */
class Queue extends Map<number, true> {
  get oldest(): number {
    return this.keys().next().value as number;
  }

  push(block: number): void {
    this.set(block, true);
  }

  /** Takes the oldest out. */
  shift(): number {
    const block = this.oldest;
    this.delete(block);
    return block;
  }
}

export const lru: CountHits = (trace, nrFrames) => {
  const pages = new Queue();
  let hits = 0;
  for (const block of trace) {
    if (pages.delete(block)) hits++;
    else if (pages.size === nrFrames) pages.shift();
    pages.push(block);
  }
  return hits;
};

/** FIFO with a second chance: one bit for each page. */
export const clock: CountHits = (trace, nrFrames) => {
  const pages = new Queue();
  const used = new Uint8Array(nrBlocks(trace));
  let hits = 0;
  for (const block of trace) {
    if (pages.has(block)) {
      hits++;
      used[block] = 1;
      continue;
    }
    while (pages.size === nrFrames) {
      const oldest = pages.shift();
      if (used[oldest] === 1) pages.push(oldest);
      used[oldest] = 0;
    }
    pages.push(block);
  }
  return hits;
};

/** SIEVE (Zhang and others, NSDI 2024): a hand goes from old to new over a FIFO, and pages stay where they are. */
export const sieve: CountHits = (trace, nrFrames) => {
  const n = nrBlocks(trace);
  const newer = new Int32Array(n).fill(-1);
  const older = new Int32Array(n).fill(-1);
  const isIn = new Uint8Array(n);
  const used = new Uint8Array(n);
  let [newest, oldest, hand, nrPages, hits] = [-1, -1, -1, 0, 0];
  for (const block of trace) {
    if (isIn[block] === 1) {
      hits++;
      used[block] = 1;
      continue;
    }
    if (nrPages === nrFrames) {
      if (hand < 0) hand = oldest;
      while (used[hand] === 1) {
        used[hand] = 0;
        hand = newer[hand] < 0 ? oldest : newer[hand];
      }
      const gone = hand;
      hand = newer[gone];
      if (older[gone] >= 0) newer[older[gone]] = newer[gone];
      else oldest = newer[gone];
      if (newer[gone] >= 0) older[newer[gone]] = older[gone];
      else newest = older[gone];
      isIn[gone] = 0;
      nrPages--;
    }
    older[block] = newest;
    newer[block] = -1;
    if (newest >= 0) newer[newest] = block;
    else oldest = block;
    newest = block;
    isIn[block] = 1;
    used[block] = 0;
    nrPages++;
  }
  return hits;
};

/** S3-FIFO (Yang and others, SOSP 2023): a tenth of the frames for newcomers, a ghost queue as long as the main one. */
export const s3Fifo: CountHits = (trace, nrFrames) => {
  const small = new Queue();
  const main = new Queue();
  const ghosts = new Queue();
  const uses = new Uint8Array(nrBlocks(trace));
  const smallFrames = Math.max(1, Math.floor(nrFrames / 10));
  const evictMain = (): void => {
    for (;;) {
      const block = main.shift();
      if (uses[block] === 0) return;
      uses[block]--;
      main.push(block);
    }
  };
  /** @returns true if a frame is free now. */
  const evictSmall = (): boolean => {
    const block = small.shift();
    if (uses[block] > 1) {
      uses[block] = 0;
      main.push(block);
      return false;
    }
    if (ghosts.size >= nrFrames - smallFrames) ghosts.shift();
    ghosts.push(block);
    return true;
  };
  let hits = 0;
  for (const block of trace) {
    if (small.has(block) || main.has(block)) {
      hits++;
      uses[block] = Math.min(uses[block] + 1, 3);
      continue;
    }
    while (small.size + main.size >= nrFrames) {
      if (small.size >= smallFrames || main.size === 0) evictSmall();
      else evictMain();
    }
    uses[block] = 0;
    if (ghosts.delete(block)) main.push(block);
    else small.push(block);
  }
  return hits;
};

/** ARC (Megiddo and Modha, FAST 2003): once and often, a ghost list for each, and a target between them. */
export const arc: CountHits = (trace, nrFrames) => {
  const [once, often, goneOnce, goneOften] = [new Queue(), new Queue(), new Queue(), new Queue()];
  let target = 0;
  let hits = 0;
  const replace = (isGoneOften: boolean): void => {
    if (once.size > 0 && (once.size > target || (isGoneOften && once.size === target))) goneOnce.push(once.shift());
    else goneOften.push(often.shift());
  };
  for (const block of trace) {
    if (once.delete(block) || often.delete(block)) {
      hits++;
      often.push(block);
    } else if (goneOnce.has(block)) {
      target = Math.min(nrFrames, target + Math.max(goneOften.size / goneOnce.size, 1));
      replace(false);
      goneOnce.delete(block);
      often.push(block);
    } else if (goneOften.has(block)) {
      target = Math.max(0, target - Math.max(goneOnce.size / goneOften.size, 1));
      replace(true);
      goneOften.delete(block);
      often.push(block);
    } else {
      const nrOnce = once.size + goneOnce.size;
      const nrAll = nrOnce + often.size + goneOften.size;
      if (nrOnce === nrFrames) {
        if (once.size < nrFrames) {
          goneOnce.shift();
          replace(false);
        } else once.shift();
      } else if (nrAll >= nrFrames) {
        if (nrAll === 2 * nrFrames) goneOften.shift();
        replace(false);
      }
      once.push(block);
    }
  }
  return hits;
};

/** Belady's optimum with demand fill: the page that is used again last goes. */
export const opt: CountHits = (trace, nrFrames) => {
  const never = trace.length;
  const nextUse = new Uint32Array(trace.length);
  const seenAt = new Uint32Array(nrBlocks(trace)).fill(never);
  for (let i = trace.length - 1; i >= 0; i--) {
    nextUse[i] = seenAt[trace[i]];
    seenAt[trace[i]] = i;
  }
  // A heap of when pages in memory are used next, latest first. Times of pages that have been used since are left in it, and passed over.
  const heap: number[] = [];
  const due = new Map<number, number>();
  const neverAgain = new Queue();
  let hits = 0;
  for (let i = 0; i < trace.length; i++) {
    const block = trace[i];
    const isIn = due.has(block) || neverAgain.has(block);
    if (isIn) hits++;
    else if (due.size + neverAgain.size === nrFrames) {
      if (neverAgain.size > 0) neverAgain.shift();
      else {
        let time = popLatest(heap);
        while (due.get(trace[time]) !== time) time = popLatest(heap);
        due.delete(trace[time]);
      }
    }
    if (nextUse[i] === never) {
      due.delete(block);
      neverAgain.push(block);
    } else {
      due.set(block, nextUse[i]);
      pushTime(heap, nextUse[i]);
    }
  }
  return hits;
};

function pushTime(heap: number[], time: number): void {
  let at = heap.push(time) - 1;
  while (at > 0 && heap[(at - 1) >> 1] < time) {
    heap[at] = heap[(at - 1) >> 1];
    at = (at - 1) >> 1;
  }
  heap[at] = time;
}

function popLatest(heap: number[]): number {
  const [latest] = heap;
  const last = heap.pop() as number;
  if (heap.length === 0) return latest;
  let at = 0;
  for (let child = 1; child < heap.length; child = 2 * at + 1) {
    if (child + 1 < heap.length && heap[child + 1] > heap[child]) child++;
    if (heap[child] <= last) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = last;
  return latest;
}
