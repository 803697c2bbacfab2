/** Reclaim: the verdict, the default policy, kswapd, and what one round looks at. */
import {
  BioOp,
  type DeviceCache,
  Errno,
  FrameClass,
  FrameTable,
  createCounters,
  judge,
  Kernel,
  PAGE_SIZE,
  PageKind,
  PG,
  PutBack,
  type ReplacementPolicy,
  scanBalance,
  shadowCell,
  shadowAge,
  shadowWorkingset,
  swapEntry,
  entryArea,
  entrySlot,
  frameCell,
  swapCell,
  tagOf,
  CellTag,
  cellValue,
  TaskContext,
  twoListPolicy,
  Verdict,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel } from './support/check-kernel.js';
import { MemoryDevice, type MemoryDeviceOptions } from './support/memory-device.js';
import { pattern } from './support/pattern.js';
import { seeded, VirtualTime, virtualHost } from './support/virtual-time.js';

const MIB = 2 ** 20;
const task = TaskContext.root('test');

interface World {
  readonly time: VirtualTime;
  readonly kernel: Kernel;
  readonly device: MemoryDevice;
  readonly cache: DeviceCache;
}

async function boot(memory: number | string, options: Partial<MemoryDeviceOptions> = {}, isSync = false): Promise<World> {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory, plugins: [virtualHost(time)] });
  const device = new MemoryDevice({ arena: kernel.memory.arena, sizeBytes: 32 * MIB, ...(isSync ? {} : { time }), ...options });
  return { time, kernel, device, cache: kernel.cacheDevice(kernel.attach(device)) };
}

describe('the verdict (M18)', () => {
  it('is what the table says, for every combination of flags', () => {
    // The rows of the table, in order; the first that applies decides.
    interface Page {
      flags: number;
      refs: number;
      isAnonymous: boolean;
      maySwapOut: boolean;
    }
    const has = (flag: number) => (page: Page) => (page.flags & flag) !== 0;
    const rows: [(page: Page) => boolean, Verdict][] = [
      [has(PG.LOCKED), Verdict.KEEP],
      [(page) => page.refs > 0, Verdict.KEEP],
      [has(PG.WRITEBACK), Verdict.IN_WRITEBACK],
      [(page) => has(PG.YOUNG)(page) && has(PG.REFERENCED)(page), Verdict.ACTIVATE],
      [has(PG.YOUNG), Verdict.KEEP],
      [(page) => page.isAnonymous && !has(PG.SWAPCACHE)(page) && !page.maySwapOut, Verdict.ACTIVATE],
      [(page) => page.isAnonymous && !has(PG.SWAPCACHE)(page), Verdict.ADD_TO_SWAP],
      [(page) => !page.isAnonymous && has(PG.DIRTY)(page), Verdict.FLUSH],
      [(page) => has(PG.DIRTY)(page) && !page.maySwapOut, Verdict.KEEP],
      [has(PG.DIRTY), Verdict.WRITE],
      [has(PG.PRIVATE), Verdict.RELEASE],
      [() => true, Verdict.FREE],
    ];
    const reached = new Set<Verdict>();
    for (let flags = 0; flags < 2 ** Object.keys(PG).length; flags++) {
      for (const refs of [0, 1, 7]) {
        for (const isAnonymous of [false, true]) {
          for (const maySwapOut of [false, true]) {
            const row = rows.find(([applies]) => applies({ flags, refs, isAnonymous, maySwapOut }));
            const got = judge(flags, refs, isAnonymous, maySwapOut);
            reached.add(got);
            if (got !== row?.[1]) expect.fail(`flags ${flags.toString(2)}, refs ${refs}: ${got}, want ${row?.[1]}`);
          }
        }
      }
    }
    expect([...reached].sort()).toEqual(Object.values(Verdict).sort());
  });
});

describe('cells', () => {
  it('tell frames, slots and shadows apart, and lose nothing', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 29 - 1), fc.nat(31), fc.integer({ min: 1, max: 2 ** 25 - 1 }), fc.boolean(), (n, area, slot, workingset) => {
        const entry = swapEntry(area, slot);
        expect([entryArea(entry), entrySlot(entry)]).toEqual([area, slot]);
        expect([tagOf(swapCell(entry)), cellValue(swapCell(entry))]).toEqual([CellTag.SWAP, entry]);
        expect([tagOf(frameCell(n)), cellValue(frameCell(n))]).toEqual([CellTag.FRAME, n]);
        const shadow = shadowCell(n, workingset);
        expect([tagOf(shadow), shadowAge(shadow), shadowWorkingset(shadow)]).toEqual([CellTag.SHADOW, n, workingset]);
        for (const cell of [swapCell(entry), frameCell(n), shadow]) expect(cell > 0 && cell <= 0xffff_ffff).toBe(true);
      }),
    );
  });
});

