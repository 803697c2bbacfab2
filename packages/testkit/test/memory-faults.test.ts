/** Allocations that fail, a reserve that is denied, memory that is held: T2's load goes on or ends in typed errors, and nothing leaks. */
import { isKernelError, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { PagedBuffer, swap } from '@tidemark/swap';
import {
  type AllocationFault,
  type AllocationInjector,
  checkFrameTable,
  checkInvariants,
  Depletion,
  injectAllocationFaults,
  type Scenario,
  SimulatedDisk,
  type World,
} from '@tidemark/testkit';
import { explore, simulate } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';
import { runSwapLoad, type SwapLoad } from './swap-load.js';

const command = 'npx vitest run packages/testkit/test/memory-faults.test.ts';
const MEMORY_FRAMES = 128;
const LOAD: SwapLoad = { nrTasks: 2, pagesPerTask: 96, nrOperations: 40, allowed: ['EIO', 'ENOMEM'] };

async function bootBox(world: World, onBoot: (kernel: Kernel) => void = () => {}): Promise<Kernel> {
  const machine = world.machine('box');
  const kernel = await world.boot(machine, { memory: MEMORY_FRAMES * PAGE_SIZE, plugins: [swap] });
  onBoot(kernel);
  const disk = new SimulatedDisk(world, machine, kernel.memory.arena, { sizeBytes: 4 * MEMORY_FRAMES * PAGE_SIZE });
  await kernel.swapOn(kernel.attach(disk), { format: true });
  return kernel;
}

interface Injection {
  nrInjected: number;
  firstPath: string | null;
  nrErrors: number;
}

/** A run of the load with a fault; `told` is filled in. */
function withFault(fault: AllocationFault, told: Injection): Scenario {
  return {
    name: `T2, ${fault.mode} ${fault.by ?? 'call'} ${fault.nth} fails`,
    async run(world) {
      const injectors: AllocationInjector[] = [];
      try {
        const kernel = await bootBox(world, (booted) => injectors.push(injectAllocationFaults(booted, fault)));
        told.nrErrors = (await runSwapLoad(world, kernel, LOAD)).nrErrors;
      } catch (error) {
        if (!isKernelError(error) || error.code !== 'ENOMEM') throw error; // swapon is refused
      }
      const [injector] = injectors;
      told.nrInjected = injector.nrInjected;
      told.firstPath = injector.firstPath;
      injector.remove();
      for (const kernel of world.kernels) checkFrameTable(kernel);
    },
  };
}

async function failEach(
  mode: AllocationFault['mode'],
  by: 'call' | 'path',
  nthMax: number,
): Promise<{ nrRuns: number; paths: Set<string> }> {
  const paths = new Set<string>();
  for (let nth = 1; nth <= nthMax; nth++) {
    const told: Injection = { nrInjected: 0, firstPath: null, nrErrors: 0 };
    await explore(withFault({ mode, nth, by }, told), { nrSeeds: 1, firstSeed: nth, command });
    if (told.nrInjected === 0) return { nrRuns: nth - 1, paths };
    paths.add((told.firstPath ?? '').split('\n')[0]);
  }
  return { nrRuns: nthMax, paths };
}

describe('an allocation that fails', () => {
  it('by distinct call path, each once: every path of the load, then no more', async () => {
    const { nrRuns, paths } = await failEach('once', 'path', 200);
    expect(nrRuns).toBeGreaterThan(5);
    expect(nrRuns).toBeLessThan(200); // the last run injected nothing: all paths have failed
    console.log(`${nrRuns} call paths through ${paths.size} places`);
  });

  it('by distinct call path, and all behind it', async () => {
    expect((await failEach('from', 'path', 12)).nrRuns).toBeGreaterThan(5);
  });

  it('by number, once and for good', async () => {
    expect((await failEach('once', 'call', 40)).nrRuns).toBe(40);
    expect((await failEach('from', 'call', 10)).nrRuns).toBe(10);
  });

  it('is told to the program as ENOMEM, and only while it lasts', async () => {
    const scenario: Scenario = {
      name: 'ENOMEM',
      async run(world) {
        const kernel = await bootBox(world);
        const buffer = await PagedBuffer.create(kernel, { sizeBytes: 8 * PAGE_SIZE });
        const injector = injectAllocationFaults(kernel, { mode: 'from', nth: 1 });
        const error = await Promise.resolve()
          .then(() => buffer.write(0, new Uint8Array(PAGE_SIZE)))
          .catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: 'ENOMEM' });
        expect(injector.nrInjected).toBeGreaterThan(0);
        injector.remove();
        expect(await buffer.write(0, new Uint8Array(PAGE_SIZE).fill(1))).toBe(PAGE_SIZE);
        buffer.close();
      },
    };
    await explore(scenario, { nrSeeds: 1, command });
  });
});

describe('a reserve that is denied', () => {
  it('makes no charge, of accounts there are and accounts to come', async () => {
    const scenario: Scenario = {
      name: 'denied',
      async run(world) {
        const kernel = await world.boot(world.machine('box'), { memory: '2MiB' });
        const { reserve } = kernel.memory;
        const before = reserve.open('before', 2);
        const injector = injectAllocationFaults(kernel, { mode: 'deny-reserve', nth: 0 });
        const after = reserve.open('after', 2);
        expect([before.charge(1), after.charge(1)]).toEqual([false, false]);
        injector.remove();
        expect([before.charge(1), after.charge(1)]).toEqual([true, true]);
        for (const account of [before, after]) {
          account.uncharge(1);
          reserve.close(account);
        }
      },
    };
    await explore(scenario, { nrSeeds: 1, command });
  });
});

describe('depletion', () => {
  it('holds free memory at a mark under load, and gives it back', async () => {
    let nrHeld = 0;
    const scenario: Scenario = {
      name: 'T2, free memory is held at min',
      async run(world) {
        const kernel = await bootBox(world);
        const depletion = new Depletion(kernel, kernel.memory.allocator.watermarks.high + 16);
        let isOn = true;
        world.afterEachEvent(() => {
          if (isOn) depletion.take();
        });
        await runSwapLoad(world, kernel, LOAD);
        nrHeld += depletion.nrHeld;
        isOn = false;
        depletion.release();
      },
    };
    await explore(scenario, { nrSeeds: 10, command });
    expect(nrHeld).toBeGreaterThan(0);
  });
});

describe('the invariants', () => {
  it('are checked after every event: a frame that is lost is found at once', async () => {
    const scenario: Scenario = {
      name: 'a lost frame',
      async run(world) {
        const kernel = await bootBox(world);
        world.later(1, () => {
          const { allocator } = kernel.memory;
          const { classCount } = allocator;
          allocator.classCount = (frameClass) => classCount.call(allocator, frameClass) - (frameClass === 1 ? 1 : 0);
        });
        await world.sleep(10);
      },
    };
    const { verdict, error, elapsedMs } = await simulate(scenario, { seed: 2 });
    expect(verdict).toBe('failed');
    expect(String(error)).toContain('add up to 127 frames of 128');
    expect(elapsedMs).toBeLessThan(10);
  });

  it('and the frame table can be counted again', async () => {
    const scenario: Scenario = {
      name: 'a frame of another class',
      async run(world) {
        const kernel = await world.boot(world.machine('box'), { memory: '2MiB' });
        checkInvariants(kernel);
        checkFrameTable(kernel);
        kernel.memory.frames.frameClass[7] = 1;
        expect(() => checkFrameTable(kernel)).toThrow(/FREE|FILE/);
        kernel.memory.frames.frameClass[7] = 0;
      },
    };
    await explore(scenario, { nrSeeds: 1, command });
  });
});
