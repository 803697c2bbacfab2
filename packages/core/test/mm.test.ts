/** The page allocator and what it stands on: watermarks (M1), buddy blocks, floors (M3), accounts (M2, M5), waiters (M8). */
import {
  AbortSource,
  Buddy,
  computeWatermarks,
  FrameClass,
  FrameTable,
  Gfp,
  isKernelError,
  isPromise,
  KernelError,
  MAX_ORDER,
  Memory,
  NONE,
  type Reclaimer,
  type ReserveAccount,
  TaskContext,
  TracePoints,
  WaitQueue,
  WriteoutTicket,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle } from './support.js';

const task = TaskContext.root('test');

/** A reclaimer that frees nothing, and says what a test lets it say. */
function idleReclaimer(over: Partial<Reclaimer> = {}): Reclaimer {
  return {
    wakeKswapd: () => {},
    directReclaim: () => 0,
    cleanPass: () => 0,
    noteProgress: () => {},
    isWorkInFlight: false,
    progress: new WaitQueue({ kind: 'writeback', name: 'test' }),
    ...over,
  } as Reclaimer;
}

describe('watermarks (M1)', () => {
  it.each([
    ['1 MiB', 256, 32, 40, 48, 56],
    ['4 MiB', 1024, 64, 80, 96, 112],
    ['16 MiB', 4096, 128, 160, 192, 224],
    ['64 MiB', 16384, 256, 320, 384, 448],
    ['256 MiB', 65536, 512, 640, 768, 896],
    ['1 GiB', 262144, 1024, 1286, 1548, 1810],
    ['4 GiB', 1048576, 2048, 3096, 4144, 5192],
  ])('of %s', (_size, frames, min, low, high, promo) => {
    expect(computeWatermarks(frames)).toEqual({ min, low, high, promo });
  });

  it('rise with the accounts and the atomic callers, by subtraction and not by scale', () => {
    // The worked example of M4: E = 143, A = 16 at 8 MiB and E = 79 at 1 MiB.
    expect(computeWatermarks(2048, { reservedFrames: 143, atomicFrames: 16 })).toEqual({ min: 159, low: 198, high: 237, promo: 276 });
    expect(computeWatermarks(256, { reservedFrames: 79, atomicFrames: 16 })).toEqual({ min: 95, low: 118, high: 141, promo: 164 });
  });

  it('are ordered for every arena', () => {
    fc.assert(
      fc.property(fc.integer({ min: 16, max: 2 ** 24 }), fc.nat(5000), (frames, reservedFrames) => {
        const { min, low, high, promo } = computeWatermarks(frames, { reservedFrames });
        expect(min).toBeGreaterThanOrEqual(reservedFrames);
        expect(low > min && high > low && promo > high).toBe(true);
      }),
    );
  });

  it('refuse too little memory, and the minimum they name works', () => {
    for (const frames of [1, 16, 79]) {
      let error: unknown;
      try {
        new Memory(frames);
      } catch (thrown) {
        error = thrown;
      }
      expect(isKernelError(error) && error.code).toBe('ENOMEM');
      const minimum = (error as KernelError).details?.minimumBytes as number;
      expect((error as KernelError).message).toContain('minimum');
      expect(() => new Memory(minimum / 4096 - 1)).toThrow('minimum');
      const memory = new Memory(minimum / 4096);
      expect(memory.allocator.nrFree).toBeGreaterThan(memory.allocator.high);
    }
    expect(new Memory(16, new TracePoints(), { minFrames: 4 }).allocator.watermarks.min).toBe(4);
  });
});

