/**
 * Arrays between filesystems, servers and swap, all of them real: the bitmap in a file on ext3, ext3 on an array of two NBD servers, swap on the
 * array and in a file of the ext3 on it; each in the smallest memory in which it can be set up. What would wait for itself is refused.
 */
import { type BlockDevice, definePlugin, FS_FACE, isKernelError, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { createNodeFs } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { createArray, decodeBitmapSuperblock, md, type Raid1, raid1Of } from '@tidemark/md';
import { NbdServer, nbd } from '@tidemark/nbd';
import { swap } from '@tidemark/swap';
import { type DiskImage, type Machine, SimulatedDisk, SimulatedNetwork, type World } from '@tidemark/testkit';
import { simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad } from '../../testkit/test/swap-load.js';
import { DATA_BYTES, ext3Image } from './support/ext3-disk.js';

const MIB = 2 ** 20;
const NR_SEEDS = Number(process.env.TIDEMARK_RUNS ?? 1);
/** How exactly the smallest memory is looked for. */
const GRAIN_FRAMES = NR_SEEDS > 1 ? 1 : 8;
const BITMAP = { chunkBytes: 16_384, daemonSeconds: 1 };
const FRAMES_MAX = 512;
const face = definePlugin({ name: 'face', register: (container) => container.register(FS_FACE, { useValue: { create: createNodeFs } }) });
const PLUGINS = [face, swap, md, ext3, nbd];

/** A kernel, its disks, and a network on which its servers are its clients' own. */
class Box {
  private constructor(
    readonly world: World,
    readonly machine: Machine,
    readonly kernel: Kernel,
  ) {}

  static async boot(world: World, nrFrames: number): Promise<Box> {
    const machine = world.machine('box');
    const transport = new SimulatedNetwork(world, { jitter: 5 }).transportOf(machine);
    return new Box(world, machine, await world.boot(machine, { memory: nrFrames * PAGE_SIZE, plugins: [...PLUGINS, transport] }));
  }

  disk(name: string, sizeBytes: number, image?: DiskImage): BlockDevice {
    const { world, machine, kernel } = this;
    return kernel.attach(new SimulatedDisk(world, machine, kernel.memory.arena, { name, sizeBytes, ...(image ? { image } : {}) }));
  }

  /** A disk behind a server of its own. */
  async overNbd(disk: BlockDevice, port: number): Promise<BlockDevice> {
    await NbdServer.listen(this.kernel, { address: `box:${port}`, exports: { disk } });
    return this.kernel.openBlockDevice(`nbd://box:${port}/disk`);
  }
}

/** A stack, and what is done to it once it is up. */
interface Stack<T> {
  setUp(box: Box): Promise<T>;
  load(box: Box, up: T): Promise<void>;
}

async function runIn<T>(stack: Stack<T>, nrFrames: number, seed: number, withLoad: boolean): Promise<unknown> {
  const run = async (world: World): Promise<void> => {
    const box = await Box.boot(world, nrFrames);
    const up = await stack.setUp(box);
    if (withLoad) await stack.load(box, up);
  };
  const outcome = await simulate({ name: 'stack', run }, { seed, eventsMax: 3_000_000 });
  if (outcome.verdict === 'completes') return null;
  return outcome.error ?? new Error(JSON.stringify(outcome.reports, null, 1));
}

/** What writing files takes beside what a mount sets aside: with less, ext3 on any disk admits a mount and fails a write with ENOMEM. */
const WRITER_FRAMES = 112;

/** The fewest frames in which it can be set up, to the grain: fewer are refused with ENOMEM. */
async function smallest<T>(stack: Stack<T>): Promise<number> {
  let [tooFew, enough] = [96, FRAMES_MAX];
  while (enough - tooFew > GRAIN_FRAMES) {
    const nrFrames = (tooFew + enough) >> 1;
    const error = await runIn(stack, nrFrames, 1, false);
    if (error === null) enough = nrFrames;
    else if (isKernelError(error) && error.code === 'ENOMEM') tooFew = nrFrames;
    else throw error;
  }
  return enough;
}

async function inSmallest<T>(stack: Stack<T>, heldFrames = 0): Promise<number> {
  const nrFrames = (await smallest(stack)) + heldFrames;
  for (let seed = 1; seed <= NR_SEEDS; seed++) {
    const error = await runIn(stack, nrFrames, seed, true);
    if (error !== null) throw error;
  }
  return nrFrames;
}

async function makeFile(kernel: Kernel, name: string, nrPages: number): Promise<void> {
  const handle = await kernel.fs.promises.open(name, 'w');
  for (let i = 0; i < nrPages; i++) await handle.write(new Uint8Array(PAGE_SIZE), 0, PAGE_SIZE, i * PAGE_SIZE);
  await handle.sync();
  await handle.close();
}

/** Files of twice the memory, written, synced, and read back. */
async function fileLoad({ world, kernel }: Box): Promise<void> {
  const nrPages = kernel.memory.nrFrames;
  const { promises } = kernel.fs;
  const page = (file: number, i: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill((file * 7 + i * 13 + (i >> 8)) & 0xff);
  await world.together(
    ...[0, 1].map((file) => async () => {
      const handle = await promises.open(`/mnt/file${file}`, 'w+');
      for (let i = 0; i < nrPages; i++) {
        await handle.write(page(file, i), 0, PAGE_SIZE, i * PAGE_SIZE);
        world.progress();
      }
      await handle.sync();
      const found = new Uint8Array(PAGE_SIZE);
      for (let i = 0; i < nrPages; i++) {
        await handle.read(found, 0, PAGE_SIZE, i * PAGE_SIZE);
        if (Buffer.compare(found, page(file, i)) !== 0) throw new Error(`page ${i} of file ${file} is not what was written`);
        world.progress();
      }
      await handle.close();
    }),
  );
  expect(kernel.vmstat().reserve_unfunded).toBe(0);
}

async function swapLoad({ world, kernel }: Box): Promise<void> {
  const pagesPerTask = kernel.memory.nrFrames;
  await runSwapLoad(world, kernel, { nrTasks: 2, pagesPerTask, nrOperations: 60 });
  expect(kernel.vmstat().pswpout).toBeGreaterThan(pagesPerTask);
  expect(kernel.vmstat().reserve_unfunded).toBe(0);
}

const SWAP_BYTES = 4 * FRAMES_MAX * PAGE_SIZE;

describe('a bitmap in a file on ext3', () => {
  it('is written under swap in the smallest memory; the file is what mdadm would expect, and nobody else changes it', async () => {
    const image = await ext3Image(4 * MIB);
    const nrFrames = await inSmallest<Raid1>({
      async setUp(box) {
        const { kernel } = box;
        await kernel.mount('ext3:disk', '/mnt', { device: box.disk('c', 4 * MIB, image.clone()) });
        await makeFile(kernel, '/mnt/bitmap', 2);
        const array = await createArray(kernel, [box.disk('a', SWAP_BYTES), box.disk('b', SWAP_BYTES)], { assumeEqual: true });
        const raid = raid1Of(kernel, array);
        await raid.addBitmap({ file: '/mnt/bitmap' }, BITMAP);
        await kernel.swapOn(array, { format: true });
        return raid;
      },
      async load(box, raid) {
        const { kernel } = box;
        const path = kernel.graph().edges.map(([from, to]) => `${from} → ${to}`);
        expect(path).toContain(`bitmap of ${raid.device.name} → ext3:c data`);
        await expect(kernel.fs.promises.truncate('/mnt/bitmap', 0)).rejects.toMatchObject({ code: 'ETXTBSY' });
        await expect(kernel.unmount('/mnt')).rejects.toMatchObject({ code: 'EBUSY' });
        await swapLoad(box);
        expect(raid.info()).toMatchObject({ isDegraded: false, bitmap: { isFailed: false } });
        const found = decodeBitmapSuperblock(await kernel.fs.promises.readFile('/mnt/bitmap'), 2 * PAGE_SIZE, 'the file');
        expect(found).toMatchObject({ chunkBytes: BITMAP.chunkBytes, syncSectors: raid.info().sizeBytes / 512 });
        await kernel.swapOff(raid.device);
        await raid.removeBitmap();
        await kernel.unmount('/mnt');
      },
    });
    console.log(`swap on md, its bitmap in a file on ext3: ${nrFrames} frames`);
  }, 120_000);

  it('on the array itself is refused, with the way that closes the cycle, and nothing has changed', async () => {
    const size = 4 * MIB;
    const image = await ext3Image(size - DATA_BYTES, DATA_BYTES);
    const error = await runIn(
      {
        async setUp(box) {
          const { kernel } = box;
          const array = await createArray(
            kernel,
            ['a', 'b'].map((name) => box.disk(name, size, image.clone())),
            { assumeEqual: true },
          );
          await kernel.mount('ext3:array', '/mnt', { device: array });
          await makeFile(kernel, '/mnt/bitmap', 1);
          const raid = raid1Of(kernel, array);
          const before = JSON.stringify(kernel.graph());
          const refused: unknown = await raid.addBitmap({ file: '/mnt/bitmap' }, BITMAP).catch((thrown: unknown) => thrown);
          if (!isKernelError(refused)) throw new Error('a bitmap on its own array was taken');
          expect([refused.code, refused.details.cycle]).toEqual([
            'EDEADLK',
            [`bitmap of ${array.name}`, `ext3:${array.name} data`, array.name, `bitmap of ${array.name}`],
          ]);
          expect(JSON.stringify(kernel.graph())).toBe(before);
          await kernel.fs.promises.truncate('/mnt/bitmap', 0); // it is pinned by nobody
          expect(raid.info().bitmap).toBe(null);
          await kernel.unmount('/mnt');
        },
        async load() {},
      },
      1024,
      1,
      false,
    );
    if (error !== null) throw error;
  });
});

describe('an array of two NBD servers of the same kernel', () => {
  const SIZE = 8 * MIB;
  async function arrayOfServers(box: Box, image: DiskImage): Promise<BlockDevice> {
    const members = [await box.overNbd(box.disk('a', SIZE, image.clone()), 1), await box.overNbd(box.disk('b', SIZE, image.clone()), 2)];
    const array = await createArray(box.kernel, members, { assumeEqual: true, bitmap: { chunkBytes: 65_536, daemonSeconds: 1 } });
    await box.kernel.mount('ext3:array', '/mnt', { device: array });
    return array;
  }
  const areEqual = async ({ kernel }: Box, array: BlockDevice): Promise<void> => {
    const raid = raid1Of(kernel, array);
    expect(raid.info()).toMatchObject({ isDegraded: false, bitmap: { isFailed: false } });
    expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
  };

  it('holds an ext3 that is written, in the smallest memory for both', async () => {
    const image = await ext3Image(SIZE - DATA_BYTES, DATA_BYTES);
    const nrFrames = await inSmallest<BlockDevice>(
      {
        setUp: (box) => arrayOfServers(box, image),
        async load(box, array) {
          await fileLoad(box);
          await box.kernel.unmount('/mnt');
          await areEqual(box, array);
        },
      },
      WRITER_FRAMES,
    );
    console.log(`ext3 on md on two NBD servers: ${nrFrames} frames`);
  }, 120_000);

  it('holds a swap file in that ext3, in the smallest memory', async () => {
    const image = await ext3Image(SIZE - DATA_BYTES, DATA_BYTES);
    const nrFrames = await inSmallest<BlockDevice>({
      async setUp(box) {
        const array = await arrayOfServers(box, image);
        await makeFile(box.kernel, '/mnt/swapfile', 768);
        await box.kernel.swapOn('/mnt/swapfile', { format: true });
        return array;
      },
      async load(box, array) {
        await swapLoad(box);
        await box.kernel.swapOff('/mnt/swapfile');
        await box.kernel.unmount('/mnt');
        await areEqual(box, array);
      },
    });
    console.log(`swap on ext3 on md on two NBD servers: ${nrFrames} frames`);
  }, 120_000);
});
