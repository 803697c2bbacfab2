/** Who gets the next frame (M8): the band first, then the oldest of the lowest level, ordinary waiters last, each down to its own floor. */
import { AbortSource, Errno, Gfp, Memory, PG, type ReserveAccount, TaskContext } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle } from './support.js';

const task = TaskContext.root('writer');

/** A memory whose accounts, of levels 0, 1, …, are wholly spent, and of which nothing else is free. */
function spent(...limits: number[]) {
  const memory = new Memory(512);
  const { allocator, reserve } = memory;
  allocator.reclaimer = {
    wakeKswapd: () => {},
    directReclaim: () => 0,
    cleanPass: () => 0,
    isWorkInFlight: true,
    inFlight: () => [],
  } as never;
  const accounts = limits.map((limit, level) => reserve.open(`level ${level}`, limit, { need: limit + 9, nrUnits: 1, level }));
  const callers = accounts.map((account) => task.withTicket(account.units.tryBegin(task)));
  const ordinary: number[] = [];
  for (let pfn = allocator.allocPage(task, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(task, Gfp.ANON)) ordinary.push(pfn);
  const held = accounts.map((account, i) => {
    const own: number[] = [];
    while (account.usageFrames < account.limitFrames) own.push(allocator.allocPage(callers[i], Gfp.TRANSIENT));
    return own;
  });
  const order: string[] = [];
  const wait = (name: string, by: TaskContext): Promise<number> => {
    const got = allocator.allocPageSlow(by, Gfp.TRANSIENT);
    return Promise.resolve(got).then((pfn) => {
      order.push(name);
      return pfn;
    });
  };
  return { memory, allocator, accounts, callers, ordinary, held, order, wait };
}

describe('hand-off (M8)', () => {
  it('gives an account’s frame to who waits in that account, never to an ordinary waiter or another account', async () => {
    const { memory, allocator, accounts, callers, held, order, wait } = spent(40, 20);
    void wait('ordinary', task);
    void wait('level 0', callers[0]);
    const second = wait('level 1', callers[1]);
    await settle();
    const freed = held[1].pop() as number;
    allocator.freePage(freed);
    expect([accounts[1].usageFrames, allocator.nrFree]).toEqual([20, memory.reserve.emergencyFrames]);
    expect(await second).toBe(freed);
    expect(order).toEqual(['level 1']);
  });

  it('leaves an account’s frame in the band when nobody waits in the account', async () => {
    const { memory, allocator, held, order, wait } = spent(40, 20);
    void wait('ordinary', task);
    await settle();
    for (const pfn of held[1].splice(0)) {
      allocator.freePage(pfn);
      await settle();
      expect(allocator.nrFree).toBeGreaterThanOrEqual(memory.reserve.emergencyFrames);
    }
    expect(order).toEqual([]);
    expect(allocator.nrFree).toBe(20);
  });

  it('gives what is free beyond the band to the oldest of the lowest level, then upward, ordinary waiters last', async () => {
    const { allocator, accounts, callers, ordinary, order, wait } = spent(40, 20, 10);
    void wait('ordinary', task);
    void wait('level 2', callers[2]);
    void wait('level 1 old', callers[1]);
    void wait('level 1 young', callers[1]);
    void wait('level 0', callers[0]);
    await settle();
    const usage = accounts.map(({ usageFrames }) => usageFrames);
    for (let i = 0; i < 5 + 70; i++) {
      allocator.freePage(ordinary.pop() as number); // 70: the band fills to min, before anything is beyond
      await settle();
    }
    expect(order).toEqual(['level 0', 'level 1 old', 'level 1 young', 'level 2', 'ordinary']);
    expect(accounts.map(({ usageFrames }) => usageFrames)).toEqual(usage); // free memory did, not the accounts
  });

  it('on one level serves whoever came first, in whichever account', async () => {
    const { allocator, accounts, callers, ordinary, order, wait } = spent(30, 30);
    accounts[1].level = 0;
    const names = ['b1', 'a1', 'b2', 'a2'];
    for (const name of names) void wait(name, callers[name.startsWith('a') ? 0 : 1]);
    for (let i = 0; i < 4 + 60; i++) {
      allocator.freePage(ordinary.pop() as number);
      await settle();
    }
    expect(order).toEqual(names);
  });

  it('serves those who grow after all other ordinary waiters, and leaves low free', async () => {
    const memory = new Memory(512);
    const { allocator } = memory;
    allocator.reclaimer = { wakeKswapd: () => {}, directReclaim: () => 0, isWorkInFlight: true, inFlight: () => [] } as never;
    const held: number[] = [];
    for (let pfn = allocator.allocPage(task, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(task, Gfp.ANON)) held.push(pfn);
    const order: string[] = [];
    void Promise.resolve(allocator.allocPageSlow(task, Gfp.ANON | Gfp.GROWS)).then(() => order.push('grows'));
    for (const name of ['first', 'second']) void Promise.resolve(allocator.allocPageSlow(task, Gfp.FILE)).then(() => order.push(name));
    const { min, low } = allocator.watermarks;
    await settle();
    const next = (): Promise<void> => {
      allocator.freePage(held.pop() as number);
      return settle();
    };
    await next();
    expect([order, allocator.nrFree]).toEqual([['first'], min]);
    await next();
    expect([order, allocator.nrFree]).toEqual([['first', 'second'], min]);
    while (order.length < 3) {
      expect(allocator.nrFree).toBeLessThanOrEqual(low);
      await next();
    }
    expect([order.at(-1), allocator.nrFree]).toEqual(['grows', low]);
  });

  it('tries nobody else when the first would go below its floor, and charges and counts before it wakes', async () => {
    const { memory, allocator, accounts, callers, ordinary, held, wait, order } = spent(40);
    void wait('ordinary', task);
    const waiting = wait('level 0', callers[0]);
    const ticketHeld = accounts[0].heldFrames;
    for (let i = 0; i < 40; i++) allocator.freePage(ordinary.pop() as number);
    expect(allocator.nrFree).toBe(allocator.watermarks.min); // none beyond: the frame stays free
    expect(accounts[0].heldFrames).toBe(ticketHeld);
    allocator.freePage(held[0].pop() as number);
    expect([accounts[0].heldFrames, accounts[0].usageFrames]).toEqual([ticketHeld, 39]); // beyond: one frame is free, and counted at once
    const pfn = await waiting;
    expect(memory.frames.flags[pfn] & (PG.COUNTED | PG.CHARGED)).toBe(PG.COUNTED);
    expect(order).toEqual(['level 0']);
  });

  it('passes the frame of a waiter on that was aborted after it was handed one', async () => {
    const { allocator, accounts, callers, held, wait } = spent(40);
    const abort = new AbortSource();
    const first = wait('aborted', callers[0].withSignal(abort.signal));
    const second = wait('next', callers[0]);
    const freed = held[0].pop() as number;
    allocator.freePage(freed);
    abort.abort();
    expect(await first).toBe(-Errno.EINTR);
    expect(await second).toBe(freed);
    expect(accounts[0].usageFrames).toBe(40);
  });

  it('bounds every wait: k in front of one in an account are k frames of it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 20 }),
        fc.infiniteStream(fc.nat()),
        async (arrivals, random) => {
          const { allocator, accounts, callers, held, order, wait } = spent(20, 20, 20);
          const queues: string[][] = [[], [], []];
          for (const [n, which] of arrivals.entries()) {
            queues[which].push(`${which}-${n}`);
            void wait(`${which}-${n}`, callers[which]).then((pfn) => held[which].push(pfn));
          }
          for (let left = arrivals.length; left > 0; left--) {
            const waiting = [0, 1, 2].filter((which) => queues[which].length > 0);
            const which = waiting[random.next().value % waiting.length];
            const own = held[which];
            allocator.freePage(own.splice(random.next().value % own.length, 1)[0]);
            await settle();
            expect(order.at(-1)).toBe(queues[which].shift());
            expect(accounts.map((account: ReserveAccount) => account.usageFrames)).toEqual([20, 20, 20]);
          }
          expect(order).toHaveLength(arrivals.length);
        },
      ),
      { numRuns: 40 },
    );
  });
});
