/** Units and their tickets: bounded and first come first served (M8), checked by use (M5, M7), exchanged, and over when they hold nothing. */
import { AbortSource, Errno, Gfp, Memory, PG, type ReserveAccount, TaskContext, type Violation, type WriteoutTicket } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle } from './support.js';

const task = TaskContext.root('writer');
const NODE = { kind: 'model', name: 'disk' };

/** A memory with an account of `nrUnits` units of `need` frames, and what it told of. */
function accountOf(need: number, nrUnits: number): { memory: Memory; account: ReserveAccount; told: Violation[] } {
  const memory = new Memory(512);
  const told: Violation[] = [];
  memory.onViolation = (violation) => told.push(violation);
  const account = memory.reserve.open('disk', need * nrUnits, { need, nrUnits, node: NODE });
  return { memory, account, told };
}

/** Takes what anybody may have. */
function drain({ allocator }: Memory): number[] {
  const got: number[] = [];
  for (let pfn = allocator.allocPage(task, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(task, Gfp.ANON)) got.push(pfn);
  return got;
}

function begun({ units }: ReserveAccount): WriteoutTicket {
  const ticket = units.tryBegin(task);
  if (ticket === null) throw new Error('no unit is free');
  return ticket;
}

describe('units (M8)', () => {
  it('are as many as were declared; the next waits, in order, and nobody overtakes', async () => {
    const { account } = accountOf(1, 2);
    const { units } = account;
    const [a, b] = [begun(account), begun(account)];
    expect([units.tryBegin(task), units.nrFree, units.nrOut]).toEqual([null, 0, 2]);
    const order: string[] = [];
    const wait = async (name: string, by = task): Promise<WriteoutTicket | number> => {
      const ticket = await units.begin(by);
      order.push(name);
      return ticket;
    };
    const giveUp = new AbortSource();
    const waits = [wait('first'), wait('aborted', task.withSignal(giveUp.signal)), wait('second')];
    expect([units.nrWaiters, units.nrWaits]).toEqual([3, 3]);
    giveUp.abort();
    expect(await waits[1]).toBe(-Errno.EINTR);
    a.end();
    expect(units.tryBegin(task)).toBe(null); // it is the first waiter's already
    expect(await waits[0]).toMatchObject({ isOut: true });
    b.end();
    expect(await waits[2]).toMatchObject({ isOut: true });
    expect(order).toEqual(['aborted', 'first', 'second']);
    expect([units.nrOut, account.tree.counters.reserve_waits]).toEqual([2, 3]);
  });

  it('name account and node to whoever reports a stall', async () => {
    const { account, memory } = accountOf(1, 1);
    const seen: unknown[] = [];
    const waits = { enter: (_task: unknown, target: { kind: string; name: string; heldBy?(): Iterable<unknown> }) => seen.push(target) };
    const watched = TaskContext.root('watched', null, waits as never);
    const ticket = begun(account);
    void account.units.begin(watched);
    drain(memory);
    memory.allocator.allocPage(watched.withTicket(ticket), Gfp.TRANSIENT);
    void memory.allocator.allocPageSlow(watched.withTicket(ticket), Gfp.TRANSIENT);
    await settle();
    const named = (seen as { kind: string; name: string; heldBy(): Iterable<unknown> }[]).map((target) => ({
      what: `${target.kind}: ${target.name}`,
      heldBy: [...target.heldBy()],
    }));
    expect(named).toEqual([
      { what: 'unit: disk', heldBy: [NODE] },
      { what: 'account: disk', heldBy: [NODE] },
    ]);
  });

  it('are never more than the bound, whoever begins and ends, and use the same tickets again', async () => {
    const step = fc.record({ kind: fc.constantFrom('try', 'begin', 'end', 'abort'), which: fc.nat(100) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 80 }), async (nrUnits, steps) => {
        const { account } = accountOf(1, nrUnits);
        const { units } = account;
        const out: WriteoutTicket[] = [];
        const waiting: AbortSource[] = [];
        let nrBegun = 0;
        for (const { kind, which } of steps) {
          if (kind === 'try') {
            const ticket = units.tryBegin(task);
            expect(ticket === null).toBe(out.length === nrUnits);
            if (ticket !== null) out.push(ticket);
          } else if (kind === 'begin') {
            const abort = new AbortSource();
            waiting.push(abort);
            nrBegun++;
            void Promise.resolve(units.begin(task.withSignal(abort.signal))).then((ticket) => {
              nrBegun--;
              waiting.splice(waiting.indexOf(abort), 1);
              if (typeof ticket !== 'number') out.push(ticket);
            });
          } else if (kind === 'end' && out.length > 0) out.splice(which % out.length, 1)[0].end();
          else if (kind === 'abort' && waiting.length > 0) waiting[which % waiting.length].abort();
          await settle();
          expect(new Set(out).size).toBe(out.length);
          expect(units.nrOut).toBe(out.length);
          expect(out.length).toBeLessThanOrEqual(nrUnits);
          expect(units.nrWaiters).toBe(nrBegun);
          if (nrBegun > 0) expect(out.length).toBe(nrUnits); // nobody waits beside a free unit
        }
        expect(units.tickets).toHaveLength(nrUnits);
      }),
      { numRuns: 60 },
    );
  });
});

