/**
 * T3 with the real ext3 and the real swap: an anonymous set of several times memory, swapped to a file, in virtual time, under random and PCT
 * schedules and every reserve policy. It completes under all of them (M23): nothing is allocated behind the activation.
 */
import { AllocateMode, FileType, type Kernel, OpenFlag, PAGE_SIZE, RESERVE_POLICY_NAMES, run } from '@tidemark/core';
import { formatSwap, PagedBuffer, swap } from '@tidemark/swap';
import { type DiskImage, type Scenario, SimulatedDisk } from '@tidemark/testkit';
import { simulate } from '@tidemark/testkit/host';
import { expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { freshDisk } from './support/fresh-disk.js';
import { MIB } from './support/image.js';

const FRAMES = 256;
const NR_SEEDS = 2 * Number(process.env.TIDEMARK_RUNS ?? 1);
const SIZE = 16 * MIB;
const PAGES_OF_A_TASK = 2 * FRAMES;

async function makeSwapFile(kernel: Kernel): Promise<void> {
  const { vfs, task } = kernel;
  const file = await run(vfs.open(vfs.caller(), '/swapfile', OpenFlag.READ_WRITE | OpenFlag.CREATE, FileType.REGULAR | 0o600));
  if (typeof file === 'number') throw new Error(`no swap file: ${file}`);
  const status = await run(vfs.data.allocate(vfs.caller(), file, AllocateMode.RESERVE, 0, 6 * FRAMES * PAGE_SIZE));
  if (status < 0) throw new Error(`no room: ${status}`);
  await run(vfs.data.sync(task, file, false));
  await formatSwap(kernel, file);
  file.release();
}

/** Two tasks that fill a buffer each, twice as large as memory, and read it back. */
const scenarioOf = (image: DiskImage, policy: (typeof RESERVE_POLICY_NAMES)[number]): Scenario => ({
  name: `T3, ${policy}`,
  async run(world) {
    const maker = world.machine('maker');
    const before = await world.boot(maker, { memory: '8MiB', plugins: [swap, ext3] });
    const fresh = new SimulatedDisk(world, maker, before.memory.arena, { sizeBytes: SIZE, image });
    await before.mount('ext3:disk', '/', { device: before.attach(fresh) });
    await makeSwapFile(before);
    await before.shutdown();
    const box = world.machine('box');
    const kernel = await world.boot(box, { memory: FRAMES * PAGE_SIZE, plugins: [swap, ext3], policy });
    const disk = new SimulatedDisk(world, box, kernel.memory.arena, { sizeBytes: SIZE, image: fresh.image });
    await kernel.mount('ext3:disk', '/', { device: kernel.attach(disk) });
    await kernel.swapOn('/swapfile');
    const task = (nr: number) => async (step: () => Promise<void>) => {
      const buffer = await PagedBuffer.create(kernel, { name: `task ${nr}`, sizeBytes: PAGES_OF_A_TASK * PAGE_SIZE });
      const page = new Uint8Array(PAGE_SIZE);
      for (let i = 0; i < PAGES_OF_A_TASK; i++) {
        await buffer.write(i * PAGE_SIZE, page.fill(i * 3 + nr));
        world.progress();
        if (i % 8 === 0) await step();
      }
      for (let i = 0; i < PAGES_OF_A_TASK; i++) {
        await buffer.read(i * PAGE_SIZE, page);
        if (page[7] !== ((i * 3 + nr) & 0xff) || page[4095] !== page[7]) throw new Error(`page ${i} of task ${nr} is not what it was`);
        world.progress();
        if (i % 8 === 0) await step();
      }
      buffer.close();
    };
    await world.together(task(1), task(2));
    if (kernel.vmstat().pswpout < FRAMES) throw new Error('nothing was swapped out');
    await kernel.swapOff('/swapfile');
    await kernel.unmount('/');
  },
});

it.each(RESERVE_POLICY_NAMES)('swap in a file of ext3 completes, every byte of it, under %s', { timeout: 240_000 }, async (policy) => {
  const image = await freshDisk(SIZE, { blockSize: 4096, journalSize: '4MiB', bytesPerInode: 16_384 });
  for (let seed = 1; seed <= NR_SEEDS; seed++) {
    const schedule = seed % 2 === 0 ? 'pct' : 'random';
    const { verdict, error, reports } = await simulate(scenarioOf(image, policy), { seed, schedule, eventsMax: 2_000_000 });
    expect(verdict, `seed ${seed}: ${(error as Error | null)?.stack} ${JSON.stringify(reports)}`).toBe('completes');
  }
});
