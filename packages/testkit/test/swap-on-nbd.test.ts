/** T5 without its packet half: swap → NBD client → simulated link → NBD server on another machine → simulated disk, all plugins real. */
import { type Kernel, PAGE_SIZE } from '@tidemark/core';
import { NbdServer, nbd, type NbdOpenOptions } from '@tidemark/nbd';
import { swap } from '@tidemark/swap';
import {
  type DiskImage,
  diskFaults,
  type LinkOptions,
  type Machine,
  type Scenario,
  SimulatedDisk,
  type SimulatedDiskOptions,
  SimulatedNetwork,
  type World,
} from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad, WrongBytes } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/swap-on-nbd.test.ts';
const CLIENT_FRAMES = 128;
const SERVER_FRAMES = 256;
const ADDRESS = 'server:10809';
const LOAD: SwapLoad = { nrTasks: 2, pagesPerTask: CLIENT_FRAMES, nrOperations: 30 };
const LIGHT: SwapLoad = { ...LOAD, allowed: ['EIO', 'ENOMEM', 'ENOSPC'] };

/** The server's machine: one after the other, with one disk. */
class ServerBox {
  machine!: Machine;
  disk!: SimulatedDisk;

  constructor(
    readonly world: World,
    readonly network: SimulatedNetwork,
    readonly options: Partial<SimulatedDiskOptions>,
  ) {}

  async start(image?: DiskImage): Promise<void> {
    const { world, network, options } = this;
    this.machine = world.machine('server');
    const kernel = await world.boot(this.machine, { memory: SERVER_FRAMES * PAGE_SIZE, plugins: [nbd, network.transportOf(this.machine)] });
    this.disk = new SimulatedDisk(world, this.machine, kernel.memory.arena, {
      sizeBytes: 6 * CLIENT_FRAMES * PAGE_SIZE,
      ...options,
      image,
    });
    await NbdServer.listen(kernel, { address: ADDRESS, exports: { disk: kernel.attach(this.disk) } });
  }

  /** The power goes, and comes back after a while with what a crash left. */
  crash(backAfterMs: number): void {
    const image = this.disk.crash();
    this.machine.kill();
    this.world.later(backAfterMs, () => this.start(image));
  }
}

interface Setup {
  readonly disk?: Partial<SimulatedDiskOptions>;
  readonly link?: Partial<LinkOptions>;
  readonly open?: NbdOpenOptions;
}

interface Topology {
  readonly kernel: Kernel;
  readonly server: ServerBox;
  readonly network: SimulatedNetwork;
}

async function bootTopology(world: World, setup: Setup = {}): Promise<Topology> {
  const network = new SimulatedNetwork(world, setup.link);
  const server = new ServerBox(world, network, setup.disk ?? {});
  await server.start();
  const client = world.machine('client');
  const kernel = await world.boot(client, { memory: CLIENT_FRAMES * PAGE_SIZE, plugins: [swap, nbd, network.transportOf(client)] });
  const device = await kernel.openBlockDevice(`nbd://${ADDRESS}/disk`, setup.open);
  await kernel.swapOn(device, { format: true });
  return { kernel, server, network };
}

const WHOLE: Scenario = {
  name: 'T5',
  async run(world) {
    const { kernel } = await bootTopology(world);
    await runSwapLoad(world, kernel, LOAD);
  },
};

