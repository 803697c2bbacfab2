/** Random 4 KiB reads of what is in memory: `PagedBuffer.read` against `fs.readSync` of a file that the host has cached. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { formatSize, Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { type Bench, compare, type Row, round, shuffled, timePer } from './harness.js';

const SETS = [
  { bytes: 8 * 2 ** 20, limit: 2 },
  { bytes: 512 * 2 ** 20, limit: 1.2 },
];
const LEAST_READS = 65_536;

export const cachedReads: Bench = {
  name: 'reads',
  async *run(): AsyncGenerator<Row> {
    for (const { bytes, limit } of SETS) {
      const nrPages = bytes / PAGE_SIZE;
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-bench-'));
      const kernel = await Kernel.boot({ memory: Math.ceil(bytes * 1.25), plugins: [host, swap] });
      const file = fs.openSync(path.join(folder, 'peer'), 'w+');
      try {
        const buffer = await PagedBuffer.create(kernel, { sizeBytes: bytes });
        const page = new Uint8Array(PAGE_SIZE);
        for (let i = 0; i < nrPages; i++) {
          page.fill(i + 1);
          await buffer.write(i * PAGE_SIZE, page);
          fs.writeSync(file, page);
        }
        const order = shuffled(nrPages);
        const rounds = Math.ceil(LEAST_READS / nrPages);
        const nrReads = Math.min(rounds * nrPages, LEAST_READS);
        const reads = Uint32Array.from({ length: nrReads }, (_, i) => order[i % nrPages]);
        // Speeds: the ratio is ours ÷ peer in reads a second.
        const result = await compare(
          () => 1e3 / timePer(nrReads, () => readBuffer(buffer, reads, page)),
          () => 1e3 / timePer(nrReads, () => readFile(file, reads, page)),
        );
        yield {
          bench: this.name,
          what: `random 4 KiB reads, ${formatSize(bytes)}, PagedBuffer ÷ fs.readSync`,
          unit: '×',
          target: { relation: '≥', limit },
          ...result,
          ours: `${round(result.ours)} M/s`,
          peer: `${round(result.peer)} M/s`,
        };
        buffer.close();
      } finally {
        fs.closeSync(file);
        fs.rmSync(folder, { recursive: true });
        await kernel.shutdown();
      }
    }
  },
};

function readBuffer(buffer: PagedBuffer, reads: Uint32Array, target: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < reads.length; i++) {
    if (typeof buffer.read(reads[i] * PAGE_SIZE, target) !== 'number') throw new Error('a read missed');
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
