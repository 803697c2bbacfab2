/**
 * The power goes at any write and any flush: the next mount replays the journal and finishes what was begun, e2fsck has nothing to say, and what
 * was fsynced is there. Images are what a disk with a volatile cache may hold: any part of what was not flushed, in any order, torn.
 */
import fs from 'node:fs';
import path from 'node:path';
import { type BlockDevice, Kernel, OpenFlag, run } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { type DiskImage, Random, SimulatedDisk, simulate, type WriteLog } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import type { MkfsOptions } from '../src/mkfs/options.js';
import { bytesOf, freshDisk } from './support/fresh-disk.js';
import { placesIn } from './support/places.js';
import { e2fsck, hasPeers, makeFolder, MIB } from './support/image.js';
import { Workload } from './support/workload.js';

const SEED = Number(process.env.TIDEMARK_SEED ?? 0);
/** Crashes of each row. */
const NR_POINTS = Number(process.env.TIDEMARK_CRASH_POINTS ?? 30);
let folder = '';
beforeAll(() => {
  folder = makeFolder('crash');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A file that was made durable when the log had so many entries, and was left alone after. */
interface Durable {
  readonly from: number;
  readonly name: string;
  readonly data: Buffer;
}

interface Recording {
  readonly log: WriteLog;
  readonly durable: readonly Durable[];
}

async function record(seed: number, memory: string, image: DiskImage, sizeBytes: number, nrSteps: number): Promise<Recording> {
  const durable: Durable[] = [];
  let log: WriteLog | null = null;
  const outcome = await simulate(
    {
      name: 'workload',
      async run(world) {
        const machine = world.machine('box');
        const kernel = await world.boot(machine, { memory, plugins: [ext3] });
        const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes, image, keepsLog: true });
        log = disk.log;
        const device: BlockDevice = kernel.attach(disk);
        await kernel.mount('ext3:disk', '/', { device });
        const random = world.randomOf('workload');
        const workload = new Workload(kernel, random, { fileBytesMax: 300_000, nameBytesMax: 40, filesMax: 60 });
        for (let i = 0; i < nrSteps; i++) {
          await workload.step();
          if (random.chance(0.03)) await world.sleep(random.below(6000));
          if (random.chance(0.08)) durable.push(await makeDurable(kernel, random, `durable${i}`, () => (log as WriteLog).entries.length));
          world.progress();
        }
        workload.closeAll();
        await kernel.unmount('/');
      },
    },
    { seed, afterReactions: (then) => setImmediate(then), eventsMax: 2_000_000 },
  );
  expect(outcome.verdict, String((outcome.error as Error | null)?.stack)).toBe('completes');
  return { log: log as unknown as WriteLog, durable };
}

async function makeDurable(kernel: Kernel, random: Random, name: string, nrEntries: () => number): Promise<Durable> {
  const { vfs } = kernel;
  const data = Buffer.alloc(random.below(20_000));
  random.fill(data);
  const file = await run(vfs.open(vfs.caller(), `/${name}`, OpenFlag.CREATE | OpenFlag.READ_WRITE, 0o644));
  if (typeof file === 'number') return { from: Number.POSITIVE_INFINITY, name, data };
  const written = await run(vfs.data.write(vfs.caller(), file, data, 0));
  const synced = await run(vfs.data.sync(vfs.caller().task, file, random.chance(0.5)));
  file.release();
  const isWhole = written === data.length && synced === 0;
  return { from: isWhole ? nrEntries() : Number.POSITIVE_INFINITY, name, data };
}

/** Mounts a crashed image and unmounts it again. @returns what is wrong with what it holds. */
async function checkCrashed(file: string, durable: readonly Durable[]): Promise<string[]> {
  const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, ext3] });
  const wrong: string[] = [];
  await kernel.mount(`ext3:${file}`, '/');
  const { promises } = kernel.fs as NodeFs;
  for (const { name, data } of durable) {
    const got = (await promises.readFile(`/${name}`).catch((error: Error) => Buffer.from(error.message))) as Buffer;
    if (Buffer.compare(got, data) !== 0) wrong.push(`${name} is not what was fsynced: ${got.length} bytes`);
  }
  const { problems, leakedFrames } = await kernel.shutdown();
  if (leakedFrames > 0) wrong.push(`${leakedFrames} frames leaked`);
  return [...wrong, ...problems];
}

const ROWS: readonly (readonly [name: string, seed: number, memory: string, sizeBytes: number, options: Partial<MkfsOptions>])[] = [
  ['1 KiB blocks', 11, '16MiB', 6 * MIB, { blockSize: 1024, journalSize: '1MiB', bytesPerInode: 8192 }],
  ['2 KiB blocks', 12, '3MiB', 9 * MIB, { blockSize: 2048, journalSize: '2MiB', bytesPerInode: 8192 }],
  ['4 KiB blocks', 13, '8MiB', 16 * MIB, { blockSize: 4096, journalSize: '4MiB', bytesPerInode: 8192 }],
];

describe.skipIf(!hasPeers)('after a crash at any write or flush, everything is well, with', () => {
  it.each(ROWS)('%s', { timeout: 240_000 + 300 * NR_POINTS }, async (name, seed, memory, sizeBytes, options) => {
    const { log, durable } = await record(seed + SEED, memory, await freshDisk(sizeBytes, options), sizeBytes, 250);
    const random = new Random(seed + SEED);
    const file = path.join(folder, `${seed}.img`);
    const theirs = path.join(folder, `${seed}-theirs.img`);
    let nrPoints = 0;
    let nrDurable = 0;
    for (const at of placesIn(log.entries.length)) {
      if (nrPoints >= NR_POINTS) break;
      const there = durable.filter(({ from }) => from <= at);
      for (const image of log.imagesAt(at, random, 2)) {
        if (nrPoints >= NR_POINTS) break;
        fs.writeFileSync(file, bytesOf(image, sizeBytes));
        const isCompared = nrPoints % 10 === 0;
        if (isCompared) fs.copyFileSync(file, theirs);
        expect(await checkCrashed(file, there), `seed ${seed}, entry ${at}, image ${nrPoints}`).toEqual([]);
        const { status, text } = e2fsck(file);
        expect(status, `seed ${seed}, entry ${at}: ${text}`).toBe(0);
        if (isCompared) {
          const replayed = e2fsck(theirs, '-fy');
          expect(replayed.status, `seed ${seed}, entry ${at}: ${replayed.text}`).toBeLessThan(2);
          expect(replayed.text, `seed ${seed}, entry ${at}`).not.toMatch(/Fix|Clear\?|corrupt/);
        }
        nrPoints++;
        nrDurable += there.length;
      }
    }
    console.log(`${name}: ${nrPoints} crashes in a log of ${log.entries.length} entries, ${nrDurable} fsynced files found again`);
    expect(nrPoints).toBe(NR_POINTS);
    expect(nrDurable).toBeGreaterThan(NR_POINTS / 4);
  });
});