describe('check by use (M5)', () => {
  it('counts every frame of a unit, and tells node and site of one too many although memory is ample', () => {
    const { memory, account, told } = accountOf(2, 3);
    const ticket = begun(account);
    const by = task.withTicket(ticket);
    const sites: string[] = [];
    memory.onViolation = (violation) => {
      told.push(violation);
      sites.push(violation.site);
    };
    const pfns = [0, 1].map(() => memory.allocator.allocPage(by, Gfp.TRANSIENT));
    expect([ticket.held, account.heldFrames, told.length]).toEqual([2, 2, 0]);
    const allocatesTooMuch = (): number => memory.allocator.allocPage(by, Gfp.TRANSIENT);
    pfns.push(allocatesTooMuch());
    expect(told).toMatchObject([{ kind: 'overspent', node: 'disk', message: expect.stringContaining('holds 3 frames; 2 were declared') }]);
    expect(sites[0]).toContain('allocatesTooMuch');
    expect([memory.counters.reserve_overspent, account.nrOverspends, account.usageFrames]).toEqual([1, 1, 0]);
    for (const pfn of pfns) memory.allocator.freePage(pfn);
    expect([ticket.held, account.heldFrames]).toEqual([0, 0]);
    ticket.end();
    expect(told).toHaveLength(1);
  });

  it('takes nothing when the handler throws', () => {
    const { memory, account } = accountOf(1, 1);
    const by = task.withTicket(begun(account));
    memory.onViolation = ({ message }) => {
      throw new Error(message);
    };
    memory.allocator.allocPage(by, Gfp.TRANSIENT);
    const { nrFree } = memory.allocator;
    expect(() => memory.allocator.allocPage(by, Gfp.TRANSIENT)).toThrow('1 were declared');
    expect([memory.allocator.nrFree, account.heldFrames]).toEqual([nrFree, 1]);
  });

  it('tells of a unit that ends while it holds frames; they stay charged, and its place taken, until they are freed', () => {
    const { memory, account, told } = accountOf(1, 1);
    drain(memory);
    const ticket = begun(account);
    const pfn = memory.allocator.allocPage(task.withTicket(ticket), Gfp.TRANSIENT);
    ticket.end();
    expect(told).toMatchObject([{ kind: 'leaked', node: 'disk' }]);
    expect([account.usageFrames, account.units.nrOut, account.units.tryBegin(task)]).toEqual([1, 1, null]);
    memory.allocator.freePage(pfn);
    expect([account.usageFrames, account.units.nrOut]).toEqual([0, 0]);
    expect(begun(account)).toBe(ticket);
    expect(() => ticket.end()).not.toThrow();
    expect(() => ticket.end()).toThrow('twice');
  });

  it('counts what writeout allocates without a ticket, whether it gets it or not (M7); not what has another way', () => {
    const { memory, told } = accountOf(1, 1);
    const reclaimer = task.asReclaimer();
    expect(memory.allocator.allocPage(reclaimer, Gfp.TRANSIENT)).toBeGreaterThanOrEqual(0);
    drain(memory);
    expect(memory.allocator.allocPage(reclaimer, Gfp.TRANSIENT)).toBe(-Errno.ENOMEM);
    memory.allocator.allocPage(reclaimer, Gfp.TRANSIENT | Gfp.NO_RESERVE);
    memory.allocator.allocPage(task, Gfp.TRANSIENT);
    expect(told.map(({ kind, node }) => `${kind} ${node}`)).toEqual(['unfunded writer', 'unfunded writer']);
    expect(memory.counters.reserve_unfunded).toBe(2);
  });

  it('never gives a reserve to a request that forbids it', () => {
    const { memory, account } = accountOf(2, 1);
    drain(memory);
    const by = task.withTicket(begun(account));
    expect(memory.allocator.allocPage(by, Gfp.TRANSIENT | Gfp.NO_RESERVE)).toBe(-Errno.ENOMEM);
    expect(memory.allocator.allocPageSlow(by, Gfp.TRANSIENT | Gfp.NO_RESERVE)).toBe(-Errno.ENOMEM);
    expect(account.usageFrames).toBe(0);
  });
});

