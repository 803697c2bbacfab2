/** Peak resident memory of the demo, beside that of a Node that does nothing. */
import { formatSize } from '@tidemark/core';
import { type Bench, median, type Row, round } from './harness.js';
import { outputOf, TIDEMARK } from './peers.js';

const MIB = 2 ** 20;
const MEMORY_BYTES = 8 * MIB;
const WORKING_SETS = [128 * MIB, 1024 * MIB];
/** What the demo may take beyond bare Node and the kernel's memory. */
const ALLOWANCE_MIB = 64;
const DIFFERENCE_MAX = 0.1;
const NR_RUNS = 7;

export const demoMemory: Bench = {
  name: 'demo',
  async *run(): AsyncGenerator<Row> {
    const bare: number[] = [];
    const demos: number[][] = WORKING_SETS.map(() => []);
    for (let i = 0; i < NR_RUNS; i++) {
      bare.push(Number(await outputOf(process.execPath, ['-e', 'console.log(process.resourceUsage().maxRSS)'])) / 1024);
      for (const [k, bytes] of WORKING_SETS.entries()) {
        const args = [TIDEMARK, 'demo', '--json', '--memory', String(MEMORY_BYTES), '--working-set', String(bytes)];
        const report = JSON.parse(await outputOf(process.execPath, args)) as { peakRssBytes: number; verified: boolean };
        if (!report.verified) throw new Error('the demo did not get every byte back');
        demos[k].push(report.peakRssBytes / MIB);
      }
    }
    for (const [k, bytes] of WORKING_SETS.entries()) {
      yield {
        bench: this.name,
        what: `peak RSS of the demo, ${formatSize(bytes)}, beyond bare Node and ${formatSize(MEMORY_BYTES)}`,
        unit: 'MiB',
        target: { relation: '≤', limit: ALLOWANCE_MIB },
        ...spread(demos[k].map((rss, i) => rss - bare[i] - MEMORY_BYTES / MIB)),
        ours: `${round(median(demos[k]))} MiB`,
        peer: `${round(median(bare))} MiB`,
        note: `node ${process.version}`,
      };
    }
    yield {
      bench: this.name,
      what: `peak RSS, ${formatSize(WORKING_SETS[1])} ÷ ${formatSize(WORKING_SETS[0])}, off 1 by`,
      unit: '×',
      target: { relation: '≤', limit: DIFFERENCE_MAX },
      ...spread(demos[1].map((rss, i) => Math.abs(rss / demos[0][i] - 1))),
      ours: demos.map((all) => `${round(median(all))} MiB`).join(', '),
    };
  },
};

function spread(values: readonly number[]): { value: number; least: number; largest: number } {
  return { value: median(values), least: Math.min(...values), largest: Math.max(...values) };
}
