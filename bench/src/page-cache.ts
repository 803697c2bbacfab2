/** Finding a page in the page cache against a `Map.get` with as many keys, and what a hit costs on the JS heap. */
import { getHeapStatistics } from 'node:v8';
import { formatSize, Kernel, PAGE_SIZE, PageCache, TaskContext } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { measure } from 'mitata';
import { type Bench, compare, type Row, round, shuffled, type Target, timePer } from './harness.js';
import { mapCost } from './map-peer.js';

const SIZES_BYTES = [8 * 2 ** 20, 64 * 2 ** 20, 2 ** 30];
const LEAST_STEPS = 500_000;
const MITATA_VERSION = '1.0.34';
const task = TaskContext.root('bench');

/** A page cache of pages that are full of their number (untouched, the host would have one page of zeroes for all), with `nrPages` pages in memory. */
export async function filledCache(kernel: Kernel, nrPages: number, first = 0): Promise<PageCache> {
  const { memory } = kernel;
  const cache = new PageCache(kernel.cacheParts, 'bench', {
    sizeBytes: 2 ** 44,
    readFolio: (_task, index, pfn) => {
      const at = memory.arena.wordIndexOf(pfn);
      memory.arena.wordsOf(pfn).fill(index + 1, at, at + PAGE_SIZE / 4);
      return 0;
    },
    writepages: () => 0,
    sync: () => 0,
    cutOff: async () => {},
  });
  await fillCache(cache, first, nrPages);
  return cache;
}

/** Reads `nrPages` pages from index `first` on into a cache. */
export async function fillCache(cache: PageCache, first: number, nrPages: number): Promise<void> {
  const byte = new Uint8Array(1);
  for (let index = first; index < first + nrPages; index++) {
    const got = await cache.read(task, index * PAGE_SIZE, byte);
    if (got !== 1) throw new Error(`page ${index} could not be read: ${got}`);
  }
}

export const pageCache: Bench = {
  name: 'lookup',
  async *run(): AsyncGenerator<Row> {
    for (const bytes of SIZES_BYTES) {
      const nrPages = bytes / PAGE_SIZE;
      const kernel = await Kernel.boot({ memory: Math.ceil(bytes * 1.25), plugins: [host] });
      const cache = await filledCache(kernel, nrPages);
      const order = shuffled(nrPages);
      const rounds = Math.ceil(LEAST_STEPS / nrPages);
      const result = await compare(() => timePer(rounds * nrPages, () => lookupAll(cache, order, rounds)), mapCost(nrPages));
      yield {
        bench: this.name,
        what: `page found in the page cache, ${formatSize(bytes)} ÷ Map.get`,
        unit: '×',
        target: { relation: '≤', limit: 1.5 },
        ...result,
        ours: `${round(result.ours)} ns`,
        peer: `${round(result.peer)} ns`,
      };
      await cache.close(task);
      await kernel.shutdown();
    }
    yield* heapRows(this.name);
  },
};

function lookupAll(cache: PageCache, order: Uint32Array, rounds: number): number {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < order.length; i++) sum += cache.lookup(order[i]);
  }
  return sum;
}

async function* heapRows(bench: string): AsyncGenerator<Row> {
  const kernel = await Kernel.boot({ memory: '64MiB', plugins: [host, swap] });
  const nrPages = 4096;
  const cache = await filledCache(kernel, nrPages);
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: nrPages * PAGE_SIZE });
  const page = new Uint8Array(PAGE_SIZE).fill(1);
  for (let i = 0; i < nrPages; i++) await buffer.write(i * PAGE_SIZE, page);
  const order = shuffled(nrPages);
  let at = 0;
  const next = (): number => order[at++ & (nrPages - 1)];
  // A copy out of the arena makes one view, 96 bytes: JavaScript has no copy between two buffers without one.
  const view = 'with the view that the copy takes';
  const hits: { what: string; hit: () => unknown; target?: Target; note?: string }[] = [
    { what: 'page found in the page cache', hit: () => cache.lookup(next()), target: { relation: '<', limit: 1 } },
    { what: '4 KiB read from the page cache', hit: () => cache.read(task, next() * PAGE_SIZE, page), note: view },
    { what: '4 KiB read from a PagedBuffer', hit: () => buffer.read(next() * PAGE_SIZE, page), note: view },
    { what: '4 KiB written to a PagedBuffer', hit: () => buffer.write(next() * PAGE_SIZE, page) },
  ];
  for (const { what, hit, target, note } of hits) {
    const { heap } = await measure(hit, {
      heap: () => {
        const statistics = getHeapStatistics();
        return statistics.used_heap_size + statistics.malloced_memory;
      },
    });
    yield {
      bench,
      what: `JS heap for a ${what}`,
      unit: 'B',
      target,
      value: heap?.avg,
      least: heap?.min,
      largest: heap?.max,
      note: [`counted by mitata ${MITATA_VERSION}`, note].filter((text) => text !== undefined).join(', '),
    };
  }
  buffer.close();
  await cache.close(task);
  await kernel.shutdown();
}
