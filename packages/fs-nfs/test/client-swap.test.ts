/** Swap in a file on NFS (M15), in virtual time: every page comes back, over links and servers that fail, and with nothing left to allocate. */
import { type Kernel, PAGE_SIZE } from '@tidemark/core';
import { swap } from '@tidemark/swap';
import type { LinkOptions, Scenario, World } from '@tidemark/testkit';
import { Files } from '@tidemark/testkit/conformance';
import { explore } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad } from '../../testkit/test/swap-load.js';
import { bootNfsWorld, type NfsWorld } from './support/nfs-world.js';

const command = 'npx vitest run packages/fs-nfs/test/client-swap.test.ts';
const RUNS = Math.max(1, Math.floor(Number(process.env.TIDEMARK_RUNS ?? 1)) || 1);
const CLIENT_FRAMES = 192;
const LOAD: SwapLoad = { nrTasks: 1, pagesPerTask: CLIENT_FRAMES + 64, nrOperations: 25 };

/** A client with a swap file on its mount. */
async function bootSwap(world: World, link: Partial<LinkOptions> = {}): Promise<NfsWorld> {
  const nfsWorld = await bootNfsWorld(world, { link, memory: `${CLIENT_FRAMES * PAGE_SIZE}`, plugins: [swap] });
  const { kernel } = nfsWorld;
  const files = new Files(kernel);
  const piece = new Uint8Array(16 * PAGE_SIZE).fill(1);
  for (let at = 0; at < 3 * LOAD.pagesPerTask * PAGE_SIZE; at += piece.length) await files.write('/swap', at, piece);
  await files.fsync('/swap');
  await kernel.swapOn('/swap', { format: true });
  return nfsWorld;
}

describe('swap in a file on NFS', () => {
  it('every byte reads back, and a file is used beside it', async () => {
    const scenario: Scenario = {
      name: 'swap on NFS',
      async run(world) {
        const { kernel } = await bootSwap(world);
        await world.together(
          async () => void (await runSwapLoad(world, kernel, LOAD)),
          () => fileBeside(world, kernel),
        );
        expect(kernel.vmstat().pswpout).toBeGreaterThan(0);
      },
    };
    await explore(scenario, { nrSeeds: RUNS, command });
  });

  it('links that are cut anywhere and lose pieces cost nothing but time', async () => {
    let nrReplays = 0;
    const scenario: Scenario = {
      name: 'swap on NFS, bad links',
      async run(world) {
        const { kernel, network, volume } = await bootSwap(world, { lossRate: 0.01, jitter: 5 });
        const { random } = world;
        network.onConnection = (connection) => {
          if (random.chance(0.7)) connection.cutAfter(random.pick(['to-server', 'to-client']), 1 + random.below(300_000));
        };
        for (const connection of network.connections) connection.cutAfter('to-server', 1 + random.below(100_000));
        await runSwapLoad(world, kernel, LOAD);
        nrReplays += volume.statistics.nrReplays;
      },
    };
    await explore(scenario, { nrSeeds: RUNS, command });
    expect(nrReplays).toBeGreaterThan(0);
  });

  it('a server whose power goes: no page is lost, and none is stale', async () => {
    let nrCrashes = 0;
    const scenario: Scenario = {
      name: 'swap on NFS, crashes',
      async run(world) {
        const { kernel, server } = await bootSwap(world);
        const { random } = world;
        let isOver = false;
        const crash = (): void => {
          if (isOver || server.nrCrashes >= 3) return;
          server.crash(10 + random.below(1_000));
          world.later(3_000 + random.below(1_000), crash);
        };
        world.later(1 + random.below(60), crash);
        await runSwapLoad(world, kernel, LOAD);
        isOver = true;
        await world.sleep(5_000); // the last one comes back
        nrCrashes += server.nrCrashes;
      },
    };
    await explore(scenario, { nrSeeds: 2 * RUNS, command });
    expect(nrCrashes).toBeGreaterThan(0);
  });
});

/** Ordinary dirty data of the same mount, while there is no memory. */
async function fileBeside(world: World, kernel: Kernel): Promise<void> {
  const files = new Files(kernel);
  for (let round = 0; round < 6; round++) {
    const bytes = new Uint8Array(20 * PAGE_SIZE).fill(round + 1);
    await files.write('/beside', 0, bytes);
    world.progress();
    const got = await files.readAll('/beside');
    if (got.some((byte) => byte !== round + 1)) throw new Error(`round ${round}: wrong bytes`);
    world.progress();
  }
  await files.unlink('/beside');
}
