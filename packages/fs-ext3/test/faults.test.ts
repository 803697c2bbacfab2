/**
 * A device that fails: one request, or all from some point on. Operations answer with an errno; nothing hangs or leaks; what is on the disk can be
 * mounted again, and e2fsck finds nothing but, perhaps, that errors were seen.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Kernel, OpenFlag, run } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { type DiskImage, type DiskRequest, diskFaults, Random, SimulatedDisk, simulate } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { bytesOf, freshDisk } from './support/fresh-disk.js';
import { e2fsck, hasPeers, makeFolder, MIB } from './support/image.js';
import { Workload } from './support/workload.js';

const NR_RUNS = Number(process.env.TIDEMARK_RUNS ?? 1) * 12;
const SIZE = 6 * MIB;
const BLOCK = 1024;
let folder = '';
beforeAll(() => {
  folder = makeFolder('faults');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Run {
  readonly image: DiskImage;
  readonly nrRequests: number;
  /** What the workload ended with; null if nothing went wrong. */
  readonly failure: string | null;
  readonly synced: number;
}

/** A workload on a disk with a fault; then, if it failed, an unmount by force. */
async function runWith(seed: number, fault: ((request: DiskRequest) => number) | undefined): Promise<Run> {
  const image = await freshDisk(SIZE, { blockSize: BLOCK, journalSize: '1MiB', bytesPerInode: 8192 });
  let result: Run | null = null;
  const outcome = await simulate(
    {
      name: 'a failing disk',
      async run(world) {
        const machine = world.machine('box');
        const kernel = await world.boot(machine, { memory: '4MiB', plugins: [ext3] });
        const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: SIZE, image, fault });
        const device = kernel.attach(disk);
        let failure: string | null = null;
        let synced = 0;
        try {
          await kernel.mount('ext3:disk', '/', { device });
          const workload = new Workload(kernel, world.randomOf('work'), { fileBytesMax: 100_000, nameBytesMax: 40, filesMax: 40 });
          try {
            for (let i = 0; i < 120; i++) {
              await workload.step();
              world.progress();
            }
          } finally {
            workload.closeAll();
          }
          await kernel.unmount('/');
        } catch (error) {
          failure = (error as Error).message;
        }
        if (failure !== null && kernel.vfs.mounts.list().length > 0) {
          const { vfs } = kernel;
          const file = await run(vfs.open(vfs.caller(), '/after', OpenFlag.CREATE | OpenFlag.READ_WRITE, 0o644));
          if (typeof file !== 'number') {
            synced = await run(vfs.data.sync(vfs.caller().task, file, false));
            file.release();
          } else synced = file;
          await kernel.unmount('/', { force: true });
        }
        result = { image: disk.image, nrRequests: disk.nrRequests, failure, synced };
      },
    },
    { seed, afterReactions: (then) => setImmediate(then), eventsMax: 2_000_000 },
  );
  expect(outcome.verdict, `seed ${seed}: ${(outcome.error as Error | null)?.stack} ${JSON.stringify(outcome.reports)}`).toBe('completes');
  return result as unknown as Run;
}

async function checkImage(name: string, image: DiskImage): Promise<void> {
  const file = path.join(folder, `${name}.img`);
  fs.writeFileSync(file, bytesOf(image, SIZE));
  const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, ext3] });
  await kernel.mount(`ext3:${file}`, '/');
  expect(await kernel.shutdown(), name).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  const { status, text } = e2fsck(file, '-fy');
  expect(text, name).not.toMatch(/Fix|Clear\?|corrupt|wrong|deleted|unattached/i);
  expect(status, `${name}: ${text}`).toBeLessThan(2);
  fs.rmSync(file);
}

describe.skipIf(!hasPeers)('a disk that fails', () => {
  it('leaves a filesystem that can be mounted again, wherever it fails', { timeout: 240_000 }, async () => {
    const random = new Random(77);
    const whole = await runWith(5, undefined);
    expect(whole.failure).toBeNull();
    let nrFailed = 0;
    for (let i = 0; i < NR_RUNS; i++) {
      const at = 1 + random.below(whole.nrRequests);
      for (const [kind, fault] of [
        ['nth', diskFaults.nth(at)],
        ['from', diskFaults.from(at)],
      ] as const) {
        const { image, failure } = await runWith(5, fault);
        if (failure !== null) nrFailed++;
        await checkImage(`${kind} ${at}`, image);
      }
    }
    expect(nrFailed).toBeGreaterThan(NR_RUNS / 2);
  });

  it('lets nothing be changed once a write of the journal has failed', async () => {
    let nr = 0;
    // From the 40th write on every write fails: reading goes on.
    const { failure, synced } = await runWith(6, ({ op }) => (op === 1 && ++nr > 40 ? -5 : 0));
    expect(failure).not.toBeNull();
    expect([-5, -30]).toContain(synced);
  });
});
