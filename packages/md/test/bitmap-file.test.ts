/** A bitmap in a file, memory that is denied, and swap on top: what an array needs from what is under it, and what it promises. */
import { type BlockDevice, Errno, isKernelError, PAGE_SIZE } from '@tidemark/core';
import { assembleArray, createArray, raid1Of } from '@tidemark/md';
import { swap } from '@tidemark/swap';
import { injectAllocationFaults, type Scenario } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad } from '../../testkit/test/swap-load.js';
import { array, bootBox, disk, disks, Io, KIB } from './support/array-world.js';

const CHUNK = { chunkBytes: 4 * KIB, daemonSeconds: 1 };

async function once(run: Scenario['run'], seed = 2): Promise<void> {
  const outcome = await simulate({ name: 'once', run }, { seed });
  if (outcome.verdict !== 'completes') throw outcome.error ?? new Error(JSON.stringify(outcome.reports, null, 1));
}

const page = (tag: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill(tag);

describe('a bitmap in a file', () => {
  it('is a node between the array and the file, pinned while it is used', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { device, raid } = await array(box, 2, { assumeEqual: true });
      const file = disk(box, 'file');
      await raid.addBitmap({ file: file.device }, CHUNK);
      const { edges } = box.kernel.graph();
      expect(edges).toContainEqual([device.name, `bitmap of ${device.name}`]);
      expect(edges).toContainEqual([`bitmap of ${device.name}`, 'file']);
      expect(file.device.holder).toBe(`bitmap of ${device.name}`);
      await raid.removeBitmap();
      expect(file.device.holder).toBe(null);
      expect(box.kernel.graph().nodes.some(({ kind }) => kind === 'md-bitmap')).toBe(false);
      expect(raid.info().bitmap).toBe(null);
    }));

  it('is refused on the array that it protects, with the way that closes the cycle, and nothing has changed', () =>
    once(async (world) => {
      const box = await bootBox(world, { memory: 512 * PAGE_SIZE });
      const { device, raid } = await array(box, 2, { name: 'lower', assumeEqual: true });
      const cycleOf = async (file: BlockDevice): Promise<unknown> => {
        const before = JSON.stringify([box.kernel.graph(), box.kernel.meminfo()]);
        const error: unknown = await raid.addBitmap({ file }, CHUNK).catch((caught: unknown) => caught);
        expect(isKernelError(error) && error.code).toBe('EDEADLK');
        expect(JSON.stringify([box.kernel.graph(), box.kernel.meminfo()])).toBe(before);
        return isKernelError(error) ? error.details.cycle : null;
      };
      expect(await cycleOf(device)).toEqual(['bitmap of md:lower', 'md:lower', 'bitmap of md:lower']);
      const upper = await createArray(box.kernel, [device, disk(box, 'c').device], { name: 'upper', assumeEqual: true });
      expect(await cycleOf(upper)).toEqual(['bitmap of md:lower', 'md:upper', 'md:lower', 'bitmap of md:lower']);
      await expect(raid.add(upper)).rejects.toMatchObject({ code: 'EDEADLK' });
      expect(upper.holder).toBe(null);
      expect(raid.info()).toMatchObject({ bitmap: null, isDegraded: false });
    }));

  it('that cannot be written is given up, and is stale for whoever finds it', () =>
    once(async (world) => {
      const box = await bootBox(world);
      let isBroken = false;
      const members = disks(box, 2);
      const file = disk(box, 'file', { fault: ({ op }) => (isBroken && op !== 0 ? -Errno.EIO : 0) });
      const devices = members.map((member) => member.device);
      const device = await createArray(box.kernel, devices, { assumeEqual: true });
      const raid = raid1Of(box.kernel, device);
      await raid.addBitmap({ file: file.device }, CHUNK);
      const io = await Io.on(box.kernel, device);
      expect(await io.write(0, page(1))).toBe(0);
      isBroken = true;
      expect(await io.write(7 * PAGE_SIZE, page(2))).toBe(0);
      expect(raid.info()).toMatchObject({ isDegraded: false, bitmap: { isFailed: true } });
      expect(await io.write(9 * PAGE_SIZE, page(3))).toBe(0);
      io.free();
      await device.close();
      isBroken = false;
      const again = raid1Of(box.kernel, await assembleArray(box.kernel, devices, { bitmapFile: file.device }));
      const { bitmap } = again.info();
      expect(bitmap).toMatchObject({ isFailed: false });
      expect(bitmap?.nrNeeded).toBe(bitmap?.nrChunks);
    }));

  it('of another array is refused, and so is one that is damaged; the array starts without it', () =>
    once(async (world) => {
      const box = await bootBox(world, { memory: 512 * PAGE_SIZE });
      const { device, raid } = await array(box, 2, { assumeEqual: true });
      const file = disk(box, 'file');
      await raid.addBitmap({ file: file.device }, CHUNK);
      await device.close();
      const others = ['x', 'y'].map((name) => disk(box, name).device);
      const other = await createArray(box.kernel, others, { assumeEqual: true });
      await other.close();
      await expect(assembleArray(box.kernel, others, { bitmapFile: file.device })).rejects.toMatchObject({ code: 'EINVAL' });
      const spoil = await Io.on(box.kernel, file.device);
      await spoil.write(0, page(0x55));
      spoil.free();
      const { members } = raid.info();
      expect(members).toHaveLength(2);
      expect(file.device.holder).toBe(null);
      const started = await assembleArray(box.kernel, others);
      expect(raid1Of(box.kernel, started).info().bitmap).toBe(null);
    }));
});

