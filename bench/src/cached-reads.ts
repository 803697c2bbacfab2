/** Random 4 KiB reads of what is in memory: `PagedBuffer.read`, and `read` of a device through its address space, against `fs.readSync` of a file that the host has cached. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type DeviceCache, formatSize, Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { type Bench, compare, type Row, round, shuffled, timePer } from './harness.js';

const SETS = [
  { bytes: 8 * 2 ** 20, limit: 2 },
  { bytes: 512 * 2 ** 20, limit: 1.2 },
];
const LEAST_READS = 65_536;

/** What can be read at random: a value if the page is there. */
type Readable = Pick<PagedBuffer | DeviceCache, 'read'>;

const READABLES: readonly { what: string; open(kernel: Kernel, bytes: number): Promise<Readable & Pick<DeviceCache, 'write'>> }[] = [
  {
    what: 'PagedBuffer',
    open: async (kernel, sizeBytes) => {
      const buffer = await PagedBuffer.create(kernel, { sizeBytes });
      return { read: (at, target) => buffer.read(at, target), write: async (at, source) => buffer.write(at, source) };
    },
  },
  { what: 'address space', open: async (kernel, bytes) => kernel.cacheDevice(await kernel.openBlockDevice(`mem:${bytes}`)) },
];

export const cachedReads: Bench = {
  name: 'reads',
  async *run(): AsyncGenerator<Row> {
    for (const readable of READABLES) for (const { bytes, limit } of SETS) yield* rows(this.name, readable, bytes, limit);
  },
};

async function* rows(bench: string, { what, open }: (typeof READABLES)[number], bytes: number, limit: number): AsyncGenerator<Row> {
  const nrPages = bytes / PAGE_SIZE;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-bench-'));
  const kernel = await Kernel.boot({ memory: Math.ceil(bytes * 1.25), plugins: [host, swap] });
  const file = fs.openSync(path.join(folder, 'peer'), 'w+');
  try {
    const ours = await open(kernel, bytes);
    const page = new Uint8Array(PAGE_SIZE);
    for (let i = 0; i < nrPages; i++) {
      page.fill(i + 1);
      await ours.write(i * PAGE_SIZE, page);
      fs.writeSync(file, page);
    }
    const order = shuffled(nrPages);
    const rounds = Math.ceil(LEAST_READS / nrPages);
    const nrReads = Math.min(rounds * nrPages, LEAST_READS);
    const reads = Uint32Array.from({ length: nrReads }, (_, i) => order[i % nrPages]);
    // Speeds: the ratio is ours ÷ peer in reads a second.
    const result = await compare(
      () => 1e3 / timePer(nrReads, () => readOurs(ours, reads, page)),
      () => 1e3 / timePer(nrReads, () => readFile(file, reads, page)),
    );
    yield {
      bench,
      what: `random 4 KiB reads, ${formatSize(bytes)}, ${what} ÷ fs.readSync`,
      unit: '×',
      target: { relation: '≥', limit },
      ...result,
      ours: `${round(result.ours)} M/s`,
      peer: `${round(result.peer)} M/s`,
    };
  } finally {
    fs.closeSync(file);
    fs.rmSync(folder, { recursive: true });
    await kernel.shutdown();
  }
}

function readOurs(ours: Readable, reads: Uint32Array, target: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < reads.length; i++) {
    if (typeof ours.read(reads[i] * PAGE_SIZE, target) !== 'number') throw new Error('a read missed');
    sum += target[0];
  }
  return sum;
}

function readFile(file: number, reads: Uint32Array, target: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < reads.length; i++) {
    fs.readSync(file, target, 0, PAGE_SIZE, reads[i] * PAGE_SIZE);
    sum += target[0];
  }
  return sum;
}
