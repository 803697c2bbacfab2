/** Allocating and freeing a frame against a `Map.get` with as many number keys as there are frames, in random order. */
import { formatSize, Gfp, Memory, PAGE_SIZE, TaskContext } from '@tidemark/core';
import { type Bench, compare, type Row, round, shuffled, timePer } from './harness.js';
import { mapCost } from './map-peer.js';

const SIZES_BYTES = [8 * 2 ** 20, 64 * 2 ** 20, 2 ** 30];
/** Frames given back before as many are taken. */
const BURST = 128;
const LEAST_STEPS = 500_000;
const task = TaskContext.root('bench');

export const pageAllocator: Bench = {
  name: 'alloc',
  async *run(): AsyncGenerator<Row> {
    for (const bytes of SIZES_BYTES) {
      const nrFrames = bytes / PAGE_SIZE;
      const { allocator } = new Memory(nrFrames);
      const peer = mapCost(nrFrames);
      const hot = (): number => timePer(LEAST_STEPS, () => takeAndGive(allocator, LEAST_STEPS));
      // Half of the frames are out; some of them, at random, are given back, and as many taken: more than any stack of hot ones holds.
      const held = Uint32Array.from({ length: nrFrames / 2 }, () => allocator.allocPage(task, Gfp.FILE));
      const order = shuffled(held.length);
      const rounds = Math.ceil(LEAST_STEPS / held.length);
      const mixed = (): number => timePer(rounds * held.length, () => exchange(allocator, held, order, rounds));
      for (const [how, work] of [
        ['at once', hot],
        [`in random bursts of ${BURST}`, mixed],
      ] as const) {
        const result = await compare(work, peer);
        yield {
          bench: this.name,
          what: `frame allocated and freed ${how}, ${formatSize(bytes)} ÷ Map.get`,
          unit: '×',
          target: { relation: '≤', limit: 3 },
          ...result,
          ours: `${round(result.ours)} ns`,
          peer: `${round(result.peer)} ns`,
        };
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

function exchange(allocator: Allocator, held: Uint32Array, order: Uint32Array, rounds: number): void {
  for (let round = 0; round < rounds; round++) {
    for (let first = 0; first < order.length; first += BURST) {
      for (let i = first; i < first + BURST; i++) allocator.freePage(held[order[i]]);
      for (let i = first; i < first + BURST; i++) held[order[i]] = allocator.allocPage(task, Gfp.FILE);
    }
  }
}