describe('Buddy', () => {
  it('hands out blocks that do not overlap, and merges back to what it began with', () => {
    const step = fc.record({ order: fc.integer({ min: 0, max: MAX_ORDER }), pick: fc.nat(1000), give: fc.boolean() });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.array(step, { maxLength: 120 }), (nrFrames, steps) => {
        const buddy = new Buddy(new FrameTable(nrFrames));
        const initial = buddy.snapshot();
        const owner = new Int32Array(nrFrames).fill(-1);
        const out: { pfn: number; order: number }[] = [];
        const give = ({ pfn, order }: { pfn: number; order: number }): void => {
          owner.fill(-1, pfn, pfn + 2 ** order);
          if (order === 0) buddy.freeOne(pfn);
          else buddy.free(pfn, order);
        };
        for (const [n, { order, pick, give: gives }] of steps.entries()) {
          if (gives && out.length > 0) give(out.splice(pick % out.length, 1)[0]);
          else {
            const pfn = order === 0 ? buddy.allocOne() : buddy.alloc(order);
            if (pfn < 0) {
              expect(hasRun(owner, order)).toBe(false);
              continue;
            }
            expect(pfn % 2 ** order).toBe(0);
            expect(owner.subarray(pfn, pfn + 2 ** order).every((who) => who === -1)).toBe(true);
            owner.fill(n, pfn, pfn + 2 ** order);
            out.push({ pfn, order });
          }
          expect(buddy.nrFree).toBe(owner.filter((who) => who === -1).length);
        }
        for (const block of out) give(block);
        expect(buddy.nrFree).toBe(nrFrames);
        expect(buddy.snapshot()).toEqual(initial);
      }),
      { numRuns: 60 },
    );
  });

  it('gives a frame that was just freed again, and merges hot frames when a block is wanted', () => {
    const buddy = new Buddy(new FrameTable(64));
    const all = Array.from({ length: 64 }, () => buddy.allocOne());
    expect(buddy.allocOne()).toBe(-1);
    for (const pfn of all) buddy.freeOne(pfn);
    expect(buddy.allocOne()).toBe(all.at(-1));
    buddy.freeOne(all.at(-1) as number);
    expect(buddy.alloc(6)).toBe(0);
    expect(buddy.nrFree).toBe(0);
  });

  it('notices a block that is freed twice', () => {
    const buddy = new Buddy(new FrameTable(8));
    const pfn = buddy.alloc(2);
    buddy.free(pfn, 2);
    expect(() => buddy.free(pfn, 2)).toThrow('twice');
  });
});

/** True if an aligned block of the order is free. */
function hasRun(owner: Int32Array, order: number): boolean {
  for (let pfn = 0; pfn + 2 ** order <= owner.length; pfn += 2 ** order) {
    if (owner.subarray(pfn, pfn + 2 ** order).every((who) => who === -1)) return true;
  }
  return false;
}

