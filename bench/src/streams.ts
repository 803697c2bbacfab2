/** Streams through the page cache of a RAM disk against a copy of as many bytes from one place to another: cached, cold, and written with writeback. */
import { type DeviceCache, formatSize, Kernel, TaskContext } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { type Bench, compare, type Row, round, timePer } from './harness.js';

const MEMORY = '32MiB';
/** Much more than memory: every page goes through reclaim. */
const COLD_BYTES = 128 * 2 ** 20;
/** Less than memory. */
const CACHED_BYTES = 16 * 2 ** 20;
/** Bytes of one read or write. */
const CHUNK = 256 * 2 ** 10;

export const streams: Bench = {
  name: 'streams',
  async *run(): AsyncGenerator<Row> {
    const kernel = await Kernel.boot({ memory: MEMORY, plugins: [host] });
    const device = await kernel.openBlockDevice(`mem:${COLD_BYTES}`);
    const cache = kernel.cacheDevice(device);
    const chunk = new Uint8Array(CHUNK).fill(5);
    const source = new Uint8Array(COLD_BYTES).fill(7);
    const target = new Uint8Array(COLD_BYTES).fill(8);
    await writeAll(cache, COLD_BYTES, chunk);
    const forget = async (): Promise<void> => {
      const status = await cache.pages.invalidate(TaskContext.root('bench'));
      if (status < 0 || cache.pages.nrPages > 0) throw new Error(`the cache does not let go of its pages: ${status}`);
    };
    const rows: readonly { what: string; bytes: number; limit: number; before?: () => Promise<void>; run: () => Promise<void> }[] = [
      { what: 'cached sequential read', bytes: CACHED_BYTES, limit: 0.6, run: () => readAll(cache, CACHED_BYTES, chunk) },
      // The policy keeps a part of what is read round and round: so that nothing is in memory, all of it goes before.
      { what: 'cold sequential read', bytes: COLD_BYTES, limit: 0.3, before: forget, run: () => readAll(cache, COLD_BYTES, chunk) },
      { what: 'sequential write, written back', bytes: COLD_BYTES, limit: 0.3, run: () => writeAll(cache, COLD_BYTES, chunk) },
    ];
    for (const { what, bytes, limit, run, before } of rows) {
      await run();
      const result = await compare(
        async () => {
          await before?.();
          return bytes / (await timeOf(run)) / 1e6;
        },
        () => 1 / timePer(bytes, () => copyAll(source, target, bytes)),
      );
      yield {
        bench: this.name,
        what: `${what} of ${formatSize(bytes)} in ${MEMORY} ÷ memcpy`,
        unit: '×',
        target: { relation: '≥', limit },
        ...result,
        ours: `${round(result.ours)} GB/s`,
        peer: `${round(result.peer)} GB/s`,
      };
    }
    await kernel.shutdown();
  },
};

/** Milliseconds. */
async function timeOf(run: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

async function readAll(cache: DeviceCache, bytes: number, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes; at += CHUNK) {
    const got = cache.read(at, chunk);
    if (typeof got !== 'number') await got;
  }
}

async function writeAll(cache: DeviceCache, bytes: number, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes; at += CHUNK) await cache.write(at, chunk);
  await cache.sync();
}

function copyAll(source: Uint8Array, target: Uint8Array, bytes: number): number {
  for (let at = 0; at < bytes; at += CHUNK) target.set(source.subarray(at, at + CHUNK), at);
  return target[0];
}
