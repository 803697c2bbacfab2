/** Writeout allocations (M6): free memory, the clean pass, the ticket's account, then waiting on that account, first come first served. */
import { AbortSource, Errno, Gfp, Memory, TaskContext, WriteoutTicket } from '@tidemark/core';
import { describe, expect, it } from 'vitest';

const root = TaskContext.root('writer');

/** A kernel's memory of which nothing is free above the ordinary floor. */
function drained(limitFrames: number) {
  const memory = new Memory(256);
  const { allocator, reserve } = memory;
  const account = reserve.open('disk', limitFrames);
  const held: number[] = [];
  for (let pfn = allocator.allocPage(root, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(root, Gfp.ANON)) held.push(pfn);
  const task = root.withTicket(new WriteoutTicket(account, limitFrames));
  return { allocator, account, task, held };
}

describe('a ticket', () => {
  it('is spent only when free memory is not to be had, and never beyond its account', () => {
    const { allocator, account, task, held } = drained(2);
    const { min } = allocator.watermarks;
    expect(allocator.nrFree).toBe(min);
    const own = [allocator.allocPage(task, Gfp.TRANSIENT), allocator.allocPage(task, Gfp.TRANSIENT)];
    expect(own.every((pfn) => pfn >= 0)).toBe(true);
    expect([account.usageFrames, account.highWaterFrames]).toEqual([2, 2]);
    expect(allocator.allocPage(task, Gfp.TRANSIENT)).toBe(-Errno.ENOMEM);
    allocator.freePage(own[0]);
    expect(account.usageFrames).toBe(1);
    for (let i = 0; i < 3; i++) allocator.freePage(held.pop() as number);
    const free = allocator.allocPage(task, Gfp.TRANSIENT);
    expect(free).toBeGreaterThanOrEqual(0);
    expect(account.usageFrames).toBe(1);
  });

  it('whose account is full waits for room in it, in order; one that gives up stands in nobody’s way', async () => {
    const { allocator, account, task } = drained(1);
    const first = allocator.allocPage(task, Gfp.TRANSIENT);
    const giveUp = new AbortSource();
    const order: string[] = [];
    const wait = async (name: string, waiting: TaskContext): Promise<number> => {
      const pfn = await allocator.allocPageSlow(waiting, Gfp.TRANSIENT);
      order.push(name);
      return pfn;
    };
    const waiters = [wait('a', task), wait('b', task.withSignal(giveUp.signal)), wait('c', task)];
    expect(account.room.nrWaiters).toBe(3);
    giveUp.abort();
    expect(await waiters[1]).toBe(-Errno.EINTR);
    allocator.freePage(first);
    const a = await waiters[0];
    expect(account.usageFrames).toBe(1);
    allocator.freePage(a);
    const c = await waiters[2];
    expect(order).toEqual(['b', 'a', 'c']);
    allocator.freePage(c);
    expect(account.usageFrames).toBe(0);
  });

  it('that is served from free memory passes the room on', async () => {
    const { allocator, account, task, held } = drained(1);
    const first = allocator.allocPage(task, Gfp.TRANSIENT);
    const waiters = [allocator.allocPageSlow(task, Gfp.TRANSIENT), allocator.allocPageSlow(task, Gfp.TRANSIENT)];
    allocator.freePage(held.pop() as number);
    allocator.freePage(first);
    const got = await Promise.all(waiters);
    expect(got.every((pfn) => pfn >= 0)).toBe(true);
    expect(account.usageFrames).toBeLessThanOrEqual(1);
  });
});
