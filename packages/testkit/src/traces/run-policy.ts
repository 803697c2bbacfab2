/**
 * A replacement policy of core on a trace of references: hits, and how many pages were looked at for each that went. For whoever writes a
 * `REPLACEMENT_POLICY`.
 */
import {
  createCounters,
  FrameClass,
  FrameTable,
  judge,
  PageKind,
  PG,
  PutBack,
  type ReplacementPolicyFactory,
  Verdict,
} from '@tidemark/core';
import { nrBlocks, type Trace } from './trace.js';

/** What a run came to. */
export interface TraceResult {
  readonly hits: number;
  /** Pages looked at for each page freed, those included that the policy itself passed over. */
  readonly scanCost: number;
}

/** Runs a policy on a trace as reclaim does: a hit sets a bit, a miss in full memory has one page freed. Cold start. @param nrFrames of pages. */
export function runPolicy(factory: ReplacementPolicyFactory, trace: Trace, nrFrames: number): TraceResult {
  const frames = new FrameTable(nrFrames);
  const counters = createCounters();
  const policy = factory({ frames, counters, maySwap: () => false });
  const cells = new Uint32Array(nrBlocks(trace));
  const into = new Uint32Array(1);
  const free = Array.from({ length: nrFrames }, (_, i) => nrFrames - 1 - i);
  let hits = 0;
  let scanned = 0;
  let freed = 0;
  for (const block of trace) {
    const cell = cells[block];
    if ((cell & 3) === 1) {
      hits++;
      frames.flags[cell >>> 2] |= PG.YOUNG;
      continue;
    }
    while (free.length === 0) {
      if (policy.isolate(PageKind.FILE, into, 1) === 0) continue;
      scanned++;
      const [pfn] = into;
      const verdict = judge(frames.flags[pfn], 0, false, false);
      if (verdict === Verdict.FREE) {
        cells[frames.index[pfn]] = policy.evicted(pfn);
        frames.flags[pfn] = 0;
        free.push(pfn);
        freed++;
      } else if (verdict === Verdict.ACTIVATE) {
        frames.flags[pfn] &= ~(PG.YOUNG | PG.REFERENCED);
        policy.putBack(pfn, PutBack.ACTIVATE);
      } else {
        frames.flags[pfn] = (frames.flags[pfn] & ~PG.YOUNG) | PG.REFERENCED;
        policy.putBack(pfn, PutBack.KEEP);
      }
    }
    const pfn = free.pop() as number;
    frames.frameClass[pfn] = FrameClass.FILE;
    frames.space[pfn] = 1;
    frames.index[pfn] = block;
    policy.add(pfn, cell);
    cells[block] = ((pfn << 2) | 1) >>> 0;
  }
  return { hits, scanCost: freed === 0 ? 0 : (scanned + counters.pgscan_passed) / freed };
}