describe('exchange (M5)', () => {
  it('of an ordinary frame only counts it no more', () => {
    const { memory, account } = accountOf(1, 1);
    const ticket = begun(account);
    const pfn = memory.allocator.allocPage(task.withTicket(ticket), Gfp.FILE);
    expect(memory.frames.flags[pfn] & (PG.COUNTED | PG.CHARGED | PG.RESERVE)).toBe(PG.COUNTED);
    expect(memory.allocator.exchange(pfn)).toBe(true);
    expect([ticket.held, memory.frames.flags[pfn]]).toEqual([0, 0]);
    ticket.end();
    expect(memory.allocator.exchange(pfn)).toBe(true);
    memory.allocator.freePage(pfn);
    expect(account.units.nrOut).toBe(0);
  });

  it('of an account’s frame needs another that is free above the ordinary floor, which takes its place in the band', () => {
    const { memory, account } = accountOf(40, 2);
    const { allocator, frames, reserve } = memory;
    const held = drain(memory);
    const ticket = begun(account);
    const pfn = allocator.allocPage(task.withTicket(ticket), Gfp.FILE);
    expect(frames.flags[pfn] & (PG.COUNTED | PG.CHARGED | PG.RESERVE)).toBe(PG.COUNTED | PG.CHARGED | PG.RESERVE);
    allocator.freePage(held.pop() as number);
    expect(allocator.nrFree).toBe(allocator.watermarks.min); // not above it
    expect(allocator.exchange(pfn)).toBe(false);
    expect([account.usageFrames, ticket.held]).toEqual([1, 1]);
    allocator.freePage(held.pop() as number);
    expect(allocator.exchange(pfn)).toBe(true);
    expect([account.usageFrames, ticket.held, frames.flags[pfn]]).toEqual([0, 0, 0]);
    expect(allocator.nrFree).toBeGreaterThanOrEqual(reserve.emergencyFrames);
    allocator.freePage(pfn);
    expect(account.usageFrames).toBe(0);
  });

  it('keeps free ≥ E and every count right, whoever allocates, exchanges, frees and waits', async () => {
    const step = fc.record({
      kind: fc.constantFrom('take', 'take', 'slow', 'exchange', 'free', 'free', 'ordinary', 'ordinarySlow'),
      which: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 150 }), async (steps) => {
        const memory = new Memory(160);
        const { allocator, reserve } = memory;
        allocator.reclaimer = {
          wakeKswapd: () => {},
          directReclaim: () => 0,
          cleanPass: () => 0,
          isWorkInFlight: true,
          inFlight: () => [],
        } as never;
        const accounts = [20, 30].map((limit, level) => reserve.open(`level ${level}`, limit, { need: limit, nrUnits: 1, level }));
        const tickets = accounts.map(begun);
        const underTicket: number[] = [];
        const ordinary: number[] = drain(memory);
        let nrWaiting = 0;
        const arrive = (pfns: number[], got: number | Promise<number>): void => {
          if (typeof got === 'number') {
            if (got >= 0) pfns.push(got);
            return;
          }
          nrWaiting++;
          void got.then((pfn) => {
            nrWaiting--;
            expect(pfn).toBeGreaterThanOrEqual(0);
            pfns.push(pfn);
          });
        };
        const check = (): void => {
          expect(allocator.nrFree).toBeGreaterThanOrEqual(reserve.emergencyFrames);
          for (const [i, account] of accounts.entries()) {
            expect(account.usageFrames).toBeLessThanOrEqual(account.limitFrames);
            expect(account.heldFrames).toBe(tickets[i].held);
            expect(account.usageFrames).toBeLessThanOrEqual(account.heldFrames);
          }
        };
        for (const { kind, which } of steps) {
          const by = task.withTicket(tickets[which % 2]);
          if (kind === 'take') arrive(underTicket, allocator.allocPage(by, Gfp.FILE));
          else if (kind === 'slow') arrive(underTicket, allocator.allocPageSlow(by, Gfp.FILE));
          else if (kind === 'ordinary') arrive(ordinary, allocator.allocPage(task, Gfp.FILE));
          else if (kind === 'ordinarySlow') arrive(ordinary, allocator.allocPageSlow(task, Gfp.FILE));
          else {
            const from = which % 3 > 0 && underTicket.length > 0 ? underTicket : ordinary;
            if (from.length === 0) continue;
            const at = which % from.length;
            if (kind === 'free') allocator.freePage(from.splice(at, 1)[0]);
            else if (allocator.exchange(from[at])) ordinary.push(...from.splice(at, 1));
          }
          check();
          await settle();
          check();
        }
        while (underTicket.length + ordinary.length + nrWaiting > 0) {
          const pfn = underTicket.pop() ?? ordinary.pop();
          if (pfn === undefined) throw new Error(`${nrWaiting} tasks wait for ever`);
          allocator.freePage(pfn);
          check();
          await settle();
        }
        expect([reserve.usageFrames, allocator.nrFree]).toEqual([0, memory.nrFrames]);
        for (const ticket of tickets) ticket.end();
        for (const account of accounts) expect(account.units.nrOut).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