describe('T5, swap on NBD', () => {
  it('every byte reads back, under random and PCT schedules', async () => {
    const summary = await explore(WHOLE, { nrSeeds: 60, command });
    console.log(
      `T5: ${summary.nrRuns} runs, ${summary.nrEvents} events, ${summary.eventsPerSecond} a second, at most ${summary.eventsPeak}`,
    );
  });

  it('goes the same way under the same seed, and another way under another', async () => {
    for (const schedule of ['random', 'pct'] as const) {
      const hashes = [];
      for (const seed of [1, 1, 2]) hashes.push((await simulate(WHOLE, { seed, schedule })).traceHash);
      expect(hashes[1]).toBe(hashes[0]);
      expect(hashes[2]).not.toBe(hashes[0]);
    }
  });

  it('links that are cut anywhere, lose pieces and are partitioned for a time cost nothing but time', async () => {
    let nrMade = 0;
    const scenario: Scenario = {
      name: 'T5, bad links',
      async run(world) {
        const { kernel, network } = await bootTopology(world, { link: { lossRate: 0.01, jitter: 5 } });
        const { random } = world;
        network.onConnection = (connection) => {
          if (random.chance(0.7)) connection.cutAfter(random.pick(['to-server', 'to-client']), 1 + random.below(300_000));
        };
        for (const connection of network.connections) connection.cutAfter('to-server', 1 + random.below(100_000));
        world.later(20 + random.below(100), () => network.partition('client', 'server'));
        world.later(500 + random.below(5_000), () => network.heal('client', 'server'));
        await runSwapLoad(world, kernel, LOAD);
        nrMade += network.nrMade;
      },
    };
    await explore(scenario, { nrSeeds: 40, command });
    expect(nrMade).toBeGreaterThan(2 * 40);
  });

  it('a server that restarts and has lost what was not flushed costs time, and an error only after sixteen losses in a row', async () => {
    let nrVolatile = 0;
    let nrRunsWithErrors = 0;
    const scenario: Scenario = {
      name: 'T5, the server restarts',
      async run(world) {
        const { kernel, server, network } = await bootTopology(world);
        const { random } = world;
        const crash = (): void => {
          if (!server.machine.isAlive) return;
          nrVolatile += server.disk.nrVolatile;
          if (random.chance(0.3)) network.killSilently(server.machine);
          server.crash(1 + random.below(20));
        };
        for (let atMs = 0; atMs < 1_500; atMs += 1 + random.below(120)) world.later(atMs, crash);
        if ((await runSwapLoad(world, kernel, { ...LOAD, allowed: ['EIO'] })).nrErrors > 0) nrRunsWithErrors++;
      },
    };
    const { nrRuns } = await explore(scenario, { nrSeeds: 40, command });
    expect(nrRunsWithErrors * 20).toBeLessThan(nrRuns);
    expect(nrVolatile).toBeGreaterThan(40);
  });

  it('a request of the disk that fails costs an error at most', async () => {
    let nrErrors = 0;
    const scenario: Scenario = {
      name: 'T5, the n-th request fails',
      async run(world) {
        const { kernel } = await bootTopology(world, { disk: { fault: diskFaults.nth(8 + world.random.below(150)) } });
        nrErrors += (await runSwapLoad(world, kernel, LIGHT)).nrErrors;
      },
    };
    await explore(scenario, { nrSeeds: 40, command });
    expect(nrErrors).toBeGreaterThan(0);
  });

  it('a server that is gone for good ends in errors when the limits are over, not in a standstill', async () => {
    const scenario: Scenario = {
      name: 'T5, the server stays away',
      async run(world) {
        const { kernel, server, network } = await bootTopology(world);
        world.later(1 + world.random.below(50), () => {
          if (world.random.chance(0.5)) network.killSilently(server.machine);
          else server.machine.kill();
        });
        await runSwapLoad(world, kernel, LIGHT);
      },
    };
    // 64 pages in a row fail before the area does, and each may wait for an attempt to connect and for the limits.
    await explore(scenario, { nrSeeds: 20, patienceMs: 2 * 3_600_000, command });
  });

  it('a disk behind the server that forgets what it acknowledged, and whose server does not tell, is found by its bytes', async () => {
    const scenario: Scenario = {
      name: 'T5, the disk forgets',
      async run(world) {
        const { kernel, server } = await bootTopology(world);
        for (let n = 1; n <= 40; n++) world.later(2 * n, () => server.disk.loseUnflushed());
        await runSwapLoad(world, kernel, LOAD);
      },
    };
    let nrFound = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const { verdict, error } = await simulate(scenario, { seed });
      expect(verdict === 'completes' || error instanceof WrongBytes, `seed ${seed}: ${String(error)}`).toBe(true);
      if (error instanceof WrongBytes) nrFound++;
    }
    expect(nrFound).toBeGreaterThan(2);
  });

  it('a server whose disk never answers is a standstill once nobody gives up', async () => {
    const scenario: Scenario = {
      name: 'T5, the disk falls silent',
      async run(world) {
        const { kernel, server } = await bootTopology(world, { open: { requestTimeoutMs: 10_000, reconnectTimeoutMs: 1e9 } });
        server.disk.silence();
        await runSwapLoad(world, kernel, LOAD);
      },
    };
    const { verdict, reports, troubles } = await simulate(scenario, { seed: 1 });
    expect(verdict).toBe('stuck');
    expect(reports.some(({ machine, report }) => machine === 'client' && report.waiters.length > 0)).toBe(true);
    expect(troubles[0]).toMatch(/^server: disk is silent/);
  });
});
