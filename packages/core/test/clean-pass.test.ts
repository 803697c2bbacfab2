/** The clean pass and shrinkers (M6): before an account is spent, those that allocate nothing are asked, and no other. */
import { definePlugin, Gfp, Kernel, type Pfn, type Shrinker, SHRINKER } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { describe, expect, it } from 'vitest';

/** A cache that gives back the frames it is given. */
class FrameCache implements Shrinker {
  readonly pfns: Pfn[] = [];
  nrScans = 0;
  free: (pfn: Pfn) => void = () => {};

  constructor(
    readonly name: string,
    readonly isAllocationFree: boolean,
  ) {}

  count(): number {
    return this.pfns.length;
  }

  scan(nrFrames: number): number {
    this.nrScans++;
    const given = this.pfns.splice(0, nrFrames);
    for (const pfn of given) this.free(pfn);
    return given.length;
  }
}

describe('the clean pass', () => {
  it('asks shrinkers that say they allocate nothing, and spends the account only when they have nothing left', async () => {
    const [modest, greedy] = [new FrameCache('modest', true), new FrameCache('greedy', false)];
    const shrinkers = definePlugin({
      name: 'shrinkers',
      register: (container) => {
        for (const cache of [modest, greedy]) container.register<Shrinker>(SHRINKER, { useValue: cache });
      },
    });
    const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, shrinkers] });
    const { allocator, reserve, counters } = kernel.memory;
    await kernel.reclaim.kswapd.stop(); // the pass alone is looked at
    const account = reserve.open('disk', 4);
    for (const cache of [modest, greedy]) cache.free = (pfn) => allocator.freePage(pfn);
    const taken: Pfn[] = [];
    for (let pfn = allocator.allocPage(kernel.task, Gfp.SLAB); pfn >= 0; pfn = allocator.allocPage(kernel.task, Gfp.SLAB)) taken.push(pfn);
    modest.pfns.push(...taken.splice(0, 40));
    greedy.pfns.push(...taken.splice(0, 40));
    const ticket = account.units.tryBegin(kernel.task);
    const by = kernel.task.withTicket(ticket);
    const got: Pfn[] = [];
    for (let i = 0; i < 40; i++) {
      const pfn = allocator.allocPage(by, Gfp.TRANSIENT);
      got.push(pfn);
      allocator.exchange(pfn); // only free memory is of interest here
    }
    expect([modest.count(), greedy.count(), greedy.nrScans]).toEqual([0, 40, 0]);
    expect([account.highWaterFrames, counters.cleanpass_freed]).toEqual([0, 40]);
    got.push(allocator.allocPage(by, Gfp.TRANSIENT));
    expect([account.usageFrames, greedy.count()]).toEqual([1, 40]);
    for (const pfn of [...got, ...taken, ...greedy.pfns]) allocator.freePage(pfn);
    ticket?.end();
    reserve.close(account);
    expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, leakedTimers: 0 });
  });

  it('is not entered from within itself', async () => {
    let kernel: Kernel | null = null;
    const again: Shrinker = { name: 'again', isAllocationFree: true, count: () => 1, scan: () => kernel?.reclaim.cleanPass(1) ?? 0 };
    const shrinkers = definePlugin({
      name: 'shrinkers',
      register: (container) => void container.register<Shrinker>(SHRINKER, { useValue: again }),
    });
    kernel = await Kernel.boot({ memory: '1MiB', plugins: [host, shrinkers] });
    expect(() => kernel?.reclaim.cleanPass(1)).toThrow('entered from within itself');
    await kernel.shutdown();
  });
});

describe('reclaim', () => {
  it('does nothing for one who is reclaiming already', async () => {
    const cache = new FrameCache('clean', true);
    const shrinkers = definePlugin({
      name: 'shrinkers',
      register: (container) => void container.register<Shrinker>(SHRINKER, { useValue: cache }),
    });
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [host, shrinkers] });
    const { allocator } = kernel.memory;
    cache.free = (pfn) => allocator.freePage(pfn);
    for (let i = 0; i < 8; i++) cache.pfns.push(allocator.allocPage(kernel.task, Gfp.SLAB));
    expect(kernel.reclaim.directReclaim(kernel.task.asReclaimer(), 8)).toBe(0);
    expect([cache.count(), cache.nrScans]).toEqual([8, 0]);
    expect(kernel.reclaim.directReclaim(kernel.task, 8)).toBe(8);
    await kernel.shutdown();
  });
});
