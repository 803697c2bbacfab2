/** When kswapd wakes, and whom it wakes (M1): nobody is left asleep who should work, and nobody is held up for one that sleeps. */
import { definePlugin, FrameClass, Gfp, Kernel, NONE, type Shrinker, SHRINKER } from '@tidemark/core';
import { describe, expect, it } from 'vitest';
import { VirtualTime, virtualHost } from './support/virtual-time.js';

async function boot(options: Partial<Parameters<typeof Kernel.boot>[0]> = {}) {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time)], ...options });
  const states: string[] = [];
  kernel.trace.on('kswapd', ({ state }) => states.push(state));
  return { time, kernel, states };
}

describe('kswapd', () => {
  it('is woken by the frame that reaches low, though nobody comes after it', async () => {
    const { time, kernel, states } = await boot();
    const { allocator } = kernel.memory;
    const taken: number[] = [];
    while (allocator.nrFree > allocator.low + 1) taken.push(allocator.allocPage(kernel.task, Gfp.SLAB));
    expect(states).toEqual([]);
    taken.push(allocator.allocPage(kernel.task, Gfp.SLAB));
    expect([allocator.nrFree, states]).toEqual([allocator.low, ['wake']]);
    for (const pfn of taken) allocator.freePage(pfn);
    await time.run(kernel.shutdown());
  });

  it('goes on until free memory is above high, not at it', async () => {
    const kept: number[] = [];
    const cache: Shrinker = {
      name: 'kept',
      count: () => kept.length,
      scan: (nrFrames) => {
        const given = kept.splice(0, nrFrames);
        for (const pfn of given) world.kernel.memory.allocator.freePage(pfn);
        return given.length;
      },
    };
    const time = new VirtualTime();
    const shrinkers = definePlugin({ name: 'shrinkers', register: (container) => void container.register(SHRINKER, { useValue: cache }) });
    const world = await boot({ plugins: [virtualHost(time), shrinkers] });
    const { allocator } = world.kernel.memory;
    while (allocator.nrFree > allocator.high) kept.push(allocator.allocPage(world.kernel.task, Gfp.SLAB));
    world.kernel.reclaim.wakeKswapd();
    await time.advance(50);
    expect(allocator.nrFree).toBeGreaterThan(allocator.high);
    for (const pfn of kept.splice(0)) allocator.freePage(pfn);
    await time.run(world.kernel.shutdown());
  });

  it('looks again after its nap: the marks may have risen', async () => {
    const { time, kernel, states } = await boot();
    const { allocator, reserve } = kernel.memory;
    kernel.reclaim.wakeKswapd();
    await time.advance(50);
    expect(states).toEqual(['wake', 'nap']);
    const account = reserve.open('node', allocator.nrFree - 20);
    expect(allocator.nrFree).toBeLessThanOrEqual(allocator.low);
    await time.advance(51);
    expect(states[2]).toBe('wake');
    reserve.close(account);
    await time.run(kernel.shutdown());
  });

  it('that gives up lets those go on who are held up for its sake', async () => {
    const { time, kernel, states } = await boot({ policy: 'memalloc+halfThrottle' });
    const { allocator } = kernel.memory;
    const taken: number[] = [];
    for (const by of [kernel.task, kernel.task.asReclaimer()]) {
      for (let pfn = allocator.allocPage(by, FrameClass.TRANSIENT); pfn >= 0; pfn = allocator.allocPage(by, FrameClass.TRANSIENT))
        taken.push(pfn);
    }
    expect(allocator.nrFree).toBe(0);
    expect(await time.run(Promise.resolve(allocator.allocPageSlow(kernel.task, FrameClass.ANON)))).toBe(NONE);
    expect(states.at(-1)).toBe('hopeless');
    for (const pfn of taken) allocator.freePage(pfn);
    await time.run(kernel.shutdown());
  });

  it('tells who waits for memory that the last write has ended and freed nothing', async () => {
    const time = new VirtualTime();
    const { kernel } = await boot({ plugins: [virtualHost(time)] });
    const { allocator, frames } = kernel.memory;
    const taken: number[] = [];
    for (
      let pfn = allocator.allocPage(kernel.task, FrameClass.TRANSIENT);
      pfn >= 0;
      pfn = allocator.allocPage(kernel.task, FrameClass.TRANSIENT)
    )
      taken.push(pfn);
    frames.pin(taken[0]); // work in flight
    let got: number | null = null;
    void Promise.resolve(allocator.allocPageSlow(kernel.task, FrameClass.ANON)).then((pfn) => {
      got = pfn;
    });
    await time.advance(1000);
    expect(got).toBe(null);
    frames.unpin(taken[0]);
    kernel.reclaim.noteProgress();
    await time.advance(1000);
    expect(got).toBe(NONE);
    for (const pfn of taken) allocator.freePage(pfn);
    await time.run(kernel.shutdown());
  });
});
