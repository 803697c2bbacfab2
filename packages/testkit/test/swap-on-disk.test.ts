/** T2: swap on a simulated raw disk, with the real swap plugin; whole, with faults, and broken on purpose. */
import { Errno, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { swap } from '@tidemark/swap';
import { diskFaults, type Machine, type Scenario, SimulatedDisk, type SimulatedDiskOptions, type World } from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad, WrongBytes } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/swap-on-disk.test.ts';
const MEMORY_FRAMES = 256;
const LOAD: SwapLoad = { nrTasks: 2, pagesPerTask: 2 * MEMORY_FRAMES, nrOperations: 100 };
/** Answers to a program whose pages are on a disk with errors. */
const LIGHT: SwapLoad = { nrTasks: 3, pagesPerTask: MEMORY_FRAMES / 2, nrOperations: 100, allowed: ['EIO', 'ENOMEM', 'ENOSPC'] };

interface Box {
  readonly machine: Machine;
  readonly kernel: Kernel;
  readonly disk: SimulatedDisk;
}

async function bootBox(world: World, options: Partial<SimulatedDiskOptions> = {}, frames = MEMORY_FRAMES): Promise<Box> {
  const machine = world.machine('box');
  const kernel = await world.boot(machine, { memory: frames * PAGE_SIZE, plugins: [swap] });
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 8 * frames * PAGE_SIZE, ...options });
  await kernel.swapOn(kernel.attach(disk), { format: true });
  return { machine, kernel, disk };
}

const WHOLE: Scenario = {
  name: 'T2',
  async run(world) {
    const { kernel } = await bootBox(world);
    await runSwapLoad(world, kernel, LOAD);
  },
};

describe('T2, swap on a raw disk', () => {
  it('every byte reads back, under random and PCT schedules', async () => {
    const summary = await explore(WHOLE, { nrSeeds: 60, command });
    console.log(`T2: ${summary.nrRuns} runs, ${summary.nrEvents} events, ${summary.eventsPerSecond} a second`);
    expect(summary.eventsPeak).toBeLessThan(3_000);
  });

  it('goes the same way under the same seed, and another way under another', async () => {
    for (const schedule of ['random', 'pct'] as const) {
      const hashes = [];
      for (const seed of [1, 1, 2]) hashes.push((await simulate(WHOLE, { seed, schedule })).traceHash);
      expect(hashes[1]).toBe(hashes[0]);
      expect(hashes[2]).not.toBe(hashes[0]);
    }
  });

  it('a request that fails costs an error at most, never a wrong byte', async () => {
    let nrErrors = 0;
    const scenario: Scenario = {
      name: 'T2, the n-th request fails',
      async run(world) {
        const { kernel } = await bootBox(world, { fault: diskFaults.nth(8 + world.random.below(150)) });
        nrErrors += (await runSwapLoad(world, kernel, LIGHT)).nrErrors;
      },
    };
    await explore(scenario, { nrSeeds: 60, command });
    expect(nrErrors).toBeGreaterThan(0);
  });

  it('a disk that fails for good leaves errors, not a hang', async () => {
    const scenario: Scenario = {
      name: 'T2, every request from the n-th on fails',
      async run(world) {
        const { kernel } = await bootBox(world, { fault: diskFaults.from(8 + world.random.below(150)) });
        await runSwapLoad(world, kernel, LIGHT);
      },
    };
    await explore(scenario, { nrSeeds: 60, command });
  });

  it('is no standstill while the disk is silent for a time', async () => {
    const scenario: Scenario = {
      name: 'T2, the disk is silent for ten minutes',
      async run(world) {
        const { kernel, disk } = await bootBox(world);
        disk.silence();
        world.later(600_000, () => disk.resume());
        await runSwapLoad(world, kernel, LIGHT);
      },
    };
    await explore(scenario, { nrSeeds: 20, command });
  });

  it('a disk that never answers is a standstill, and the report leads to it', async () => {
    const scenario: Scenario = {
      name: 'T2, the disk falls silent',
      async run(world) {
        const { kernel, disk } = await bootBox(world);
        disk.silence();
        await runSwapLoad(world, kernel, LOAD);
      },
    };
    await explore(scenario, { nrSeeds: 20, command, expect: ({ verdict }) => verdict === 'stuck' });
    const { reports, troubles } = await simulate(scenario, { seed: 1 });
    expect(reports.map(({ machine }) => machine)).toEqual(['box']);
    const { waiters, edges, cycles, ends } = reports[0].report;
    const kinds = waiters.map(({ task, waitsFor }) => `${task} ${waitsFor.split(':')[0]}`);
    expect(new Set(kinds)).toEqual(new Set(['box frames', 'kswapd writeback']));
    expect(edges.some(([from]) => from === 'task: box')).toBe(true);
    expect(cycles).toEqual([]);
    expect(ends).toHaveLength(1);
    expect(ends[0]).toMatch(/^block-device: /);
    expect(troubles).toHaveLength(1);
    expect(troubles[0]).toMatch(/^box: disk is silent, with [1-9]\d* requests$/);
  });

  it('a disk that loses what it acknowledged, and says so, costs nothing but time', async () => {
    const scenario: Scenario = {
      name: 'T2, the disk forgets and tells',
      async run(world) {
        const frames = 2 * MEMORY_FRAMES;
        const { kernel, disk } = await bootBox(world, { maxTransferPages: 1, jitter: 20 }, frames);
        const lose = (): void => {
          disk.loseUnflushed(true);
          if (world.nowMs < 1_000) world.later(world.random.next() * 40, lose);
        };
        lose();
        await runSwapLoad(world, kernel, { nrTasks: 2, pagesPerTask: frames, nrOperations: 50 });
      },
    };
    await explore(scenario, { nrSeeds: 40, command });
  });

  it('a disk that loses what it acknowledged and says nothing is found by its bytes', async () => {
    const scenario: Scenario = {
      name: 'T2, the disk forgets',
      async run(world) {
        const { kernel, disk } = await bootBox(world);
        for (let n = 1; n <= 20; n++) world.later(n, () => disk.loseUnflushed());
        await runSwapLoad(world, kernel, LIGHT);
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

  it('fails every request with another error code than EIO the same way', async () => {
    const scenario: Scenario = {
      name: 'T2, ENOSPC',
      async run(world) {
        const { kernel } = await bootBox(world, { fault: diskFaults.nth(20, -Errno.ENOSPC) });
        await runSwapLoad(world, kernel, LIGHT);
      },
    };
    await explore(scenario, { nrSeeds: 5, command });
  });
});