describe('floors and accounts (M2, M3, M5)', () => {
  it('hold at every step of random callers', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('ordinary' as const), spare: fc.boolean() }),
      fc.record({ kind: fc.constant('ticket' as const), which: fc.nat(3) }),
      fc.record({ kind: fc.constant('free' as const), which: fc.nat(10_000) }),
      fc.record({ kind: fc.constant('block' as const), order: fc.integer({ min: 1, max: 4 }) }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 4 }),
        fc.array(step, { maxLength: 600, size: 'max' }),
        (limits, steps) => {
          const memory = new Memory(160);
          const { allocator, reserve } = memory;
          const accounts = limits.map((limit, i) => reserve.open(`account ${i}`, limit));
          const held: { pfn: number; order: number; account: ReserveAccount | null }[] = [];
          const check = (): void => {
            expect(allocator.nrFree).toBeGreaterThanOrEqual(reserve.emergencyFrames);
            expect(reserve.emergencyFrames).toBe(accounts.reduce((sum, a) => sum + a.limitFrames - a.usageFrames, 0));
            for (const account of accounts) {
              expect(account.usageFrames).toBeLessThanOrEqual(account.limitFrames);
              expect(account.highWaterFrames).toBeGreaterThanOrEqual(account.usageFrames);
              expect(account.usageFrames).toBe(held.filter((h) => h.account === account).length);
            }
            expect(reserve.usageFrames).toBe(accounts.reduce((sum, a) => sum + a.usageFrames, 0));
            let total = 0;
            for (let c = 0; c < 6; c++) total += allocator.classCount(c as FrameClass);
            expect(total).toBe(memory.nrFrames);
          };
          for (const each of steps) {
            if (each.kind === 'free') {
              if (held.length === 0) continue;
              const { pfn, order } = held.splice(each.which % held.length, 1)[0];
              if (order === 0) allocator.freePage(pfn);
              else allocator.freeBlock(pfn, order);
            } else if (each.kind === 'block') {
              const pfn = allocator.allocBlock(task, each.order, Gfp.STANDING);
              if (pfn >= 0) {
                held.push({ pfn, order: each.order, account: null });
                expect(allocator.nrFree).toBeGreaterThanOrEqual(allocator.watermarks.min);
              }
            } else {
              const account = each.kind === 'ticket' ? accounts[each.which % accounts.length] : null;
              const before = account?.usageFrames ?? 0;
              const mark = each.kind === 'ordinary' && each.spare ? allocator.low + 1 : allocator.watermarks.min; // free stays above low
              const above = allocator.nrFree > mark;
              const caller = account === null ? task : task.withTicket(new WriteoutTicket(account, 1));
              const pfn = allocator.allocPage(caller, Gfp.TRANSIENT | (each.kind === 'ordinary' && each.spare ? Gfp.SPARE : 0));
              const charged = (account?.usageFrames ?? 0) > before;
              expect(pfn >= 0).toBe(above || (account !== null && before < account.limitFrames));
              expect(charged).toBe(pfn >= 0 && !above); // ordinary memory first, whoever asks
              if (pfn >= 0) held.push({ pfn, order: 0, account: charged ? account : null });
            }
            check();
          }
          for (const { pfn, order } of held) order === 0 ? allocator.freePage(pfn) : allocator.freeBlock(pfn, order);
          for (const account of accounts) reserve.close(account);
          expect(reserve.limitFrames + reserve.usageFrames + reserve.emergencyFrames).toBe(0);
          expect(allocator.nrFree).toBe(memory.nrFrames);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('has the frame back before the account is credited, and serves who waits for room after both', async () => {
    const memory = new Memory(128);
    const { allocator, reserve } = memory;
    const account = reserve.open('node', 50, { need: 1, nrUnits: 51 });
    expect(allocator.watermarks.min).toBe(50); // so that the band is all that is left
    while (allocator.allocPage(task, Gfp.ANON) >= 0);
    const held = Array.from({ length: 50 }, () => allocator.allocPage(task.withTicket(account.units.tryBegin(task)), Gfp.TRANSIENT));
    expect([allocator.nrFree, account.usageFrames]).toEqual([0, 50]);
    const wait = allocator.allocPageSlow(task.withTicket(account.units.tryBegin(task)), Gfp.TRANSIENT);
    allocator.freePage(held[0]);
    expect([allocator.nrFree, account.usageFrames]).toEqual([0, 50]); // it is the waiter's, and charged, before it wakes
    expect(await wait).toBe(held[0]);
  });

  it('refuses to close an account in use, and one of no size', () => {
    const { allocator, reserve } = new Memory(128);
    expect(() => reserve.open('node', -1)).toThrow('no count of frames');
    const account = reserve.open('node', 2);
    while (allocator.allocPage(task, Gfp.ANON) >= 0);
    const pfn = allocator.allocPage(task.withTicket(new WriteoutTicket(account, account.limitFrames)), Gfp.TRANSIENT);
    expect(() => reserve.close(account)).toThrow('still holds 1');
    allocator.freePage(pfn);
    reserve.close(account);
    expect(() => reserve.close(account)).not.toThrow();
  });

  it('takes an account frame only if the clean pass freed nothing', () => {
    const memory = new Memory(128);
    const { allocator, reserve } = memory;
    const account = reserve.open('node', 4);
    const cache: number[] = [];
    for (let pfn = allocator.allocPage(task, Gfp.FILE); pfn >= 0; pfn = allocator.allocPage(task, Gfp.FILE)) cache.push(pfn);
    let passes = 0;
    allocator.reclaimer = idleReclaimer({
      cleanPass: () => {
        passes++;
        const pfn = cache.pop();
        if (pfn === undefined) return 0;
        allocator.freePage(pfn);
        return 1;
      },
    });
    const caller = task.withTicket(new WriteoutTicket(account, account.limitFrames));
    const pages = cache.length;
    for (let i = 0; i < pages; i++) expect(allocator.allocPage(caller, Gfp.TRANSIENT)).toBeGreaterThanOrEqual(0);
    expect(account.highWaterFrames).toBe(0);
    expect(passes).toBe(pages);
    for (let i = 0; i < 4; i++) expect(allocator.allocPage(caller, Gfp.TRANSIENT)).toBeGreaterThanOrEqual(0);
    expect(account.highWaterFrames).toBe(4);
    expect(allocator.allocPage(caller, Gfp.TRANSIENT)).toBe(NONE);
  });
});

