/** The watchdog of a kernel in virtual time (M22): no false alarm in any schedule, and an alarm whenever the oracle says stuck. */
import { type Kernel, PAGE_SIZE, type StallReport } from '@tidemark/core';
import { swap } from '@tidemark/swap';
import { type Scenario, SimulatedDisk, type SimulatedDiskOptions, type World } from '@tidemark/testkit';
import { explore } from '@tidemark/testkit/host';
import { expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/watchdog.test.ts';
const MEMORY_FRAMES = 256;
const LOAD: SwapLoad = { nrTasks: 3, pagesPerTask: MEMORY_FRAMES, nrOperations: 60 };
const QUIET_MS = 500;

async function bootWatched(world: World, options: Partial<SimulatedDiskOptions> = {}) {
  const machine = world.machine('box');
  const watchdog = { quietMs: QUIET_MS };
  const kernel: Kernel = await world.boot(machine, { memory: MEMORY_FRAMES * PAGE_SIZE, plugins: [swap], watchdog });
  const stalls: StallReport[] = [];
  kernel.trace.on('stall', (report) => stalls.push(report));
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 8 * MEMORY_FRAMES * PAGE_SIZE, ...options });
  await kernel.swapOn(kernel.attach(disk), { format: true });
  return { kernel, disk, stalls };
}

it('raises no false alarm, whatever the schedule, and leaves no timer', async () => {
  const scenario: Scenario = {
    name: 'a load on a slow disk, watched',
    async run(world) {
      const { kernel, stalls } = await bootWatched(world, { latencyMs: world.random.below(2) === 0 ? 0.1 : 20 });
      await runSwapLoad(world, kernel, LOAD);
      expect(stalls).toEqual([]);
      expect(kernel.watchdog.nrStalls).toBe(0);
    },
  };
  const { nrRuns, nrEvents } = await explore(scenario, { nrSeeds: 100, command });
  console.log(`watchdog: ${nrRuns} runs, ${nrEvents} events, no alarm`);
});

it('raises one for each quiet period in which the disk is silent, naming it, and none after', async () => {
  const silentMs = 10_000;
  const scenario: Scenario = {
    name: 'the disk is silent for ten seconds, watched',
    async run(world) {
      const { kernel, disk, stalls } = await bootWatched(world);
      disk.silence();
      let nrBefore = -1;
      world.later(silentMs, () => {
        nrBefore = stalls.length;
        disk.resume();
      });
      await runSwapLoad(world, kernel, LOAD);
      expect(stalls.length).toBeGreaterThanOrEqual(silentMs / QUIET_MS - 2);
      expect(stalls.length).toBeLessThanOrEqual(silentMs / QUIET_MS);
      for (const { ends, waiters } of stalls) {
        expect(ends).toEqual(['block-device: disk']);
        expect(waiters.length).toBeGreaterThan(0);
      }
      expect(stalls).toHaveLength(nrBefore);
    },
  };
  await explore(scenario, { nrSeeds: 20, command });
});

it('keeps no run from being found stuck', async () => {
  const scenario: Scenario = {
    name: 'the disk is silent for ever, watched',
    async run(world) {
      const { kernel, disk, stalls } = await bootWatched(world);
      disk.silence();
      world.onTrouble(() => (stalls.length > 0 ? null : 'the watchdog said nothing'));
      await runSwapLoad(world, kernel, LOAD);
    },
  };
  await explore(scenario, {
    nrSeeds: 10,
    command,
    expect: ({ verdict, troubles }) => verdict === 'stuck' && !troubles.includes('the watchdog said nothing'),
  });
});