describe('without memory', () => {
  it('every write succeeds; the bitmap counts coarsely, and finely again afterwards', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { device, raid } = await array(box, 2, { bitmap: CHUNK, assumeEqual: true });
      const io = await Io.on(box.kernel, device);
      const faults = injectAllocationFaults(box.kernel, { mode: 'from', nth: 1 });
      for (let i = 0; i < 20; i++) expect(await io.write(i * 2 * PAGE_SIZE, page(i + 1))).toBe(0);
      for (let i = 0; i < 20; i++) expect((await io.read(i * 2 * PAGE_SIZE, PAGE_SIZE)).bytes).toEqual(page(i + 1));
      expect(await io.flush()).toBe(0);
      expect(faults.nrInjected).toBeGreaterThan(0);
      const { bitmap } = raid.info();
      expect(bitmap).toMatchObject({ nrCoarse: 1, nrDirty: bitmap?.nrChunks });
      await raid.fail('b');
      expect(await io.write(0, page(99))).toBe(0);
      faults.remove();
      await raid.remove('b');
      await raid.add(disk(box, 'c').device);
      await raid.waitForSync();
      await world.sleep(10_000);
      expect(raid.info().bitmap).toMatchObject({ nrCoarse: 0, nrDirty: 0 });
      io.free();
    }));

  it('resync, recovery and repair go on', () =>
    once(async (world) => {
      const box = await bootBox(world);
      const { device, raid } = await array(box, 3, { raidDisks: 2, bitmap: CHUNK });
      const faults = injectAllocationFaults(box.kernel, { mode: 'from', nth: 1 });
      await raid.waitForSync();
      await raid.fail('a');
      await raid.waitForSync();
      expect(raid.info().isDegraded).toBe(false);
      expect((await raid.scrub('repair')).nrMismatchSectors).toBe(0);
      faults.remove();
      await device.close();
    }));
});

describe('swap on an array', () => {
  it('works in a small arena, with an internal bitmap, while a member fails and comes back', async () => {
    const scenario: Scenario = {
      name: 'swap on md',
      async run(world) {
        const box = await bootBox(world, { memory: 256 * PAGE_SIZE, plugins: [swap] });
        const { members, device, raid } = await array(box, 2, { bitmap: CHUNK, assumeEqual: true }, { sizeBytes: 4096 * KIB });
        await box.kernel.swapOn(device, { format: true });
        world.later(20, async () => {
          await raid.fail('b');
          await raid.remove('b');
          await raid.add(members[1].device);
        });
        await runSwapLoad(world, box.kernel, { nrTasks: 2, pagesPerTask: 256, nrOperations: 60 });
        await raid.waitForSync();
        expect(raid.info().isDegraded).toBe(false);
        await box.kernel.swapOff(device);
        expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
      },
    };
    await explore(scenario, { nrSeeds: 12, command: 'npx vitest run packages/md/test/bitmap-file.test.ts' });
  });

  it('works with its bitmap in a file', async () => {
    const scenario: Scenario = {
      name: 'swap on md, bitmap in a file',
      async run(world) {
        const box = await bootBox(world, { memory: 256 * PAGE_SIZE, plugins: [swap] });
        const { device, raid } = await array(box, 2, { assumeEqual: true }, { sizeBytes: 4096 * KIB });
        const file = disk(box, 'file');
        await raid.addBitmap({ file: file.device }, { chunkBytes: 16 * KIB, daemonSeconds: 1 });
        await box.kernel.swapOn(device, { format: true });
        await runSwapLoad(world, box.kernel, { nrTasks: 2, pagesPerTask: 256, nrOperations: 60 });
      },
    };
    await explore(scenario, { nrSeeds: 12, command: 'npx vitest run packages/md/test/bitmap-file.test.ts' });
  });
});
