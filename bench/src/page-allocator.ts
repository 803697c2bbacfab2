/** Allocating and freeing a frame against a `Map.get` with as many number keys as there are frames, in random order. */
import { formatSize, Gfp, Memory, PAGE_SIZE, TaskContext } from '@tidemark/core';
import { type Bench, compare, type Row, round, shuffled, type Target, timePer } from './harness.js';
import { mapCost } from './map-peer.js';

const SIZES_BYTES = [8 * 2 ** 20, 64 * 2 ** 20, 2 ** 30];
/** Frames given back before as many are taken: as reclaim does it, and so many that blocks are merged and split. */
const BURSTS = [
  { burst: 32, target: { relation: '≤', limit: 3 } },
  { burst: 256, target: undefined },
] as const;
const LEAST_STEPS = 500_000;
const task = TaskContext.root('bench');

export const pageAllocator: Bench = {
  name: 'alloc',
  async *run(): AsyncGenerator<Row> {
    for (const bytes of SIZES_BYTES) {
      const nrFrames = bytes / PAGE_SIZE;
      const { allocator } = new Memory(nrFrames);
      const peer = mapCost(nrFrames);
      const row = async (how: string, work: () => number, target?: Target): Promise<Row> => {
        const result = await compare(work, peer);
        return {
          bench: this.name,
          what: `frame allocated and freed ${how}, ${formatSize(bytes)} ÷ Map.get`,
          unit: '×',
          target,
          ...result,
          ours: `${round(result.ours)} ns`,
          peer: `${round(result.peer)} ns`,
        };
      };
      yield row('at once', () => timePer(LEAST_STEPS, () => takeAndGive(allocator, LEAST_STEPS)), { relation: '≤', limit: 3 });
      // Half of the frames are out; some of them, at random, are given back, and as many taken.
      const held = Uint32Array.from({ length: nrFrames / 2 }, () => allocator.allocPage(task, Gfp.FILE));
      const order = shuffled(held.length);
      const rounds = Math.ceil(LEAST_STEPS / held.length);
      for (const { burst, target } of BURSTS) {
        const work = (): number => timePer(rounds * held.length, () => exchange(allocator, held, order, rounds, burst));
        yield row(`in random bursts of ${burst}`, work, target);
      }
    }
  },
};

type Allocator = Memory['allocator'];

function takeAndGive(allocator: Allocator, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const pfn = allocator.allocPage(task, Gfp.FILE);
    sum += pfn;
    allocator.freePage(pfn);
  }
  return sum;
}

function exchange(allocator: Allocator, held: Uint32Array, order: Uint32Array, rounds: number, burst: number): void {
  for (let round = 0; round < rounds; round++) {
    for (let first = 0; first < order.length; first += burst) {
      for (let i = first; i < first + burst; i++) allocator.freePage(held[order[i]]);
      for (let i = first; i < first + burst; i++) held[order[i]] = allocator.allocPage(task, Gfp.FILE);
    }
  }
}