describe('scan balance', () => {
  it('never asks for more than there is, and asks for something unless there is nothing to have', () => {
    const count = fc.oneof(fc.constant(0), fc.nat(40), fc.nat(300_000));
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 12 }),
        count,
        count,
        fc.boolean(),
        count,
        count,
        (priority, nrAnon, nrFile, maySwap, nrFree, high) => {
          const { anon, file } = scanBalance({ priority, nrAnon, nrFile, maySwap, nrFree, high });
          expect(anon <= nrAnon && file <= nrFile && anon >= 0 && file >= 0).toBe(true);
          if (!maySwap) expect(anon).toBe(0);
          if (priority === 0) expect([anon, file]).toEqual([maySwap ? nrAnon : 0, nrFile]);
          if (nrFile > 0 || (maySwap && nrAnon > 0)) expect(anon + file).toBeGreaterThan(0);
        },
      ),
    );
  });
});

describe('the two-list policy', () => {
  function make(
    nrFrames: number,
    maySwap = true,
  ): { frames: FrameTable; policy: ReplacementPolicy; counters: ReturnType<typeof createCounters> } {
    const frames = new FrameTable(nrFrames);
    const counters = createCounters();
    return { frames, counters, policy: twoListPolicy({ frames, counters, maySwap: () => maySwap }) };
  }

  it('keeps every page on exactly one list, in an order that is its own, whatever is done to it', () => {
    const step = fc.record({
      kind: fc.constantFrom('add', 'remove', 'rotate', 'isolate', 'put'),
      pick: fc.nat(1000),
      where: fc.constantFrom(0, 1, 2),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const { frames, policy } = make(40);
        for (let pfn = 0; pfn < 40; pfn++) frames.frameClass[pfn] = pfn % 2 === 0 ? FrameClass.ANON : FrameClass.FILE;
        const on = new Set<number>();
        const isolated = new Set<number>();
        const into = new Uint32Array(8);
        const pickFrom = (set: Set<number>, pick: number): number => [...set][pick % set.size];
        for (const { kind, pick, where } of steps) {
          if (kind === 'add') {
            const pfn = pick % 40;
            if (on.has(pfn) || isolated.has(pfn)) continue;
            policy.add(pfn, where === 2 ? shadowCell(pick, false) : 0);
            on.add(pfn);
          } else if (kind === 'isolate') {
            const of = pick % 2 === 0 ? PageKind.ANON : PageKind.FILE;
            const n = policy.isolate(of, into, 1 + (pick % 8));
            for (let i = 0; i < n; i++) {
              expect(on.delete(into[i])).toBe(true);
              expect(frames.flags[into[i]] & PG.LRU).toBe(0);
              isolated.add(into[i]);
            }
          } else if (kind === 'put' && isolated.size > 0) {
            const pfn = pickFrom(isolated, pick);
            isolated.delete(pfn);
            policy.putBack(pfn, where as PutBack);
            on.add(pfn);
          } else if (on.size > 0) {
            const pfn = pickFrom(on, pick);
            if (kind === 'remove') {
              policy.remove(pfn);
              policy.remove(pfn); // one that is on no list stays on none
              on.delete(pfn);
            } else if (kind === 'rotate') policy.rotate(pfn);
          }
          const walked: number[] = [];
          for (const of of [PageKind.ANON, PageKind.FILE]) {
            const before = walked.length;
            for (let pfn = policy.older(of, -1); pfn >= 0; pfn = policy.older(of, pfn)) walked.push(pfn);
            expect(walked.length - before).toBe(policy.count(of));
            expect(policy.countInactive(of)).toBeLessThanOrEqual(policy.count(of));
          }
          expect(walked.sort((a, b) => a - b)).toEqual([...on].sort((a, b) => a - b));
        }
      }),
    );
  });

  it('takes a page that comes back in time to the active list, and one that comes late to the inactive', () => {
    for (const [nrEvictions, isActive] of [
      [1, true],
      [10, true],
      [11, false],
      [500, false],
    ] as const) {
      const { frames, policy, counters } = make(64, false);
      frames.frameClass.fill(FrameClass.FILE);
      for (let pfn = 0; pfn < 10; pfn++) policy.putBack(pfn, PutBack.ACTIVATE);
      const shadow = policy.evicted(20); // age counts the eviction itself
      for (let n = 1; n < nrEvictions; n++) policy.evicted(21);
      policy.add(20, shadow);
      expect((frames.flags[20] & PG.ACTIVE) !== 0).toBe(isActive);
      expect(counters.workingset_refault_file).toBe(1);
      expect(counters.workingset_activate_file).toBe(isActive ? 1 : 0);
    }
  });

  it('remembers in the shadow that a page was in the working set', () => {
    const { frames, policy } = make(8);
    policy.putBack(3, PutBack.ACTIVATE);
    expect(shadowWorkingset(policy.evicted(3))).toBe(true);
    expect(shadowWorkingset(policy.evicted(4))).toBe(false);
    policy.add(5, policy.evicted(3));
    expect(frames.flags[5] & PG.WORKINGSET).not.toBe(0);
  });
});

