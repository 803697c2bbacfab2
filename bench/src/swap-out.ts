/**
 * Swapping pages out to a RAM disk against plain copying of the same pages in the same order: what reclaim, slots and the block layer
 * cost beside the copy that there has to be. Once with the lists in the order of the frames, once shuffled. And swapping out under the default
 * reserve policy against none: what accounts, units and tickets cost when there is no pressure on them.
 */
import { Kernel, type Memory, PAGE_SIZE, PageKind } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { type Bench, compare, type Row, round, timePer } from './harness.js';
import { oldest, shuffleLists } from './lists.js';

const MEMORY_BYTES = 64 * 2 ** 20;
const SWAP_BYTES = 64 * 2 ** 20;
const NR_PAGES = 12_000;
const NR_VICTIMS = 8_192;
const BATCH = 32;
/** Rounds are short, so there are many. */
const NR_PAIRS = 25;

export const swapOut: Bench = {
  name: 'swap',
  async *run(): AsyncGenerator<Row> {
    for (const isShuffled of [false, true]) {
      const kernel = await bootSwap('composed');
      const platter = new Uint8Array(SWAP_BYTES).fill(1);
      let victims = await prepare(kernel, isShuffled, 1);
      let seed = 1;
      let written = 0;
      const result = await compare(
        async () => {
          const speed = swapOutVictims(kernel);
          victims = await prepare(kernel, isShuffled, ++seed);
          return speed;
        },
        () => {
          const nsPerPage = timePer(NR_VICTIMS, () => copyAll(kernel.memory, victims, platter, written));
          written += NR_VICTIMS;
          return (PAGE_SIZE / 2 ** 20) * (1e9 / nsPerPage);
        },
        NR_PAIRS,
      );
      yield {
        bench: this.name,
        what: `swap-out to a RAM disk ÷ copying the pages, lists ${isShuffled ? 'shuffled' : 'in the order of frames'}`,
        unit: '×',
        target: { relation: '≥', limit: 0.5 },
        ...result,
        ours: `${round(result.ours)} MiB/s`,
        peer: `${round(result.peer)} MiB/s`,
      };
      await kernel.shutdown();
    }
    yield await policyRow(this.name);
  },
};

/** The machinery of the reserve on a way out that never needs it. */
async function policyRow(bench: string): Promise<Row> {
  const [composed, none] = [await bootSwap('composed'), await bootSwap('none')];
  const speedOf = async (kernel: Kernel): Promise<number> => {
    await prepare(kernel, false, 1);
    return swapOutVictims(kernel);
  };
  const result = await compare(
    () => speedOf(composed),
    () => speedOf(none),
    NR_PAIRS,
  );
  await composed.shutdown();
  await none.shutdown();
  return {
    bench,
    what: 'swap-out to a RAM disk under reserve policy composed ÷ none',
    unit: '×',
    target: { relation: '≥', limit: 0.95 },
    ...result,
    ours: `${round(result.ours)} MiB/s`,
    peer: `${round(result.peer)} MiB/s`,
  };
}

async function bootSwap(policy: 'composed' | 'none'): Promise<Kernel> {
  const kernel = await Kernel.boot({ memory: MEMORY_BYTES, plugins: [host, swap], policy });
  await kernel.swapOn(await kernel.openBlockDevice(`mem:${SWAP_BYTES}`), { format: true });
  return kernel;
}

/** Swaps out the pages that go first. @returns MiB a second. */
function swapOutVictims(kernel: Kernel): number {
  const { counters } = kernel.memory;
  const before = counters.pswpout;
  const start = performance.now();
  while (counters.pswpout - before < NR_VICTIMS) {
    if (kernel.reclaim.shrink(BATCH, true, false) === 0) throw new Error('nothing could be swapped out');
  }
  const seconds = (performance.now() - start) / 1e3;
  return ((counters.pswpout - before) * PAGE_SIZE) / 2 ** 20 / seconds;
}

const buffers = new WeakMap<Kernel, PagedBuffer>();

/** A new buffer with every page in memory and dirty. @returns the pages that go first. */
async function prepare(kernel: Kernel, isShuffled: boolean, seed: number): Promise<Uint32Array> {
  buffers.get(kernel)?.close();
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: NR_PAGES * PAGE_SIZE });
  buffers.set(kernel, buffer);
  const page = new Uint8Array(PAGE_SIZE);
  for (let i = 0; i < NR_PAGES; i++) {
    page.fill((i % 255) + 1);
    await buffer.write(i * PAGE_SIZE, page);
  }
  if (isShuffled) shuffleLists(kernel, seed);
  return oldest(kernel, PageKind.ANON, NR_VICTIMS);
}

function copyAll({ arena }: Memory, pfns: Uint32Array, platter: Uint8Array, first: number): number {
  const nrSlots = platter.length / PAGE_SIZE;
  for (let i = 0; i < pfns.length; i++) arena.copyOut(pfns[i], 0, platter, ((first + i) % nrSlots) * PAGE_SIZE, PAGE_SIZE);
  return platter[0];
}
