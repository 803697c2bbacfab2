/**
 * Replacement policies on traces (M18). Recorded ones are in the folder that `TIDEMARK_TRACES` names, and skipped where it is not set; made
 * ones always run.
 */
import { clockProPolicy, createCounters, FrameClass, FrameTable, PageKind, PG, PutBack, twoListPolicy } from '@tidemark/core';
import { loopTrace, mixedTrace, runPolicy, type Trace } from '@tidemark/testkit';
import { recordedTrace, tracesFolder } from '@tidemark/testkit/host';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const folder = tracesFolder();
const recorded = (name: string): Trace => recordedTrace(folder as string, name);

/** Hits of LRU. */
function lruHits(trace: Trace, nrFrames: number): number {
  const pages = new Map<number, true>();
  let hits = 0;
  for (const block of trace) {
    if (pages.delete(block)) hits++;
    else if (pages.size === nrFrames) pages.delete(pages.keys().next().value as number);
    pages.set(block, true);
  }
  return hits;
}

/** Trace, frames, hit ratio of CLOCK-Pro as its author's program has it, in %. */
const PUBLISHED: readonly (readonly [trace: string, nrFrames: number, percent: number])[] = [
  ['2_pools', 100, 46.2],
  ['2_pools', 450, 51.7],
  ['cpp', 100, 77.1],
  ['cpp', 500, 86.0],
  ['cs', 400, 22.5],
  ['cs', 1000, 57.2],
  ['gli', 500, 31.9],
  ['gli', 1500, 53.5],
  ['loop', 256, 24.1],
  ['loop', 512, 48.1],
  ['multi1', 600, 58.1],
  ['multi1', 1400, 77.4],
  ['multi2', 800, 54.8],
  ['multi2', 2000, 70.2],
  ['multi3', 800, 48.8],
  ['multi3', 2500, 64.7],
  ['ps', 600, 58.2],
  ['ps', 1500, 70.5],
  ['sprite', 200, 46.3],
  ['sprite', 600, 81.4],
];

describe.skipIf(folder === null)('CLOCK-Pro on recorded traces', () => {
  it('is at most 2 points below what was published on any, and not below it on average', { timeout: 60_000 }, () => {
    let sum = 0;
    for (const [name, nrFrames, published] of PUBLISHED) {
      const trace = recorded(`${name}.trace`);
      const percent = (100 * runPolicy(clockProPolicy, trace, nrFrames).hits) / trace.length;
      expect(percent, `${name} with ${nrFrames} frames`).toBeGreaterThanOrEqual(published - 2);
      sum += percent;
    }
    expect(sum / PUBLISHED.length).toBeGreaterThanOrEqual(56.4);
  });

  it('counts references as the oracle does: hits of LRU are exact', () => {
    expect(lruHits(recorded('2_pools.trace'), 100)).toBe(21_946);
    expect(lruHits(recorded('cs.trace'), 1000)).toBe(124);
    expect(lruHits(recorded('sprite.trace'), 600)).toBe(111_477);
    expect(lruHits(recorded('cloudPhysicsIO.txt'), 4897)).toBe(22_215);
  });
});

describe('CLOCK-Pro on made traces', () => {
  it('gets nearly what can be had of a loop that is larger than memory, where lists get nothing', () => {
    const loop = loopTrace(50_000, 500);
    for (const nrFrames of [100, 250, 400]) {
      const { hits } = runPolicy(clockProPolicy, loop, nrFrames);
      expect(hits / loop.length).toBeGreaterThan((nrFrames - nrFrames / 25 - 4) / 500 - 0.01);
      expect(runPolicy(twoListPolicy, loop, nrFrames).hits).toBe(0);
    }
  });

  it('keeps a hot set through scans', () => {
    for (const seed of [1, 2, 3]) {
      const trace = mixedTrace(seed, 60_000);
      for (const nrFrames of [200, 500]) {
        const ours = runPolicy(clockProPolicy, trace, nrFrames);
        expect(ours.hits).toBeGreaterThan(lruHits(trace, nrFrames));
        expect(ours.scanCost).toBeLessThan(3);
      }
    }
  });

  it('follows a hot set that moves', () => {
    const trace = Uint32Array.from({ length: 60_000 }, (_, i) => Math.floor(i / 10_000) * 1000 + ((i * 7919) % 80));
    expect(runPolicy(clockProPolicy, trace, 100).hits).toBeGreaterThan(60_000 - 6 * 80 - 6 * 300);
  });
});

