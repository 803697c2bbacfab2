/** Random workloads against a model; e2fsck, debugfs and our own check look at what is left on disk. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { Random, throwViolations } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import type { MkfsOptions } from '../src/mkfs/options.js';
import { e2fsck, hasPeers, makeFolder, makeImage, MIB, ownFindings } from './support/image.js';
import { describeHost, describeModel } from './support/model-tree.js';
import { Workload, type WorkloadOptions } from './support/workload.js';

const SCALE = Number(process.env.TIDEMARK_RUNS ?? 1);
/** What every run of all tests can afford; TIDEMARK_RUNS=1 is the whole. */
const SHARE = process.env.TIDEMARK_RUNS === undefined ? 1 / 3 : 1;
let folder = '';
beforeAll(() => {
  folder = makeFolder('model');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function boot(memory: string): Promise<Kernel> {
  const kernel = await Kernel.boot({ memory, plugins: [host, ext3] });
  throwViolations(kernel, (error) => {
    throw error;
  });
  return kernel;
}

async function shutDown(kernel: Kernel): Promise<void> {
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
}

interface Row {
  readonly name: string;
  readonly seed: number;
  readonly memory: string;
  readonly sizeBytes: number;
  readonly mkfs: Partial<MkfsOptions>;
  readonly nrSteps: number;
  readonly work: WorkloadOptions;
  readonly hasTooLittleRoom?: boolean;
}

const small: WorkloadOptions = { fileBytesMax: 400_000, nameBytesMax: 40, filesMax: 120 };
const large: WorkloadOptions = { fileBytesMax: 20_000_000, nameBytesMax: 200, filesMax: 30 };
const ROWS: Row[] = [
  { name: '1 KiB blocks', seed: 1, memory: '4MiB', sizeBytes: 20 * MIB, mkfs: { blockSize: 1024 }, nrSteps: 1500, work: small },
  {
    name: '2 KiB blocks',
    seed: 2,
    memory: '4MiB',
    sizeBytes: 24 * MIB,
    mkfs: { blockSize: 2048, journalSize: '2MiB' },
    nrSteps: 1500,
    work: small,
  },
  {
    name: '4 KiB blocks',
    seed: 3,
    memory: '4MiB',
    sizeBytes: 32 * MIB,
    mkfs: { blockSize: 4096, journalSize: '4MiB' },
    nrSteps: 1500,
    work: small,
  },
  {
    name: 'sparse files and long names',
    seed: 4,
    memory: '4MiB',
    sizeBytes: 20 * MIB,
    mkfs: { blockSize: 1024 },
    nrSteps: 1000,
    work: large,
  },
  { name: 'a small arena', seed: 5, memory: '2MiB', sizeBytes: 20 * MIB, mkfs: { blockSize: 1024 }, nrSteps: 1000, work: small },
  {
    name: 'a disk that fills up',
    seed: 6,
    memory: '4MiB',
    sizeBytes: 3 * MIB,
    mkfs: { blockSize: 1024, journalSize: '1MiB' },
    nrSteps: 1500,
    work: small,
    hasTooLittleRoom: true,
  },
  {
    name: 'inodes of 128 bytes, no indexes',
    seed: 7,
    memory: '4MiB',
    sizeBytes: 16 * MIB,
    mkfs: { blockSize: 1024, inodeSize: 128, dirIndex: false },
    nrSteps: 1000,
    work: small,
  },
  { name: 'ext2', seed: 8, memory: '4MiB', sizeBytes: 12 * MIB, mkfs: { blockSize: 1024, journalSize: 0 }, nrSteps: 1000, work: small },
];

describe.skipIf(!hasPeers)('a random workload does what the model does, and e2fsck has nothing to say, with', () => {
  it.each(ROWS)('$name', { timeout: 240_000 }, async (row) => {
    const { seed, memory, sizeBytes, mkfs, work, hasTooLittleRoom } = row;
    const nrSteps = hasTooLittleRoom ? row.nrSteps : Math.ceil(row.nrSteps * SHARE);
    for (let round = 0; round < SCALE; round++) {
      const file = path.join(folder, `${seed}.img`);
      await makeImage(file, sizeBytes, mkfs);
      const random = new Random(seed + round * 1000);
      let kernel = await boot(memory);
      await kernel.mount(`ext3:${file}`, '/');
      const workload = new Workload(kernel, random, work);
      for (let i = 0; i < nrSteps; i++) {
        await workload.step();
        if (i % Math.floor(nrSteps / 3) !== Math.floor(nrSteps / 3) - 1) continue;
        workload.closeAll();
        await workload.checkAll();
        await shutDown(kernel);
        const { status, text } = e2fsck(file);
        expect(status, `seed ${seed + round * 1000}, after step ${i}: ${text}`).toBe(0);
        expect(await ownFindings(new Uint8Array(fs.readFileSync(file)))).toEqual([]);
        kernel = workload.kernel = await boot(memory);
        await kernel.mount(`ext3:${file}`, '/');
        await workload.checkAll();
      }
      workload.closeAll();
      await shutDown(kernel);
      if (hasTooLittleRoom) expect(workload.nrNoRoom).toBeGreaterThan(20);
      const tree = path.join(folder, `tree-${seed}`);
      fs.mkdirSync(tree);
      spawnSync('debugfs', ['-R', `rdump / ${tree}`, file]);
      expect(describeHost(tree).filter((line) => !line.endsWith('special'))).toEqual(
        describeModel(workload.root).filter((line) => !line.endsWith('special')),
      );
      fs.rmSync(tree, { recursive: true });
      expect(e2fsck(file).status).toBe(0);
    }
  });
});
