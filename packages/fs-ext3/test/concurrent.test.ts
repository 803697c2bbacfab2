/** Several tasks at once on one filesystem, in virtual time, under random schedules; with every invariant of memory checked after each event. */
import fs from 'node:fs';
import path from 'node:path';
import { FileType, type Kernel, run } from '@tidemark/core';
import { SimulatedDisk, simulate } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { bytesOf, freshDisk } from './support/fresh-disk.js';
import { e2fsck, hasPeers, makeFolder, MIB, ownFindings } from './support/image.js';
import { Workload } from './support/workload.js';

const NR_SEEDS = Number(process.env.TIDEMARK_RUNS ?? 1) * 6;
const SIZE = 8 * MIB;
let folder = '';
beforeAll(() => {
  folder = makeFolder('concurrent');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function makeDirectory(kernel: Kernel, at: string): Promise<void> {
  const made = await run(kernel.vfs.directories.make(kernel.vfs.caller(), at, { mode: FileType.DIRECTORY | 0o755 }));
  if (typeof made === 'number') throw new Error(`make ${at}: ${made}`);
  made.superblock.put(made);
}

describe.skipIf(!hasPeers)('tasks side by side', () => {
  it.each(Array.from({ length: NR_SEEDS }, (_, seed) => seed))('do what their models do, seed %i', { timeout: 120_000 }, async (seed) => {
    const blockSize = [1024, 2048, 4096][seed % 3];
    const image = await freshDisk(SIZE, { blockSize, journalSize: 1024 * blockSize, bytesPerInode: 8192 });
    let after = image;
    const outcome = await simulate(
      {
        name: 'side by side',
        async run(world) {
          const machine = world.machine('box');
          const kernel = await world.boot(machine, { memory: ['3MiB', '16MiB', '6MiB', '9MiB'][seed % 4] as string, plugins: [ext3] });
          const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: SIZE, image });
          const device = kernel.attach(disk);
          await kernel.mount('ext3:disk', '/', { device });
          const options = { fileBytesMax: 200_000, nameBytesMax: 60, filesMax: 40 };
          const workloads: Workload[] = [];
          for (let i = 0; i < 4; i++) {
            await makeDirectory(kernel, `/${i}`);
            workloads.push(new Workload(kernel, world.randomOf(`work ${i}`), options, `/${i}`));
          }
          await world.together(
            ...workloads.map((workload) => async (step: () => Promise<void>) => {
              for (let i = 0; i < 120; i++) {
                await workload.step();
                if (i % 4 === 0) await step();
                world.progress();
              }
              workload.closeAll();
            }),
          );
          for (const workload of workloads) await workload.checkAll();
          await kernel.unmount('/');
          after = disk.image;
        },
      },
      { seed, afterReactions: (then) => setImmediate(then), eventsMax: 2_000_000 },
    );
    expect(outcome.verdict, `${(outcome.error as Error | null)?.stack} ${JSON.stringify(outcome.reports)}`).toBe('completes');
    const bytes = bytesOf(after, SIZE);
    const file = path.join(folder, `${seed}.img`);
    fs.writeFileSync(file, bytes);
    const { status, text } = e2fsck(file);
    expect(status, text).toBe(0);
    expect(await ownFindings(bytes)).toEqual([]);
  });
});
