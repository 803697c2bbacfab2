/** Swap on filters over a simulated disk, in virtual time: admitted with everything below, whole under every schedule, slow when told to be. */
import {
  type BlockDevice,
  copyOnWrite,
  delay,
  errors,
  filterOf,
  type Kernel,
  openFilter,
  PAGE_SIZE,
  stats,
  StatsFilter,
} from '@tidemark/core';
import { NbdServer, nbd } from '@tidemark/nbd';
import { swap } from '@tidemark/swap';
import { type Scenario, SimulatedDisk, SimulatedNetwork, type World } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/swap-on-filters.test.ts';
const MEMORY_FRAMES = 256;
const LOAD: SwapLoad = { nrTasks: 2, pagesPerTask: 2 * MEMORY_FRAMES, nrOperations: 100 };
const LIGHT: SwapLoad = { nrTasks: 3, pagesPerTask: MEMORY_FRAMES / 2, nrOperations: 100, allowed: ['EIO', 'ENOMEM', 'ENOSPC'] };

async function boot(world: World): Promise<{ kernel: Kernel; disk: BlockDevice }> {
  const machine = world.machine('box');
  const kernel = await world.boot(machine, { memory: MEMORY_FRAMES * PAGE_SIZE, plugins: [swap] });
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 8 * MEMORY_FRAMES * PAGE_SIZE });
  return { kernel, disk: kernel.attach(disk) };
}

/** `stats` on top of what `put` makes of the disk, with a swap area on it. */
function scenario(
  name: string,
  load: SwapLoad,
  put: (kernel: Kernel, disk: BlockDevice) => Promise<BlockDevice>,
  seen: (kernel: Kernel, top: BlockDevice) => void,
): Scenario {
  return {
    name,
    async run(world) {
      const { kernel, disk } = await boot(world);
      const top = await openFilter(kernel, await put(kernel, disk), stats, { name: 'top' });
      await kernel.swapOn(top, { format: true });
      await runSwapLoad(world, kernel, load);
      seen(kernel, top);
    },
  };
}

describe('Swap on filters', () => {
  it('on stats over delay: every byte reads back; the plan has every device, each above what it needs', async () => {
    let nrWrites = 0;
    const slow = scenario(
      'swap on stats over delay',
      LOAD,
      (kernel, disk) => openFilter(kernel, disk, delay, { latencyMs: 2, jitterMs: 2, bytesPerSecond: '20MiB', name: 'slow' }),
      (kernel, top) => {
        const { read, write, nrInFlightMax } = filterOf(top, StatsFilter).explain();
        nrWrites += write.nrRequests;
        expect(read.nrErrors + write.nrErrors).toBe(0);
        expect(write.medianMs).toBeGreaterThanOrEqual(2);
        expect(nrInFlightMax).toBeLessThanOrEqual(kernel.memory.sizes.clientUnits);
        const { nodes, edges } = kernel.graph();
        expect(edges).toEqual(
          expect.arrayContaining([
            ['top', 'slow'],
            ['slow', 'disk'],
          ]),
        );
        expect(nodes.find(({ kind }) => kind === 'swap-area')?.level).toBe(3);
      },
    );
    await explore(slow, { nrSeeds: 12, command });
    expect(nrWrites).toBeGreaterThan(0);
  });

  it('on a copy-on-write overlay over the disk', async () => {
    const copied = scenario(
      'swap on stats over cow',
      LOAD,
      (kernel, disk) => openFilter(kernel, disk, copyOnWrite, {}),
      () => {},
    );
    await explore(copied, { nrSeeds: 20, command });
  });

  it('on a device that fails now and then: an error at most, never a wrong byte, never a hang', async () => {
    let nrErrors = 0;
    const failing = scenario(
      'swap on stats over error over delay',
      LIGHT,
      async (kernel, disk) =>
        openFilter(kernel, await openFilter(kernel, disk, delay, { latencyMs: 1 }), errors, {
          rules: [
            { op: 'write', fromBytes: PAGE_SIZE, rate: 0.05 },
            { op: 'read', fromBytes: PAGE_SIZE, rate: 0.05 },
          ],
        }),
      (_kernel, top) => {
        const { read, write } = filterOf(top, StatsFilter).explain();
        nrErrors += read.nrErrors + write.nrErrors;
      },
    );
    await explore(failing, { nrSeeds: 30, command });
    expect(nrErrors).toBeGreaterThan(0);
  });

  it('over NBD to a server of the same kernel: the pin goes through the filter to what the server has', async () => {
    const local: Scenario = {
      name: 'swap on delay over local NBD',
      async run(world) {
        const network = new SimulatedNetwork(world, {});
        const machine = world.machine('box');
        const kernel = await world.boot(machine, {
          memory: MEMORY_FRAMES * PAGE_SIZE,
          plugins: [swap, nbd, network.transportOf(machine)],
        });
        const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 4 * MEMORY_FRAMES * PAGE_SIZE });
        const server = await NbdServer.listen(kernel, { address: 'box:10809', exports: { swap: kernel.attach(disk) } });
        await kernel.swapOn(await kernel.openBlockDevice('delay:latencyMs=1:nbd://box:10809/swap'), { format: true });
        await runSwapLoad(world, kernel, { nrTasks: 2, pagesPerTask: MEMORY_FRAMES, nrOperations: 20 });
        expect(server.nrLocalClients).toBe(1);
        await expect(server.close()).rejects.toMatchObject({ code: 'EBUSY' });
      },
    };
    await explore(local, { nrSeeds: 8, command });
  });

  it('goes the same way under the same seed', async () => {
    const slow = scenario(
      'swap on a jittering disk',
      LOAD,
      (kernel, disk) => openFilter(kernel, disk, delay, { jitterMs: 5 }),
      () => {},
    );
    const [one, two, other] = [await simulate(slow, { seed: 7 }), await simulate(slow, { seed: 7 }), await simulate(slow, { seed: 8 })];
    expect([one.verdict, two.traceHash]).toEqual(['completes', one.traceHash]);
    expect(other.traceHash).not.toBe(one.traceHash);
  });
});
