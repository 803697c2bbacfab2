/**
 * Reclaiming a clean page against copying one, on arenas of growing size. The order of the lists is shuffled against that of the
 * frames, so that each page is a cache miss, as it is in a system that has run for a while.
 */
import { type Arena, FrameTable, formatSize, Kernel, PAGE_SIZE, PageKind, TaskContext } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { type Bench, compare, type Row, round, timePer } from './harness.js';
import { oldest, shuffleLists } from './lists.js';
import { fillCache, filledCache } from './page-cache.js';

const SIZES_BYTES = [16 * 2 ** 20, 64 * 2 ** 20, 256 * 2 ** 20, 2 ** 30];
/** Fewest pages of one measurement. */
const LEAST_VICTIMS = 16_384;
/** Part of the pages that one round reclaims. */
const PART = 4;
/** Frames asked for at once, as direct reclaim does. */
const BATCH = 32;
/** How much worse than the smallest arena the largest may be. */
const GROWTH_MAX = 0.1;
const task = TaskContext.root('bench');

export const reclaim: Bench = {
  name: 'reclaim',
  async *run(): AsyncGenerator<Row> {
    const ratios: number[] = [];
    for (const bytes of SIZES_BYTES) {
      const kernel = await Kernel.boot({ memory: bytes, plugins: [host] });
      const { memory } = kernel;
      // No reclaim but the one that is measured: kswapd stays asleep above `low`.
      const nrPages = Math.floor((memory.allocator.nrFree - memory.allocator.high) * 0.9);
      const cache = await filledCache(kernel, nrPages);
      const nrVictims = Math.floor(nrPages / PART / BATCH) * BATCH;
      const nrRounds = Math.ceil(LEAST_VICTIMS / nrVictims);
      const target = new Uint8Array(PAGE_SIZE);
      const { counters } = memory;
      let next = nrPages;
      let seed = 1;
      /** The pages of each round: those that were reclaimed last. */
      const victims: Uint32Array[] = [];
      const reclaimAll = async (): Promise<number> => {
        let cost = 0;
        for (let i = 0; i < nrRounds; i++) {
          shuffleLists(kernel, ++seed);
          victims[i] = oldest(kernel, PageKind.FILE, nrVictims);
          cost += timePer(nrVictims * nrRounds, () => shrink(kernel, nrVictims));
          await fillCache(cache, next, nrVictims); // others take their place
          next += nrVictims;
        }
        return cost;
      };
      await reclaimAll();
      const scannedBefore = counters.pgscan_direct;
      const stolenBefore = counters.pgsteal_direct;
      const result = await compare(reclaimAll, () => timePer(nrVictims * nrRounds, () => copyAll(memory.arena, victims, target)));
      const scanned = counters.pgscan_direct - scannedBefore;
      const stolen = counters.pgsteal_direct - stolenBefore;
      ratios.push(result.value);
      yield {
        bench: this.name,
        what: `clean page reclaimed ÷ page copied, ${formatSize(bytes)}`,
        unit: '×',
        target: { relation: '≤', limit: 1 },
        ...result,
        ours: `${round(result.ours)} ns`,
        peer: `${round(result.peer)} ns`,
        note: `${round(scanned / stolen)} scanned for each freed`,
      };
      await cache.close(task);
      await kernel.shutdown();
    }
    yield {
      bench: this.name,
      what: `the same, ${formatSize(SIZES_BYTES[3])} less ${formatSize(SIZES_BYTES[0])}`,
      unit: '×',
      target: { relation: '≤', limit: GROWTH_MAX },
      value: ratios[3] - ratios[0],
    };
    yield {
      bench: this.name,
      what: 'bookkeeping for a frame',
      unit: 'B',
      target: { relation: '≤', limit: 64 },
      value: FrameTable.BYTES_PER_FRAME,
    };
  },
};

function shrink(kernel: Kernel, count: number): number {
  let freed = 0;
  while (freed < count) {
    const got = kernel.reclaim.shrink(BATCH, false, false);
    if (got === 0) throw new Error('nothing is reclaimable');
    freed += got;
  }
  return freed;
}

function copyAll(arena: Arena, rounds: readonly Uint32Array[], target: Uint8Array): number {
  let sum = 0;
  for (const pfns of rounds) {
    for (let i = 0; i < pfns.length; i++) {
      arena.copyOut(pfns[i], 0, target, 0, PAGE_SIZE);
      sum += target[0];
    }
  }
  return sum;
}