describe('waiters (M8, M1)', () => {
  /** An allocator with nothing left, whose reclaim frees nothing while a writeout is in flight. */
  function drained(): { memory: Memory; held: number[]; state: { isWorkInFlight: boolean } } {
    const memory = new Memory(128);
    const held: number[] = [];
    for (let pfn = memory.allocator.allocPage(task, Gfp.ANON); pfn >= 0; pfn = memory.allocator.allocPage(task, Gfp.ANON)) held.push(pfn);
    const state = { isWorkInFlight: true };
    memory.allocator.reclaimer = Object.defineProperty(idleReclaimer(), 'isWorkInFlight', { get: () => state.isWorkInFlight });
    return { memory, held, state };
  }

  it('are served first come, first served, each with the frame that was freed, and nobody steals it', async () => {
    const { memory, held } = drained();
    const { allocator } = memory;
    const order: number[] = [];
    const waits = [0, 1, 2, 3].map(async (n) => {
      const pfn = await allocator.allocPageSlow(task, n % 2 === 0 ? Gfp.ANON : Gfp.FILE);
      order.push(n);
      return pfn;
    });
    await settle();
    expect(allocator.nrWaiters).toBe(4);
    for (let n = 0; n < 4; n++) {
      const freed = held.pop() as number;
      allocator.freePage(freed);
      expect(allocator.allocPage(task, Gfp.ANON)).toBe(NONE); // it is the waiter's already
      expect(await waits[n]).toBe(freed);
      expect(memory.frames.frameClass[freed]).toBe(n % 2 === 0 ? FrameClass.ANON : FrameClass.FILE);
    }
    expect(order).toEqual([0, 1, 2, 3]);
  });

  it('pass a frame on when they give up, and end with the errno of their signal', async () => {
    const { memory, held } = drained();
    const { allocator } = memory;
    const abort = new AbortSource();
    const first = allocator.allocPageSlow(task.withSignal(abort.signal), Gfp.ANON);
    const second = allocator.allocPageSlow(task, Gfp.ANON);
    await settle();
    abort.abort(new KernelError('EIO', 'over'));
    expect(await first).toBe(-5);
    const freed = held.pop() as number;
    allocator.freePage(freed);
    expect(await second).toBe(freed);
  });

  it('wait as long as a writeout is in flight, and get ENOMEM when none is and nothing can be freed', async () => {
    const { memory, state } = drained();
    const { allocator } = memory;
    let result: number | null = null;
    const wait = allocator.allocPageSlow(task, Gfp.ANON);
    expect(isPromise(wait)).toBe(true);
    void (wait as Promise<number>).then((pfn) => {
      result = pfn;
    });
    for (let n = 0; n < 50; n++) {
      allocator.retryWaiters();
      await settle();
    }
    expect(result).toBe(null);
    state.isWorkInFlight = false;
    allocator.retryWaiters();
    await settle();
    expect(result).toBe(NONE);
    expect(memory.counters.oom).toBe(1);
  });

  it('get what an account leaves when it is closed', async () => {
    const memory = new Memory(160);
    const { allocator, reserve } = memory;
    const account = reserve.open('node', 60);
    while (allocator.allocPage(task, Gfp.ANON) >= 0);
    allocator.reclaimer = idleReclaimer({ isWorkInFlight: true });
    const wait = allocator.allocPageSlow(task, Gfp.ANON);
    await settle();
    expect(allocator.nrWaiters).toBe(1);
    reserve.close(account);
    await settle();
    expect(allocator.nrWaiters).toBe(0);
    expect(await wait).toBeGreaterThanOrEqual(0);
  });

  it('of standing memory wait for writeout in flight too', async () => {
    const { memory, held, state } = drained();
    const { allocator } = memory;
    const one = memory.allocStanding(task, 'one', 1);
    const four = memory.allocStanding(task, 'four', 4);
    let ended = 0;
    for (const each of [one, four])
      void each.then(
        () => ended++,
        () => ended++,
      );
    for (let n = 0; n < 100; n++) await settle();
    expect(ended).toBe(0);
    for (const pfn of held.splice(0, 60)) allocator.freePage(pfn);
    state.isWorkInFlight = false;
    allocator.retryWaiters();
    allocator.reclaimer?.progress.wakeAll();
    expect((await one).nrFrames).toBe(1);
    expect((await four).nrFrames).toBe(4);
  });
});