describe('the lists of CLOCK-Pro', () => {
  it('hold each page once, whatever comes, goes and is put back', () => {
    const step = fc.record({
      what: fc.constantFrom('add', 'isolate', 'remove', 'young', 'rotate', 'walk'),
      which: fc.nat(1000),
      isAnon: fc.boolean(),
      answer: fc.constantFrom('evict', 'evict', 'keep', 'activate', 'soon', 'lose'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (all) => {
        const NR_FRAMES = 24;
        const frames = new FrameTable(NR_FRAMES);
        const policy = clockProPolicy({ frames, counters: createCounters(), maySwap: () => true });
        const free = Array.from({ length: NR_FRAMES }, (_, i) => i);
        const listed = new Set<number>();
        const shadows = new Map<number, number>();
        const into = new Uint32Array(8);
        const release = (pfn: number): void => {
          frames.flags[pfn] = 0;
          frames.frameClass[pfn] = 0;
          free.push(pfn);
        };
        for (const { what, which, isAnon, answer } of all) {
          const kind = isAnon ? PageKind.ANON : PageKind.FILE;
          const some = [...listed][which % Math.max(listed.size, 1)];
          if (what === 'add' && free.length > 0) {
            const pfn = free.pop() as number;
            frames.frameClass[pfn] = isAnon ? FrameClass.ANON : FrameClass.FILE;
            frames.space[pfn] = 1;
            frames.index[pfn] = which % 60;
            policy.add(pfn, shadows.get(which % 60) ?? 0);
            listed.add(pfn);
          } else if (what === 'isolate') {
            const count = policy.isolate(kind, into, 1 + (which % 8));
            for (const pfn of into.subarray(0, count)) {
              expect(listed.delete(pfn)).toBe(true);
              expect(frames.flags[pfn] & (PG.LRU | PG.YOUNG)).toBe(0);
              if (answer === 'evict') {
                shadows.set(frames.index[pfn], policy.evicted(pfn));
                release(pfn);
              } else if (answer === 'lose') release(pfn);
              else {
                policy.putBack(pfn, answer === 'keep' ? PutBack.KEEP : answer === 'activate' ? PutBack.ACTIVATE : PutBack.SOON);
                listed.add(pfn);
              }
            }
          } else if (what === 'remove' && some !== undefined) {
            policy.remove(some);
            listed.delete(some);
            release(some);
          } else if (what === 'young' && some !== undefined) frames.flags[some] |= PG.YOUNG;
          else if (what === 'rotate' && some !== undefined) policy.rotate(some);
          const walked: number[] = [];
          for (const each of [PageKind.ANON, PageKind.FILE]) {
            const before = walked.length;
            for (let pfn = policy.older(each, -1); pfn >= 0 && walked.length <= NR_FRAMES; pfn = policy.older(each, pfn)) walked.push(pfn);
            expect(policy.count(each)).toBe(walked.length - before);
            const inactive = walked.slice(before, before + policy.countInactive(each));
            expect(inactive.every((pfn) => (frames.flags[pfn] & PG.ACTIVE) === 0)).toBe(true);
          }
          expect(walked.sort()).toEqual([...listed].sort());
          for (const pfn of listed) expect(frames.flags[pfn] & PG.LRU).toBe(PG.LRU);
        }
      }),
      { numRuns: 300 },
    );
  });
});
