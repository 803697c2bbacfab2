/**
 * Hit ratios of ours, two policies of core, beside those of the textbook on traces (M18): recorded ones from the folder that `TIDEMARK_TRACES`
 * names, made ones always. Equal pages, cold start.
 */
import { clockProPolicy, twoListPolicy } from '@tidemark/core';
import { loopTrace, mixedTrace, runPolicy, type Trace, zipfTrace } from '@tidemark/testkit';
import { recordedTrace, TRACES_VARIABLE, tracesFolder } from '@tidemark/testkit/host';
import type { Bench, Row, Table } from './harness.js';
import { arc, clock, type CountHits, lru, opt, s3Fifo, sieve } from './policies/textbook.js';

/** Trace, frames, hit ratio in % of its author's CLOCK-Pro as published. */
const CLASSIC: readonly (readonly [name: string, nrFrames: number, publishedPercent: number])[] = [
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
/** 1, 10, 20 and 50 % of its blocks. */
const CLOUD_PHYSICS_FRAMES = [490, 4897, 9795, 24487];

const TEXTBOOK: readonly (readonly [name: string, hits: CountHits])[] = [
  ['LRU', lru],
  ['CLOCK', clock],
  ['ARC', arc],
  ['S3-FIFO', s3Fifo],
  ['SIEVE', sieve],
];
const HEAD = [
  'trace',
  'frames',
  ...TEXTBOOK.map(([name]) => name),
  'CLOCK-Pro, published',
  'two lists',
  '**ours**',
  'OPT',
  'scanned per freed',
];

const MADE: readonly (readonly [name: string, trace: () => Trace, frames: readonly number[]])[] = [
  ['loop of 1,000', () => loopTrace(60_000, 1000), [250, 750]],
  ['Zipf over 4,000, seed 1', () => zipfTrace(1, 60_000, 4000), [200, 1000]],
  ['Zipf, loop and scans, seed 1', () => mixedTrace(1, 60_000), [200, 500]],
  ['Zipf, loop and scans, seed 2', () => mixedTrace(2, 60_000), [200, 500]],
];

const tables: Table[] = [];

export const replacement: Bench = {
  name: 'replacement',
  tables,
  async *run(): AsyncGenerator<Row> {
    tables.length = 0;
    const made = table('made from seeds');
    for (const [name, make, frames] of MADE) {
      const trace = make();
      for (const nrFrames of frames) made.rows.push(line(name, trace, nrFrames, null).cells);
    }
    const folder = tracesFolder();
    if (folder === null) {
      const note = `skipped: ${TRACES_VARIABLE} names no folder`;
      yield { bench: this.name, what: 'mean hit ratio on ten recorded traces', unit: '%', note };
      return;
    }
    const recorded = table('recorded');
    let sum = 0;
    let least = Number.POSITIVE_INFINITY;
    let largest = Number.NEGATIVE_INFINITY;
    for (const [name, nrFrames, published] of CLASSIC) {
      const { cells, percent } = line(name, recordedTrace(folder, `${name}.trace`), nrFrames, published);
      recorded.rows.push(cells);
      sum += percent;
      least = Math.min(least, percent - published);
      largest = Math.max(largest, percent - published);
    }
    const cloudPhysics = recordedTrace(folder, 'cloudPhysicsIO.txt');
    for (const nrFrames of CLOUD_PHYSICS_FRAMES) recorded.rows.push(line('cloudPhysics', cloudPhysics, nrFrames, null).cells);
    const value = sum / CLASSIC.length;
    yield { bench: this.name, what: 'mean hit ratio on ten recorded traces', unit: '%', target: { relation: '≥', limit: 56.4 }, value };
    const what = 'hit ratio less that of CLOCK-Pro as published, least of 20';
    yield { bench: this.name, what, unit: 'points', target: { relation: '≥', limit: -2 }, value: least, least, largest };
  },
};

function table(of: string): Table & { rows: string[][] } {
  const made = { title: `Hit ratios on traces, ${of}, in %`, head: HEAD, rows: [] };
  tables.push(made);
  return made;
}

function line(name: string, trace: Trace, nrFrames: number, publishedPercent: number | null): { cells: string[]; percent: number } {
  const percentOf = (hits: number): number => (100 * hits) / trace.length;
  const ours = runPolicy(clockProPolicy, trace, nrFrames);
  const percent = percentOf(ours.hits);
  const cells = [
    name,
    String(nrFrames),
    ...TEXTBOOK.map(([, hits]) => percentOf(hits(trace, nrFrames)).toFixed(1)),
    publishedPercent?.toFixed(1) ?? '',
    percentOf(runPolicy(twoListPolicy, trace, nrFrames).hits).toFixed(1),
    `**${percent.toFixed(1)}**`,
    percentOf(opt(trace, nrFrames)).toFixed(1),
    ours.scanCost.toFixed(2),
  ];
  return { cells, percent };
}