describe('refault distance', () => {
  it('gives a loop slightly larger than the inactive list hits, paid for by active pages', async () => {
    const { time, kernel, cache } = await boot('2MiB', {}, true);
    const page = new Uint8Array(8);
    const touch = async (index: number): Promise<void> => void (await cache.read(index * PAGE_SIZE, page));
    for (let i = 0; i < 4000; i++) {
      await touch(i % 200); // used again and again, while others come and go
      await touch(200 + i);
    }
    expect(kernel.meminfo().activeFile).toBeGreaterThan(100);
    const before = kernel.vmstat();
    const LOOP = 400; // more than the inactive pages; with the active ones, as many as memory holds
    for (let round = 0; round < 20; round++) for (let i = 4200; i < 4200 + LOOP; i++) await touch(i);
    const after = kernel.vmstat();
    const missed = after.pgmajfault - before.pgmajfault;
    expect(missed).toBeLessThan((20 * LOOP) / 2);
    expect(after.workingset_activate_file).toBeGreaterThan(before.workingset_activate_file);
    checkKernel(kernel);
    await time.run(kernel.shutdown());
  });
});

describe('kswapd (M1)', () => {
  it('wakes under load, brings free memory back above high when it stops, and sleeps', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.boolean(), async (seed, isSync) => {
        const random = seeded(seed);
        const { time, kernel, cache } = await boot('1MiB', { delayMs: () => random() * 20 }, isSync);
        const states: string[] = [];
        const { allocator } = kernel.memory;
        kernel.trace.on('kswapd', ({ state, nrFree }) => {
          states.push(state);
          if (state === 'nap') expect(nrFree).toBeGreaterThan(allocator.high);
          if (state === 'sleep') expect(nrFree).toBeGreaterThan(allocator.low);
        });
        const work: Promise<unknown>[] = [];
        for (let i = 0; i < 300; i++) {
          const at = Math.floor(random() * 3000) * PAGE_SIZE;
          work.push(Promise.resolve(random() < 0.5 ? cache.read(at, new Uint8Array(9000)) : cache.write(at, pattern(PAGE_SIZE, i))));
          if (random() < 0.1) await time.advance(random() * 30);
        }
        await time.run(Promise.all(work));
        await time.advance(45_000); // what is dirty is written after 30 s, and then no flusher runs
        expect(allocator.nrFree).toBeGreaterThan(allocator.low);
        expect(kernel.reclaim.kswapd.state).toBe('asleep');
        expect(states).toContain('wake');
        expect(states.at(-1)).toBe('sleep');
        expect(time.nrPendingTimers).toBe(0);
        await time.run(kernel.shutdown());
      }),
      { numRuns: 20 },
    );
  });

  it('gives up on a device that fails every write, at once or later, and hopes again when memory comes free', async () => {
    for (const isSync of [true, false]) {
      const { time, kernel, cache } = await boot('1MiB', { status: (op) => (op === BioOp.WRITE ? -Errno.EIO : 0) }, isSync);
      const { allocator } = kernel.memory;
      await time.run(cache.write(0, pattern(20 * PAGE_SIZE, 1)));
      const held: number[] = [];
      for (let pfn = allocator.allocPage(task, FrameClass.TRANSIENT); pfn >= 0; pfn = allocator.allocPage(task, FrameClass.TRANSIENT))
        held.push(pfn);
      await time.advance(60_000);
      expect(kernel.reclaim.kswapd.state).toBe('asleep');
      expect(kernel.vmstat().pageoutrun).toBeLessThan(200);
      for (const pfn of held) allocator.freePage(pfn);
      for (let i = 0; i < 400; i++) await time.run(cache.read((1000 + i) * PAGE_SIZE, new Uint8Array(1)));
      await time.advance(10_000);
      expect(allocator.nrFree).toBeGreaterThan(allocator.high);
      await time.run(kernel.shutdown(), 100_000);
    }
  });

  it('rests beside a device that is gone, though another has work in flight', async () => {
    const { time, kernel, cache } = await boot('1MiB', { status: (op) => (op === BioOp.WRITE ? -Errno.EIO : 0) }, true);
    const silent = new MemoryDevice({ arena: kernel.memory.arena, time, sizeBytes: MIB, name: 'silent' });
    const other = kernel.cacheDevice(kernel.attach(silent));
    await time.run(other.write(0, pattern(5 * PAGE_SIZE, 1)));
    silent.isSilent = true;
    other.pages.startWriteback(5);
    await time.run(cache.write(0, pattern(10 * PAGE_SIZE, 1)));
    const { allocator } = kernel.memory;
    const held: number[] = [];
    for (let pfn = allocator.allocPage(task, FrameClass.TRANSIENT); pfn >= 0; pfn = allocator.allocPage(task, FrameClass.TRANSIENT))
      held.push(pfn);
    await time.advance(10_000); // would never come back from an endless chain of reactions
    expect(kernel.vmstat().pageoutrun).toBeLessThan(200);
    for (const pfn of held) allocator.freePage(pfn);
    silent.resume();
    await time.run(kernel.shutdown(), 100_000);
  });

  it('stops in whatever state it is', async () => {
    const { time, kernel, device, cache } = await boot('1MiB');
    await time.run(cache.write(0, pattern(40 * PAGE_SIZE, 1)));
    device.isSilent = true;
    const { allocator } = kernel.memory;
    while (allocator.allocPage(task, FrameClass.TRANSIENT) >= 0);
    await time.advance(1000);
    expect(kernel.reclaim.kswapd.state).toBe('running');
    await time.run(kernel.reclaim.kswapd.stop());
    kernel.reclaim.wakeKswapd();
    expect(kernel.reclaim.kswapd.state).toBe('stopped');
    await time.run(kernel.shutdown({ timeoutMs: 100 }));
    expect(time.nrPendingTimers).toBe(0);
  });
});

