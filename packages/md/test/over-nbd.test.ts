/**
 * Swap on an array whose members and whose bitmap are NBD devices, served by this same kernel: pins go down through the array to what is behind
 * the servers, a bitmap in a file is written while memory is gone, and the cycle through a server is found. All plugins are real.
 */
import { type BlockDevice, isKernelError, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { createArray, md, raid1Of } from '@tidemark/md';
import { NbdServer, nbd } from '@tidemark/nbd';
import { swap } from '@tidemark/swap';
import { type Scenario, SimulatedDisk, SimulatedNetwork, type World } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad } from '../../testkit/test/swap-load.js';

const FRAMES = 384;
const ADDRESS = 'box:10809';
const OTHER = 'box:10810';
const BITMAP = { chunkBytes: 16_384, daemonSeconds: 1 };

interface Box {
  readonly kernel: Kernel;
  readonly server: NbdServer;
  readonly disks: readonly BlockDevice[];
  readonly network: SimulatedNetwork;
}

async function boot(world: World): Promise<Box> {
  const network = new SimulatedNetwork(world, { jitter: 5 });
  const machine = world.machine('box');
  const kernel = await world.boot(machine, { memory: FRAMES * PAGE_SIZE, plugins: [swap, md, nbd, network.transportOf(machine)] });
  const disks = ['a', 'b', 'file'].map((name) =>
    kernel.attach(new SimulatedDisk(world, machine, kernel.memory.arena, { name, sizeBytes: 3 * FRAMES * PAGE_SIZE })),
  );
  const server = await NbdServer.listen(kernel, { address: ADDRESS, exports: { a: disks[0], file: disks[2] } });
  return { kernel, server, disks, network };
}

describe('an array over NBD', () => {
  it('is swapped on, with a bitmap in a file over NBD, on servers of the same kernel', async () => {
    const scenario: Scenario = {
      name: 'swap on md on nbd',
      async run(world) {
        const { kernel, server, disks } = await boot(world);
        const [a, file] = [await kernel.openBlockDevice(`nbd://${ADDRESS}/a`), await kernel.openBlockDevice(`nbd://${ADDRESS}/file`)];
        const array = await createArray(kernel, [a, disks[1]], { assumeEqual: true });
        const raid = raid1Of(kernel, array);
        await raid.addBitmap({ file }, BITMAP);
        await kernel.swapOn(array, { format: true });
        const path = kernel.graph().edges.map(([from, to]) => `${from} → ${to}`);
        expect(path).toContain(`bitmap of ${array.name} → nbd://${ADDRESS}/file`);
        expect(path).toContain(`${array.name} → nbd://${ADDRESS}/a`);
        await expect(server.close()).rejects.toMatchObject({ code: 'EBUSY' }); // what it exports is pinned
        await runSwapLoad(world, kernel, { nrTasks: 2, pagesPerTask: FRAMES, nrOperations: 30 });
        expect(raid.info()).toMatchObject({ isDegraded: false, bitmap: { isFailed: false } });
        await kernel.swapOff(array);
        expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
      },
    };
    await explore(scenario, { nrSeeds: 4, command: 'npx vitest run packages/md/test/over-nbd.test.ts' });
  });

  it('left on at shutdown goes before the server that its bitmap is behind', async () => {
    const scenario: Scenario = {
      name: 'md at shutdown',
      async run(world) {
        const { kernel, disks } = await boot(world);
        const array = await createArray(kernel, [disks[1]], { assumeEqual: true });
        await raid1Of(kernel, array).addBitmap({ file: await kernel.openBlockDevice(`nbd://${ADDRESS}/file`) }, BITMAP);
        expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
      },
    };
    const { verdict, error } = await simulate(scenario, { seed: 1 });
    if (verdict !== 'completes') throw error;
  });

  it('does not take a bitmap file that a server of this kernel serves from the array itself', async () => {
    const scenario: Scenario = {
      name: 'bitmap on the array, through a server',
      async run(world) {
        const { kernel, disks } = await boot(world);
        const array = await createArray(kernel, [disks[1]], { raidDisks: 1 });
        const server = await NbdServer.listen(kernel, { address: OTHER, exports: { array } });
        const file = await kernel.openBlockDevice(`nbd://${OTHER}/array`);
        const error: unknown = await raid1Of(kernel, array)
          .addBitmap({ file }, BITMAP)
          .catch((caught: unknown) => caught);
        expect(isKernelError(error) && [error.code, error.details.cycle]).toEqual([
          'EDEADLK',
          [`bitmap of ${array.name}`, `nbd://${OTHER}/array`, `nbd-server:${OTHER}`, array.name, `bitmap of ${array.name}`],
        ]);
        await file.close();
        await server.close();
      },
    };
    const { verdict, error } = await simulate(scenario, { seed: 1 });
    if (verdict !== 'completes') throw error;
  });
});
