/** fs-log by itself: swap on a file of it, the variant without a bound, the cleaner, damage on the disk. */
import { KernelError, PAGE_SIZE } from '@tidemark/core';
import { PagedBuffer, swap } from '@tidemark/swap';
import { DiskImage, type Scenario, SimulatedDisk, type World } from '@tidemark/testkit';
import { Files } from '@tidemark/testkit/conformance';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { blocksOfHalf } from '../src/format.js';
import { createFsLog, fsLog } from '../src/index.js';

const DISK_BYTES = 8 * 2 ** 20;
const FRAMES = 320;
/** Blocks of a half of the records. */
const NR_HALF = blocksOfHalf(DISK_BYTES / PAGE_SIZE);

async function mounted(world: World, options: { image?: DiskImage; plugin?: typeof fsLog; memory?: number } = {}) {
  const machine = world.machine('box');
  const { plugin = fsLog, image, memory = 2 ** 22 } = options;
  const kernel = await world.boot(machine, { memory, plugins: [swap, plugin] });
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: DISK_BYTES, ...(image && { image }) });
  const device = kernel.attach(disk);
  await kernel.mount('log:disk', '/', { device, format: image === undefined });
  return { kernel, disk, device, files: new Files(kernel) };
}

async function completes(scenario: Scenario, seed = 1): Promise<void> {
  const { verdict, error } = await simulate(scenario, { seed });
  expect(verdict, `${(error as Error | null)?.stack}`).toBe('completes');
}

describe('swap on a file of it', () => {
  it('is admitted, and works in a memory a quarter of what is stored', async () => {
    await explore(
      {
        name: 'swap on fs-log',
        async run(world) {
          const { kernel, files } = await mounted(world, { memory: FRAMES * PAGE_SIZE });
          const zeroes = new Uint8Array(16 * PAGE_SIZE);
          for (let page = 0; page < 4 * FRAMES; page += 16) await files.write('/swap', page * PAGE_SIZE, zeroes);
          await kernel.swapOn('/swap', { format: true });
          const path = kernel.reserves.explain().nodes.find(({ kind }) => kind === 'swap-area')?.needs ?? [];
          expect(path).toEqual(['log:disk data']);
          const buffer = await PagedBuffer.create(kernel, { sizeBytes: 3 * FRAMES * PAGE_SIZE });
          const page = (n: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill(n % 251, 0, 4000);
          for (let n = 0; n < 3 * FRAMES; n++) {
            await buffer.write(n * PAGE_SIZE, page(n));
            // Beside it the log goes on: what is written, replaced and removed makes it move what is not pinned.
            if (n % 40 === 0) await files.write(`/f${n % 3}`, 0, new Uint8Array(6 * PAGE_SIZE).fill(n));
            world.progress();
          }
          const into = new Uint8Array(PAGE_SIZE);
          for (let n = 0; n < 3 * FRAMES; n++) {
            await buffer.read(n * PAGE_SIZE, into);
            expect(Buffer.compare(into, page(n)), `page ${n}`).toBe(0);
          }
          expect(kernel.vmstat().pswpout).toBeGreaterThan(FRAMES);
          buffer.close();
          await kernel.swapOff('/swap');
        },
      },
      { nrSeeds: 2, eventsMax: 1_000_000, command: 'npx vitest run examples/fs-log' },
    );
  });

  it('is refused where a transaction has no bound: such a filesystem is not even mounted (T14)', () =>
    completes({
      name: 'a log without a bound',
      async run(world) {
        const unbounded = createFsLog({ isBounded: false });
        const error = await mounted(world, { plugin: unbounded }).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(KernelError);
        expect((error as KernelError).message).toMatch(/^EINVAL: log:disk transactions declares Infinity frames/);
      },
    }));
});

describe('the cleaner', () => {
  it('empties segments that are mostly dead, and loses nothing', () =>
    completes({
      name: 'cleaning',
      async run(world) {
        const { kernel, files, disk, device } = await mounted(world);
        const content = (i: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill(1 + (i % 250));
        // Every block of the disk in turn; then three of four are given up, all over it.
        let nr = 0;
        for (; (await files.room()).freeBytes > 40 * PAGE_SIZE; nr++) {
          await files.write(`/f${nr % 4}`, Math.floor(nr / 4) * PAGE_SIZE, content(nr));
          if (nr % 16 === 15) await files.sync();
        }
        for (const dead of [1, 2, 3]) await files.truncate(`/f${dead}`, 0);
        await files.sync();
        const written = new Set<number>();
        const submit = disk.submit.bind(disk);
        disk.submit = (bio) => {
          const first = Math.floor(bio.offsetBytes / PAGE_SIZE);
          if (bio.op === 1 && first >= 2 * NR_HALF) for (let n = 0; n * PAGE_SIZE < bio.lengthBytes; n++) written.add(first + n);
          submit(bio);
        };
        for (let i = 0; i < 200; i++) {
          await files.write('/new', i * PAGE_SIZE, content(i));
          if (i % 8 === 7) await files.sync();
        }
        // What lives is written again elsewhere: more blocks than the new file has.
        expect(written.size).toBeGreaterThan(200);
        await kernel.unmount('/');
        await kernel.mount('log:disk', '/', { device });
        for (let i = 0; i < nr; i += 4)
          expect((await files.read('/f0', (i / 4) * PAGE_SIZE, PAGE_SIZE))[7], `block ${i}`).toBe(1 + (i % 250));
        for (let i = 0; i < 200; i++) expect((await files.read('/new', i * PAGE_SIZE, PAGE_SIZE))[7]).toBe(1 + (i % 250));
      },
    }));
});

describe('damage', () => {
  it('of what is no log, of both checkpoints, and of records in the middle is told, not read', async () => {
    let image = DiskImage.empty();
    await completes({
      name: 'an image',
      async run(world) {
        const { kernel, files, disk } = await mounted(world);
        for (let i = 0; i < 20; i++) await files.write(`/f${i}`, 0, new Uint8Array(100).fill(i));
        await files.sync();
        await kernel.unmount('/');
        image = disk.image;
      },
    });
    const broken = image.clone();
    for (const block of [0, NR_HALF]) broken.write(block * PAGE_SIZE + 100, new Uint8Array(8).fill(0xff));
    for (const [damaged, code] of [
      [DiskImage.empty(), 'EUCLEAN'],
      [broken, 'EUCLEAN'],
    ] as const)
      await completes({
        name: 'a damaged image',
        async run(world) {
          await expect(mounted(world, { image: damaged })).rejects.toMatchObject({ code });
        },
      });
    // One half is enough, whichever it is.
    for (const block of [0, NR_HALF]) {
      const half = image.clone();
      half.write(block * PAGE_SIZE + 100, new Uint8Array(8).fill(0xff));
      await completes({
        name: 'one half',
        async run(world) {
          const { files } = await mounted(world, { image: half });
          const names = await files.readdir('/');
          expect(names.length, `without block ${block}`).toBe(names.length === 0 ? 0 : 20);
          for (const name of names) expect((await files.readAll(`/${name}`))[99]).toBe(Number(name.slice(1)));
        },
      });
    }
  });
});
