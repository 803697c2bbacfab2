/** Our NBD server on a RAM disk against nbdkit's memory plugin, under fio and nbdcopy. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Bench, compare, NR_PAIRS, type Row, round } from './harness.js';
import { outputOf, Server, TIDEMARK, versionOf } from './peers.js';

const SIZE_BYTES = 2 ** 30;
/** Page memory of our server: requests of 256 KiB, which nbdcopy makes, need slots of that size. */
const MEMORY = '256MiB';
const FIO_SECONDS = 2;
const FEWEST_PAIRS = 7;

const FIO = [
  { mode: 'randread', limit: 1 },
  { mode: 'randwrite', limit: 0.7 },
] as const;
const COPIES = [
  { what: 'in', limit: 0.6 },
  { what: 'out', limit: 0.6 },
] as const;

export const nbdServer: Bench = {
  name: 'nbd',
  async *run(): AsyncGenerator<Row> {
    const [nbdkit, fio, nbdcopy] = await Promise.all(['nbdkit', 'fio', 'nbdcopy'].map(versionOf));
    const fioRow = (mode: string, limit: number) => row(this.name, `fio ${mode} 4 KiB × 32, NBD server ÷ nbdkit memory`, limit);
    const copyRow = (what: string, limit: number) => row(this.name, `nbdcopy 1 GiB ${what}, NBD server ÷ nbdkit memory`, limit);
    if (nbdkit === null) {
      for (const { mode, limit } of FIO) yield { ...fioRow(mode, limit), note: 'nbdkit is not installed' };
      for (const { what, limit } of COPIES) yield { ...copyRow(what, limit), note: 'nbdkit is not installed' };
      return;
    }
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-bench-'));
    const servers: Server[] = [];
    try {
      const at = (name: string): string => path.join(folder, name);
      const ours = await Server.start(
        process.execPath,
        [TIDEMARK, 'serve', 'nbd', `mem:${SIZE_BYTES}`, '--memory', MEMORY, '--listen', `unix:${at('ours')}`],
        at('ours'),
      );
      servers.push(ours);
      const peer = await Server.start('nbdkit', ['-f', '-U', at('peer'), 'memory', String(SIZE_BYTES)], at('peer'));
      servers.push(peer);
      // First in, so that both disks are full of data when they are read.
      if (nbdcopy === null) for (const { what, limit } of COPIES) yield { ...copyRow(what, limit), note: 'nbdcopy is not installed' };
      else {
        const source = at('source');
        writeNoise(source);
        for (const { what, limit } of COPIES) {
          const copy = (server: Server) => () => copySpeed(what === 'in' ? [source, server.uri] : [server.uri, 'null:']);
          const result = await compare(copy(ours), copy(peer), FEWEST_PAIRS);
          const unit = 'MiB/s';
          yield {
            ...copyRow(what, limit),
            ...result,
            ours: `${round(result.ours)} ${unit}`,
            peer: `${round(result.peer)} ${unit}`,
            note: `${nbdkit}, ${nbdcopy}`,
          };
        }
        fs.unlinkSync(source);
      }
      for (const { mode, limit } of FIO) {
        if (fio === null) {
          yield { ...fioRow(mode, limit), note: 'fio is not installed' };
          continue;
        }
        const speed = (server: Server) => () => fioSpeed(mode, server.uri);
        const result = await compare(speed(ours), speed(peer), Math.min(FEWEST_PAIRS, NR_PAIRS));
        yield {
          ...fioRow(mode, limit),
          ...result,
          ours: `${round(result.ours / 1e3)} k/s`,
          peer: `${round(result.peer / 1e3)} k/s`,
          note: `${nbdkit}, ${fio}`,
        };
      }
    } finally {
      for (const server of servers) await server.stop();
      fs.rmSync(folder, { recursive: true });
    }
  },
};

function row(bench: string, what: string, limit: number): Row {
  return { bench, what, unit: '×', target: { relation: '≥', limit } };
}

/** Requests a second. */
async function fioSpeed(mode: string, uri: string): Promise<number> {
  const args = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${mode}`,
    '--bs=4k',
    '--iodepth=32',
    '--time_based',
    `--runtime=${FIO_SECONDS}`,
    '--output-format=json',
  ];
  const output = await outputOf('fio', args);
  // It says first that it is connected.
  const { jobs } = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: { read: { iops: number }; write: { iops: number } }[] };
  return jobs[0].read.iops + jobs[0].write.iops;
}

/** MiB a second. */
async function copySpeed(args: readonly string[]): Promise<number> {
  const start = performance.now();
  await outputOf('nbdcopy', args);
  return SIZE_BYTES / 2 ** 20 / ((performance.now() - start) / 1e3);
}

/** A file that has no holes and no pages alike. */
function writeNoise(file: string): void {
  const fd = fs.openSync(file, 'w');
  const words = new Uint32Array(2 ** 18);
  let state = 1;
  for (let done = 0; done < SIZE_BYTES; done += words.byteLength) {
    for (let i = 0; i < words.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      words[i] = state;
    }
    fs.writeSync(fd, words);
  }
  fs.closeSync(fd);
}
