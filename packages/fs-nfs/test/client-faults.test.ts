/** The client when links and servers fail, in virtual time: real plugins on both sides, ext3 on a disk that loses what was not flushed. */
import type { Kernel } from '@tidemark/core';
import { Files } from '@tidemark/testkit/conformance';
import { explore } from '@tidemark/testkit/host';
import type { Scenario, World } from '@tidemark/testkit';
import { describe, expect, it } from 'vitest';
import { Workload } from '../../testkit/src/conformance/workload.js';
import { bootLocalWorld, bootNfsWorld } from './support/nfs-world.js';

const command = 'npx vitest run packages/fs-nfs/test/client-faults.test.ts';
const RUNS = Math.max(1, Math.floor(Number(process.env.TIDEMARK_RUNS ?? 1)) || 1);

/** Tasks side by side, each with a model of its own; then everything is compared. */
async function work(world: World, kernel: Kernel, nrTasks: number, nrSteps: number, top = ''): Promise<Workload[]> {
  const files = new Files(kernel);
  const options = { fileBytesMax: 12 * 4096, nodesMax: 16, mayFail: [] };
  const workloads: Workload[] = [];
  for (let i = 0; i < nrTasks; i++) {
    await files.mkdir(`${top}/${i}`);
    workloads.push(new Workload(files, world.randomOf(`work ${i}`), options, `${top}/${i}`));
  }
  await world.together(
    ...workloads.map((workload) => async (step: () => Promise<void>) => {
      for (let i = 0; i < nrSteps; i++) {
        await workload.step();
        if (i % 4 === 0) await step();
        world.progress();
      }
    }),
  );
  for (const workload of workloads) await workload.checkAll();
  return workloads;
}

/** Everything is written out, and the server's own tree is what the models say. */
async function compareThere(world: World, client: Kernel, server: Kernel, workloads: readonly Workload[]): Promise<void> {
  await new Files(client).sync();
  world.progress();
  for (const workload of workloads) {
    workload.tree = new Files(server);
    await workload.checkAll();
  }
}

describe('random work with a model', () => {
  it('over links that work', async () => {
    const scenario: Scenario = {
      name: 'NFS, good links',
      async run(world) {
        const { kernel, server } = await bootNfsWorld(world);
        await compareThere(world, kernel, server.kernel, await work(world, kernel, 3, 40));
      },
    };
    await explore(scenario, { nrSeeds: RUNS, command });
  });

  it('over links that lose pieces, and are cut anywhere', async () => {
    let nrReplays = 0;
    const scenario: Scenario = {
      name: 'NFS, bad links',
      async run(world) {
        const { kernel, server, network, volume } = await bootNfsWorld(world, { link: { lossRate: 0.01, jitter: 5 } });
        const { random } = world;
        network.onConnection = (connection) => {
          if (random.chance(0.7)) connection.cutAfter(random.pick(['to-server', 'to-client']), 1 + random.below(60_000));
        };
        for (const connection of network.connections) connection.cutAfter('to-server', 1 + random.below(40_000));
        const workloads = await work(world, kernel, 2, 40);
        network.onConnection = () => {};
        await compareThere(world, kernel, server.kernel, workloads);
        nrReplays += volume.statistics.nrReplays;
      },
    };
    await explore(scenario, { nrSeeds: 2 * RUNS, command });
    expect(nrReplays).toBeGreaterThan(0);
  });

  it('with a server that ends and begins again, and knows nothing of what it was asked', async () => {
    let nrLosses = 0;
    const scenario: Scenario = {
      name: 'NFS, restarts',
      async run(world) {
        const { kernel, server, volume } = await bootNfsWorld(world);
        const { random } = world;
        let nrLeft = 12;
        let isBusy = false;
        world.afterEachEvent(() => {
          // Between a WRITE that was answered and the COMMIT that covers it, most of all.
          if (isBusy || nrLeft === 0 || !random.chance(volume.statistics.nrUnstablePages > 0 ? 0.2 : 0.002)) return;
          nrLeft--;
          isBusy = true;
          world.later(0, async () => {
            await server.restart();
            isBusy = false;
          });
        });
        const workloads = await work(world, kernel, 2, 40);
        nrLeft = 0;
        await compareThere(world, kernel, server.kernel, workloads);
        nrLosses += volume.statistics.nrLosses;
      },
    };
    await explore(scenario, { nrSeeds: 2 * RUNS, command });
    expect(nrLosses).toBeGreaterThan(0);
  });

  it('with a server whose power goes: what was answered as stable is there, the rest is written again', async () => {
    let nrLosses = 0;
    const scenario: Scenario = {
      name: 'NFS, crashes',
      async run(world) {
        const { kernel, server, volume } = await bootNfsWorld(world);
        const { random } = world;
        let nrLeft = 4;
        let isDown = false;
        world.afterEachEvent(() => {
          if (isDown || nrLeft === 0 || !random.chance(volume.statistics.nrUnstablePages > 0 ? 0.5 : 0.0005)) return;
          nrLeft--;
          isDown = true;
          const backAfterMs = 10 + random.below(2_000);
          world.later(0, () => server.crash(backAfterMs));
          world.later(backAfterMs + 1_000, () => {
            isDown = false;
          });
        });
        const workloads = await work(world, kernel, 2, 30);
        nrLeft = 0;
        await world.sleep(4_000);
        await compareThere(world, kernel, server.kernel, workloads);
        nrLosses += volume.statistics.nrLosses;
      },
    };
    await explore(scenario, { nrSeeds: 3 * RUNS, command });
    expect(nrLosses).toBeGreaterThan(0);
  });

  it('with a server in the same kernel, in little memory', async () => {
    const scenario: Scenario = {
      name: 'NFS, a local edge',
      async run(world) {
        const { kernel, server } = await bootLocalWorld(world, '2MiB');
        const workloads = await work(world, kernel, 3, 30, '/mnt');
        const files = new Files(kernel);
        for (let i = 0; i < 6; i++) {
          await files.write('/mnt/much', i * 400_000, new Uint8Array(400_000).fill(i + 1)); // more than there is memory
          world.progress();
        }
        await files.fsync('/mnt/much');
        for (const workload of workloads) await workload.checkAll();
        expect((await files.read('/srv/much', 1_999_990, 20)).join()).toBe([...new Array(10).fill(5), ...new Array(10).fill(6)].join());
        expect(server.nrBugs).toBe(0);
        expect(kernel.memory.counters.reserve_unfunded).toBe(0);
        await kernel.unmount('/mnt');
      },
    };
    await explore(scenario, { nrSeeds: RUNS, command });
  });
});
