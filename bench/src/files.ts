/**
 * `kernel.fs` on our memfs against the host's `node:fs` on the host's memory filesystem, and against memfs of npm: what is cached is looked up
 * and read, and small files are made. Also what a cached `stat` of the VFS allocates: nothing; and a large tree in little memory.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { fs as npmMemfs } from 'memfs';
import { type Bench, compare, type Row, round, timePer } from './harness.js';
import { walkedTree } from './walked-tree.js';

const SHM = '/dev/shm';
const NR_STATS = 50_000;
const NR_READS = 2_000;
const NR_FILES = 8_000;
const READ_BYTES = 65_536;
/** Rounds until the host's compiler has seen enough of the long way through a create. */
const NR_WARM_UPS = 2;

/** Microseconds each of `count` calls takes, made one after the other. */
async function timeEach(count: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < count; i++) await work(i);
  return ((performance.now() - start) * 1e3) / count;
}

export const files: Bench = {
  name: 'files',
  async *run(): AsyncGenerator<Row> {
    const folder = fs.mkdtempSync(path.join(fs.existsSync(SHM) ? SHM : os.tmpdir(), 'tidemark-bench-'));
    const kernel = await Kernel.boot({ memory: '256MiB', plugins: [host, memfs] });
    await kernel.mount('memfs:128MiB', '/');
    const tree = kernel.fs;
    const row = (what: string, limit: number, result: Awaited<ReturnType<typeof compare>>): Row => ({
      bench: this.name,
      what,
      unit: '×',
      target: { relation: '≥', limit },
      value: 1 / result.value,
      least: 1 / result.largest,
      largest: 1 / result.least,
      ours: `${round(result.ours)} µs`,
      peer: `${round(result.peer)} µs`,
    });
    try {
      const file = '/a/b/c/file';
      for (const [at, to] of [
        ['', tree],
        [folder, fs],
      ] as const) {
        to.mkdirSync(`${at}/a/b/c`, { recursive: true });
        to.mkdirSync(`${at}/new`);
        to.writeFileSync(at + file, Buffer.alloc(READ_BYTES, 1));
      }
      const statAll = (statSync: (at: string) => { size: number }, at: string): number =>
        timePer(NR_STATS, () => {
          let sum = 0;
          for (let i = 0; i < NR_STATS; i++) sum += statSync(at).size;
          return sum;
        }) / 1e3;
      yield row(
        'cached stat, three directories down: fs.statSync ÷ kernel.fs.statSync',
        1,
        await compare(
          () => statAll((at) => tree.statSync(at), file),
          () => statAll((at) => fs.statSync(at), folder + file),
        ),
      );
      yield row(
        'readFile of cached 64 KiB, promises: node:fs ÷ kernel.fs',
        2,
        await compare(
          () => timeEach(NR_READS, () => tree.promises.readFile(file)),
          () => timeEach(NR_READS, () => fs.promises.readFile(folder + file)),
        ),
      );
      const data = Buffer.alloc(1000, 7);
      const makeAll = async (to: Pick<typeof fs, 'promises' | 'rmSync' | 'mkdirSync'>, at: string): Promise<number> => {
        const took = await timeEach(NR_FILES, (i) => to.promises.writeFile(`${at}/new/${i}`, data));
        to.rmSync(`${at}/new`, { recursive: true });
        to.mkdirSync(`${at}/new`);
        return took;
      };
      for (let i = 0; i < NR_WARM_UPS; i++) await makeAll(tree as unknown as typeof fs, '');
      yield row(
        'create + write 1000 B + close, promises: node:fs on tmpfs ÷ kernel.fs',
        3,
        await compare(
          () => makeAll(tree as unknown as typeof fs, ''),
          () => makeAll(fs, folder),
        ),
      );
      type SyncCalls = Pick<typeof fs, 'mkdirSync' | 'openSync' | 'writeSync' | 'closeSync' | 'rmSync'>;
      const makeAllSync = (to: SyncCalls): number => {
        to.mkdirSync('/sync');
        const start = performance.now();
        for (let i = 0; i < NR_FILES; i++) {
          const fd = to.openSync(`/sync/${i}`, 'w');
          to.writeSync(fd, data);
          to.closeSync(fd);
        }
        const took = ((performance.now() - start) * 1e3) / NR_FILES;
        to.rmSync('/sync', { recursive: true });
        return took;
      };
      for (let i = 0; i < NR_WARM_UPS; i++) makeAllSync(tree as unknown as SyncCalls);
      yield row(
        'create + write 1000 B + close, sync: memfs of npm ÷ kernel.fs',
        1,
        await compare(
          () => makeAllSync(tree as unknown as SyncCalls),
          () => makeAllSync(npmMemfs as unknown as SyncCalls),
        ),
      );
      const who = kernel.vfs.caller();
      const statBare = (): number => {
        let sum = 0;
        for (let i = 0; i < NR_STATS; i++) sum += (kernel.vfs.stat(who, file) as { sizeBytes: number }).sizeBytes;
        return sum;
      };
      for (let i = 0; i < 20; i++) statBare();
      globalThis.gc?.();
      const before = process.memoryUsage().heapUsed;
      const took = timePer(NR_STATS, statBare);
      yield {
        bench: this.name,
        what: 'heap a cached stat takes inside, Vfs.stat',
        unit: 'B',
        target: { relation: '<', limit: 1 },
        value: Math.max(process.memoryUsage().heapUsed - before, 0) / NR_STATS,
        ours: `${round(took)} ns each`,
      };
      yield await walkedTree(this.name, folder);
    } finally {
      fs.rmSync(folder, { recursive: true });
      await kernel.shutdown();
    }
  },
};