describe('the clean pass (M6)', () => {
  it('frees clean pages without allocating, writing or waiting, and no more than was asked for and a batch', async () => {
    const { time, kernel, device, cache } = await boot('2MiB');
    await time.run(cache.read(0, new Uint8Array(200 * PAGE_SIZE)));
    await time.run(cache.write(250 * PAGE_SIZE, pattern(30 * PAGE_SIZE, 1)));
    const { nrWrites } = device;
    const { allocator } = kernel.memory;
    const saved = { allocPage: allocator.allocPage, allocBlock: allocator.allocBlock };
    const denied = (): never => {
      throw new Error('the clean pass allocated');
    };
    Object.assign(allocator, { allocPage: denied, allocBlock: denied });
    const free = allocator.nrFree;
    expect(kernel.reclaim.cleanPass(1)).toBe(33);
    expect(allocator.nrFree).toBeGreaterThanOrEqual(free + 33);
    while (kernel.reclaim.cleanPass(32) > 0);
    Object.assign(allocator, saved);
    expect(kernel.meminfo().cached).toBe(30);
    expect(kernel.meminfo().dirty).toBe(30);
    expect(device.nrWrites).toBe(nrWrites);
    expect(kernel.vmstat().cleanpass_freed).toBe(200);
    await time.run(kernel.shutdown());
  });
});

describe('out of memory (M1)', () => {
  it('comes only if nothing is reclaimable and nothing in flight, and then at once', async () => {
    const { time, kernel, cache } = await boot('1MiB');
    const { allocator } = kernel.memory;
    await time.run(cache.read(0, new Uint8Array(100 * PAGE_SIZE)));
    await time.run(cache.write(0, pattern(20 * PAGE_SIZE, 1)));
    const held: number[] = [];
    const fill = (async () => {
      for (let pfn = 0; pfn >= 0; ) {
        pfn = await allocator.allocPageSlow(task, FrameClass.TRANSIENT);
        if (pfn >= 0) held.push(pfn);
      }
    })();
    await time.run(fill);
    expect(kernel.meminfo().cached).toBe(0); // every page that could go has gone
    expect(kernel.vmstat().oom).toBe(1);
    expect(allocator.nrFree).toBe(allocator.watermarks.min);
    const now = time.nowMs();
    expect(await time.run(Promise.resolve(allocator.allocPageSlow(task, FrameClass.TRANSIENT)))).toBe(-Errno.ENOMEM);
    expect(time.nowMs()).toBe(now);
    for (const pfn of held) allocator.freePage(pfn);
    expect((await time.run(kernel.shutdown())).leakedFrames).toBe(0);
  });
});
