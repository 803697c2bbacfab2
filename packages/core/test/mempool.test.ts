import {
  AbortSource,
  BioPool,
  bioPoolFrames,
  BioOp,
  isPromise,
  KernelError,
  MEMPOOL_RECHECK_MS,
  Mempool,
  TaskContext,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualClock, settle } from './support.js';

const task = TaskContext.root('test');
const TICKET = { account: {} };

describe('Mempool (M19)', () => {
  it('asks the allocator, then the pool, then the allocator with full rights, and never with a ticket', async () => {
    const asked: string[] = [];
    let hasMemory = true;
    const pool = new Mempool<{ from: string }>({
      name: 'test',
      nrElements: 1,
      create: () => ({ from: 'pool' }),
      tryAllocate: (by) => {
        asked.push(`silent ${by.ticket === null}`);
        return hasMemory ? { from: 'allocator' } : null;
      },
      allocate: async (by) => {
        asked.push(`rights ${by.ticket === null}`);
        return hasMemory ? { from: 'reclaim' } : null;
      },
    });
    const entitled = task.withTicket(TICKET);
    const a = pool.get(entitled);
    expect(a).toEqual({ from: 'allocator' });
    hasMemory = false;
    const b = pool.get(entitled);
    expect(b).toEqual({ from: 'pool' });
    expect(pool.tryGet(entitled)).toBe(null);
    const c = pool.get(entitled);
    expect(isPromise(c)).toBe(true);
    await settle();
    expect(pool.nrWaiters).toBe(1);
    pool.put(b as { from: string });
    expect(await c).toBe(b);
    hasMemory = true;
    expect(asked).toEqual(['silent true', 'silent true', 'silent true', 'silent true', 'rights true']);
    expect(pool.counts).toEqual({ get: 3, allocated: 1, pooled: 1, reclaimed: 0, waited: 1 });
    pool.put(a as { from: string });
    pool.put(c as unknown as { from: string });
    expect(pool.nrOut).toBe(0);
    pool.dispose();
  });

  it('keeps n and really frees the rest', () => {
    const freed: object[] = [];
    const pool = new Mempool<object>({
      name: 'test',
      nrElements: 2,
      create: () => ({}),
      tryAllocate: () => ({}),
      destroy: (e) => freed.push(e),
    });
    const out = [1, 2, 3, 4].map(() => pool.tryGet(task) as object);
    expect(pool.nrReady).toBe(2);
    for (const element of out) pool.put(element);
    expect(freed.length).toBe(4);
    pool.dispose();
    expect(freed.length).toBe(6);
    expect(new Set(freed).size).toBe(6);
  });

  it('serves n requests at a time to the end with no memory at all, in order, whatever aborts', async () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant({ op: 'get' as const }) },
      { weight: 3, arbitrary: fc.record({ op: fc.constant('put' as const), which: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant('abort' as const), which: fc.nat() }) },
      { weight: 2, arbitrary: fc.constant({ op: 'settle' as const }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 80, size: 'max' }), async (n, steps) => {
        const pool = new Mempool<object>({ name: 'test', nrElements: n, create: () => ({}) });
        const out: object[] = [];
        const waited: number[] = [];
        const open = new Map<number, AbortSource>();
        const aborted = new Set<number>();
        let nextId = 0;
        for (const step of steps) {
          if (step.op === 'get') {
            const id = nextId++;
            const source = new AbortSource();
            open.set(id, source);
            const take = (got: object | number): void => {
              open.delete(id);
              if (typeof got === 'number') aborted.add(id);
              else {
                expect(out.includes(got)).toBe(false);
                out.push(got);
              }
            };
            const nrWaiters = pool.nrWaiters;
            const got = pool.get(task.withSignal(source.signal));
            if (isPromise(got)) {
              void got.then((later) => {
                take(later);
                if (typeof later !== 'number') waited.push(id);
              });
            } else {
              expect(nrWaiters).toBe(0); // nobody is overtaken
              take(got);
            }
          } else if (step.op === 'put' && out.length > 0) pool.put(out.splice(step.which % out.length, 1)[0]);
          else if (step.op === 'abort' && open.size > 0) [...open.values()][step.which % open.size].abort();
          else await settle();
          expect(out.length).toBeLessThanOrEqual(n);
        }
        for (;;) {
          await settle();
          const element = out.pop();
          if (element === undefined) break;
          pool.put(element);
        }
        expect(open.size).toBe(0);
        expect(waited).toEqual([...waited].sort((a, b) => a - b));
        expect(pool.counts.get + aborted.size).toBe(nextId);
        expect([pool.nrReady, pool.nrOut, pool.nrWaiters]).toEqual([n, 0, 0]);
        pool.dispose();
      }),
    );
  });

  it('tries the allocator again after 5 s, and leaves no timer', async () => {
    const clock = new ManualClock();
    let nrLeft = 0;
    const pool = new Mempool<object>({
      name: 'test',
      nrElements: 1,
      create: () => ({}),
      tryAllocate: () => (nrLeft-- > 0 ? {} : null),
      clock,
    });
    const held = pool.tryGet(task) as object;
    const got: object[] = [];
    const source = new AbortSource();
    for (let i = 0; i < 2; i++) void Promise.resolve(pool.get(task)).then((element) => got.push(element as object));
    const aborted = pool.get(task.withSignal(source.signal));
    await settle();
    expect(clock.nrPendingTimers).toBe(1);
    clock.advance(MEMPOOL_RECHECK_MS - 1);
    await settle();
    expect(got.length).toBe(0);
    nrLeft = 1;
    clock.advance(1);
    await settle();
    expect([got.length, pool.nrRecheckHits, clock.nrPendingTimers]).toEqual([1, 1, 1]);
    pool.put(held);
    await settle();
    expect(got.length).toBe(2);
    source.abort();
    expect(await aborted).toBe(-4);
    expect(clock.nrPendingTimers).toBe(0);
    expect(() => pool.dispose()).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    for (const element of got) pool.put(element);
    pool.dispose();
    expect(() => pool.tryGet(task)).toThrow('gone');
  });

  it('is not disposed of while somebody wants an element', async () => {
    const pool = new Mempool<object>({ name: 'test', nrElements: 1, create: () => ({}), allocate: async () => null });
    const held = pool.get(task) as object;
    const wanted = pool.get(task);
    expect(() => pool.dispose()).toThrow('1 tasks that want one');
    pool.put(held);
    expect(() => pool.dispose()).toThrow('EBUSY');
    pool.put((await wanted) as object);
    pool.dispose();
    pool.dispose();
  });

  it('undoes itself if it cannot be filled', () => {
    const freed: number[] = [];
    let n = 0;
    const make = (): Mempool<{ n: number }> =>
      new Mempool({
        name: 'test',
        nrElements: 3,
        create: () => {
          if (n === 2) throw new KernelError('ENOMEM', 'full');
          return { n: n++ };
        },
        destroy: (element) => freed.push(element.n),
      });
    expect(make).toThrow('full');
    expect(freed).toEqual([0, 1]);
    expect(() => new Mempool({ name: 'none', nrElements: 0, create: () => ({}) })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('notices what is put twice', () => {
    const pool = new Mempool<object>({ name: 'test', nrElements: 1, create: () => ({}) });
    const element = pool.tryGet(task) as object;
    pool.put(element);
    expect(() => pool.put(element)).toThrow('more elements put than taken');
  });
});

describe('BioPool', () => {
  const charges = { nrFrames: 0 };
  const memory = {
    chargeStanding: (owner: string, nrFrames: number) => {
      if (nrFrames > 100) throw new KernelError('ENOMEM', `${owner} does not fit`);
      charges.nrFrames += nrFrames;
      const free = (): void => {
        charges.nrFrames -= nrFrames;
      };
      return { owner, nrFrames, free };
    },
  };

  it('charges its bios and gives the charge back', () => {
    const pool = new BioPool(memory, 'disk', 32, 64);
    expect(charges.nrFrames).toBe(Math.ceil((32 * (160 + 12 * 64)) / 4096));
    expect(bioPoolFrames(32, 64)).toBe(charges.nrFrames);
    const bio = pool.tryGet();
    expect(() => pool.dispose()).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    pool.put(bio as NonNullable<typeof bio>);
    pool.dispose();
    expect(charges.nrFrames).toBe(0);
    expect(() => new BioPool(memory, 'huge', 10_000, 64)).toThrow('huge does not fit');
    expect(() => new BioPool(memory, 'none', 0, 64)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(charges.nrFrames).toBe(0);
  });

  it('hands bios out in turn, and takes none back that is in flight', async () => {
    const pool = new BioPool(memory, 'disk', 1, 2);
    const bio = pool.tryGet() as NonNullable<ReturnType<BioPool['tryGet']>>;
    expect(bio.maxSegments).toBe(2);
    expect(pool.tryGet()).toBe(null);
    const next = pool.get(task);
    bio.start(BioOp.FLUSH, 0).markSubmitted();
    expect(() => pool.put(bio)).toThrow('in flight');
    bio.owner = {};
    bio.end(0);
    pool.put(bio);
    expect(await next).toBe(bio);
    expect(bio.owner).toBe(null);
    pool.put(bio);
    pool.dispose();
  });

  it('tells of a second element under one ticket, until the first is back; not of one under another or under none', () => {
    const told: string[] = [];
    const report = (kind: string, node: string, message: string): void => void told.push(`${kind} ${node}: ${message}`);
    const pool = new Mempool<object>({ name: 'bios', nrElements: 4, create: () => ({}), violations: { report } });
    const entitled = task.withTicket(TICKET);
    const first = pool.tryGet(entitled) as object;
    pool.put(pool.tryGet(task) as object);
    pool.put(pool.tryGet(task.withTicket({ account: {} })) as object);
    pool.put(first);
    const again = pool.tryGet(entitled) as object;
    expect(told).toEqual([]);
    const second = pool.tryGet(entitled) as object;
    expect(told).toEqual([expect.stringMatching(/^second-element bios: .*takes a second element of pool bios/)]);
    pool.put(again);
    pool.put(second);
    pool.put(pool.tryGet(entitled) as object);
    expect(told).toHaveLength(1);
    pool.dispose();
  });
});
