/** Page-reference traces: recorded ones from the folder that `TIDEMARK_TRACES` names, and made ones from a seed; and policies run on them. */
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
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
import { seeded } from './virtual-time.js';

/** Blocks, renumbered from 0 in the order in which they come. */
export type Trace = Uint32Array;

/** Folder of the recorded traces, or null. */
export const TRACES_FOLDER = process.env.TIDEMARK_TRACES ?? null;

/** A recorded trace. */
export function recorded(name: string): Trace {
  const file = path.join(TRACES_FOLDER ?? '', `${name}.gz`);
  const lines = zlib.gunzipSync(fs.readFileSync(file)).toString('latin1').split('\n');
  return renumbered(
    lines
      .map((line) => line.trim())
      .filter((line) => /^\d+$/.test(line))
      .map(Number),
  );
}

function renumbered(blocks: number[]): Trace {
  const ids = new Map<number, number>();
  return Uint32Array.from(blocks, (block) => {
    let id = ids.get(block);
    if (id === undefined) {
      id = ids.size;
      ids.set(block, id);
    }
    return id;
  });
}

/** A mix from a seed: a hot set by Zipf's law, a loop, and scans of what never comes back. */
export function mixed(seed: number, nrReferences: number): Trace {
  const random = seeded(seed);
  const blocks: number[] = [];
  let loop = 0;
  let scan = 1_000_000;
  while (blocks.length < nrReferences) {
    const dice = random();
    if (dice < 0.5) blocks.push(Math.floor(400 ** random()));
    else if (dice < 0.9) blocks.push(10_000 + (loop++ % 600));
    else for (let i = 0; i < 20; i++) blocks.push(scan++);
  }
  return renumbered(blocks.slice(0, nrReferences));
}

/** What a run came to. */
export interface TraceResult {
  readonly hits: number;
  /** Pages looked at for each page freed. */
  readonly scanCost: number;
}

/** Runs a policy on a trace as reclaim does: a hit sets a bit, a miss in full memory has one page freed. */
export function runPolicy(factory: ReplacementPolicyFactory, trace: Trace, nrFrames: number): TraceResult {
  const frames = new FrameTable(nrFrames);
  const policy = factory({ frames, counters: createCounters(), maySwap: () => false });
  const cells = new Uint32Array(trace.reduce((most, block) => Math.max(most, block), 0) + 1);
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
  return { hits, scanCost: freed === 0 ? 0 : scanned / freed };
}

/** Hits of LRU. */
export function lruHits(trace: Trace, nrFrames: number): number {
  const pages = new Map<number, true>();
  let hits = 0;
  for (const block of trace) {
    if (pages.delete(block)) hits++;
    else if (pages.size === nrFrames) pages.delete(pages.keys().next().value as number);
    pages.set(block, true);
  }
  return hits;
}
