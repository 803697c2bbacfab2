/**
 * Swap over NBD to a server of the same kernel, on links that are cut anywhere while a stranger floods the same server: the local edge of M16
 * and its pin (M14), explored. All plugins are real.
 */
import { isKernelError, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { NbdServer, nbd, type NbdOpenOptions } from '@tidemark/nbd';
import { swap } from '@tidemark/swap';
import { type Scenario, SimulatedDisk, SimulatedNetwork, type World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/local-edge.test.ts';
const FRAMES = 256;
const ADDRESS = 'box:10809';
const LOAD: SwapLoad = { nrTasks: 2, pagesPerTask: FRAMES, nrOperations: 20 };

interface Topology {
  readonly kernel: Kernel;
  readonly server: NbdServer;
  readonly network: SimulatedNetwork;
}

async function bootTopology(world: World, policy: 'composed' | 'memalloc' = 'composed'): Promise<Topology> {
  const network = new SimulatedNetwork(world, { jitter: 5 });
  const machine = world.machine('box');
  const kernel = await world.boot(machine, { memory: FRAMES * PAGE_SIZE, plugins: [swap, nbd, network.transportOf(machine)], policy });
  const disk = (nrPages: number) =>
    kernel.attach(new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: nrPages * PAGE_SIZE }));
  const server = await NbdServer.listen(kernel, { address: ADDRESS, exports: { swap: disk(4 * FRAMES), other: disk(64) } });
  await kernel.swapOn(await kernel.openBlockDevice(`nbd://${ADDRESS}/swap`), { format: true });
  return { kernel, server, network };
}

/** Another machine, which asks for the same server's units as fast as it gets them; errors are its own affair. */
async function flood(world: World, network: SimulatedNetwork, isOver: () => boolean): Promise<number> {
  const machine = world.machine('stranger');
  const kernel = await world.boot(machine, { memory: 128 * PAGE_SIZE, plugins: [nbd, network.transportOf(machine)] });
  const options: NbdOpenOptions = { reconnectTimeoutMs: 1e9 };
  const cache = kernel.cacheDevice(await kernel.openBlockDevice(`nbd://${ADDRESS}/other`, options));
  let nrRounds = 0;
  const page = new Uint8Array(PAGE_SIZE);
  while (!isOver()) {
    for (let index = 0; index < 16; index++) await cache.write(index * PAGE_SIZE, page.fill(nrRounds + index));
    await cache.sync().catch(expectWriteAgain);
    nrRounds++;
  }
  return nrRounds;
}

/** A connection was lost before a flush: the cache writes it again. */
function expectWriteAgain(error: unknown): void {
  if (!isKernelError(error) || error.code !== 'ESTALE') throw error;
}

describe('swap on NBD with the server in the same kernel', () => {
  it('gives every byte back, however links are cut and strangers ask, and its server keeps what is pinned', async () => {
    let nrMade = 0;
    let nrRounds = 0;
    const scenario: Scenario = {
      name: 'local edge',
      async run(world) {
        const { kernel, server, network } = await bootTopology(world);
        const { random } = world;
        network.onConnection = (connection) => {
          if (random.chance(0.6)) connection.cutAfter(random.pick(['to-server', 'to-client']), 1 + random.below(200_000));
        };
        for (const connection of network.connections) connection.cutAfter('to-client', 1 + random.below(50_000));
        let isOver = false;
        const flooded = flood(world, network, () => isOver);
        await runSwapLoad(world, kernel, LOAD);
        isOver = true;
        nrRounds += await flooded;
        expect(server.nrLocalClients).toBe(1);
        await expect(server.close()).rejects.toMatchObject({ code: 'EBUSY' });
        nrMade += network.nrMade;
      },
    };
    await explore(scenario, { nrSeeds: 30, command });
    expect(nrMade).toBeGreaterThan(3 * 30);
    expect(nrRounds).toBeGreaterThan(30);
  });

  it('is a stranger to that server under a policy in which rights do not cross', async () => {
    const scenario: Scenario = {
      name: 'local edge without rights',
      async run(world) {
        const { kernel, server } = await bootTopology(world, 'memalloc');
        expect(server.nrLocalClients).toBe(0);
        expect(kernel.graph().edges).toContainEqual([`nbd://${ADDRESS}/swap`, `nbd-server:${ADDRESS}`]);
        await server.close({ force: true });
      },
    };
    await explore(scenario, { nrSeeds: 4, command });
  });
});
