import { Gfp, Memory, type ReserveAccount, SlabCache, TaskContext, type Violation } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TestFrames } from './support.js';

interface Thing {
  id: number;
  refersTo: object | null;
}

function makeCache(frames: TestFrames, objectBytes: number): SlabCache<Thing> {
  let nextId = 0;
  return new SlabCache<Thing>(frames, {
    name: 'thing',
    objectBytes,
    create: () => ({ id: nextId++, refersTo: null }),
    reset: (thing) => {
      thing.refersTo = null;
    },
  });
}

describe('SlabCache', () => {
  it('charges a frame for every floor(4096 / bytes) objects, never hands one out twice, and gives frames back', () => {
    const command = fc.oneof(
      { weight: 6, arbitrary: fc.constant('alloc') },
      { weight: 5, arbitrary: fc.constant('free') },
      { weight: 1, arbitrary: fc.constant('shrink') },
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4096 }),
        fc.array(command, { maxLength: 200, size: 'max' }),
        fc.infiniteStream(fc.nat()),
        (objectBytes, commands, random) => {
          const frames = new TestFrames(8);
          const cache = makeCache(frames, objectBytes);
          const perFrame = Math.floor(4096 / objectBytes);
          expect(cache.objectsPerFrame).toBe(perFrame);
          const out: Thing[] = [];
          for (const command of commands) {
            if (command === 'alloc') {
              const thing = cache.alloc();
              if (thing === null) expect(out.length).toBe(8 * perFrame);
              else {
                expect(out.includes(thing)).toBe(false);
                expect(thing.refersTo).toBe(null);
                thing.refersTo = cache;
                out.push(thing);
              }
            } else if (command === 'free' && out.length > 0) {
              const [thing] = out.splice(random.next().value % out.length, 1);
              cache.free(thing);
              expect(thing.refersTo).toBe(null);
            } else if (command === 'shrink') {
              cache.shrink();
              expect(cache.nrFrames).toBe(Math.ceil(out.length / perFrame));
              expect(cache.count()).toBe(0);
            }
            expect(cache.nrObjects).toBe(out.length);
            expect(frames.out.size).toBe(cache.nrFrames);
            expect(cache.nrFrames * perFrame).toBeGreaterThanOrEqual(out.length);
            expect(cache.nrFrames * perFrame - out.length).toBeLessThanOrEqual(perFrame + 1);
          }
          for (const thing of out) cache.free(thing);
          cache.dispose();
          expect(frames.out.size).toBe(0);
        },
      ),
    );
  });

  it('uses freed objects again', () => {
    const cache = makeCache(new TestFrames(1), 1024);
    const first = cache.alloc() as Thing;
    cache.free(first);
    expect(cache.alloc()).toBe(first);
  });

  it('keeps no object whose frame it gave back', () => {
    const cache = makeCache(new TestFrames(2), 1024);
    const things = [1, 2, 3, 4, 5].map(() => cache.alloc() as Thing);
    for (const thing of things) cache.free(thing);
    cache.shrink();
    expect(cache.nrFrames).toBe(0);
    expect(things.includes(cache.alloc() as Thing)).toBe(false);
  });

  it('says null without a frame, and changes nothing by it', () => {
    const frames = new TestFrames(1);
    frames.isOpen = false;
    const cache = makeCache(frames, 64);
    expect(cache.alloc()).toBe(null);
    expect([cache.nrObjects, cache.nrFrames]).toEqual([0, 0]);
    frames.isOpen = true;
    expect(cache.alloc()).not.toBe(null);
  });

  it('reports leaks and frees that were too many', () => {
    const cache = makeCache(new TestFrames(1), 64);
    const thing = cache.alloc() as Thing;
    expect(() => cache.dispose()).toThrow('thing: 1 objects leaked');
    cache.free(thing);
    expect(() => cache.free(thing)).toThrow('more objects freed');
    cache.dispose();
  });

  it('refuses objects that are no part of a frame', () => {
    for (const bytes of [0, -1, 4097, 1.5, Number.NaN]) {
      expect(() => makeCache(new TestFrames(1), bytes)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
  });
});

describe('SlabCache and the reserve (M20)', () => {
  const root = TaskContext.root('writer');

  /** A memory of which only accounts have anything, a cache on it with 4 objects a frame, and tasks with a unit each. */
  function reserved(...limits: number[]) {
    const memory = new Memory(512);
    const told: Violation[] = [];
    memory.onViolation = (violation) => told.push(violation);
    const accounts = limits.map((limit, i) => memory.reserve.open(`node ${i}`, limit, { need: limit, nrUnits: 1 }));
    const tickets = accounts.map(({ units }) => units.tryBegin(root));
    const tasks = tickets.map((ticket) => root.withTicket(ticket));
    const cache = new SlabCache<Thing>(memory.frameSource(Gfp.SLAB), {
      name: 'thing',
      objectBytes: 1024,
      create: () => ({ id: 0, refersTo: null }),
    });
    const held: number[] = [];
    for (let pfn = memory.allocator.allocPage(root, Gfp.ANON); pfn >= 0; pfn = memory.allocator.allocPage(root, Gfp.ANON)) held.push(pfn);
    return { memory, accounts, tickets, tasks, cache, held, told };
  }

  it('gives objects of an account’s frame to tickets of that account only, and says who paid', () => {
    const { accounts, tasks, cache } = reserved(30, 30);
    const first = cache.alloc(tasks[0]) as Thing;
    expect([cache.lastSource, accounts[0].usageFrames, accounts[1].usageFrames]).toEqual([accounts[0], 1, 0]);
    expect(cache.alloc(root)).toBe(null); // three objects of that frame are free, and not for a passer-by
    const other = cache.alloc(tasks[1]) as Thing;
    expect([cache.lastSource, accounts[0].usageFrames, accounts[1].usageFrames]).toEqual([accounts[1], 1, 1]);
    const more = [1, 2, 3].map(() => cache.alloc(tasks[0]) as Thing);
    expect([accounts[0].usageFrames, cache.nrFrames, cache.nrObjects]).toEqual([1, 2, 5]);
    for (const thing of [first, ...more]) cache.free(thing);
    expect([accounts[0].usageFrames, accounts[1].usageFrames]).toEqual([0, 1]);
    cache.free(other);
    expect([accounts[1].usageFrames, cache.nrFrames]).toEqual([0, 0]);
    cache.dispose();
  });

  it('has ordinary memory pay as soon as there is some; then the frame serves everyone', () => {
    const { memory, accounts, tasks, cache, held } = reserved(60);
    const things = [1, 2].map(() => cache.alloc(tasks[0]) as Thing);
    expect(accounts[0].usageFrames).toBe(1);
    for (let i = 0; i < 4; i++) memory.allocator.freePage(held.pop() as number);
    cache.free(things[0]);
    expect([accounts[0].usageFrames, cache.nrFrames]).toEqual([0, 1]);
    expect(cache.alloc(root)).not.toBe(null);
    expect([cache.lastSource, cache.nrFrames]).toEqual([null, 1]);
  });

  it('counts objects against the need of a unit whatever paid for them, and not the frame that others share', () => {
    const { memory, tickets, tasks, cache, held, told } = reserved(1);
    for (const pfn of held) memory.allocator.freePage(pfn); // ample memory
    const things = [1, 2, 3, 4].map(() => cache.alloc(tasks[0]) as Thing);
    expect([cache.lastSource, tickets[0]?.held, told.length]).toEqual([null, 1, 0]);
    things.push(cache.alloc(tasks[0]) as Thing);
    expect(told.map(({ kind, node }) => `${kind} ${node}`)).toContain('overspent node 0');
    for (const thing of things) cache.free(thing);
    expect(tickets[0]?.held).toBe(0);
    tickets[0]?.end();
    expect(told.some(({ kind }) => kind === 'leaked')).toBe(false);
    cache.dispose();
  });

  it('adds up: every source is what the allocator says, and nothing is left at the end', () => {
    const step = fc.record({ kind: fc.constantFrom('alloc', 'alloc', 'alloc', 'free', 'free', 'give', 'shrink'), which: fc.nat(1000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { memory, accounts, tickets, tasks, cache, held } = reserved(20, 25);
        const out: Thing[] = [];
        for (const { kind, which } of steps) {
          if (kind === 'alloc') {
            const before = accounts.map(({ usageFrames }: ReserveAccount) => usageFrames);
            const by = [root, ...tasks][which % 3];
            const thing = cache.alloc(by);
            const payer = accounts.findIndex(({ usageFrames }, i) => usageFrames > before[i]);
            if (payer >= 0) expect([cache.lastSource, by]).toEqual([accounts[payer], tasks[payer]]);
            if (thing !== null && cache.lastSource !== null) expect(by.ticket?.account).toBe(cache.lastSource);
            if (thing !== null) out.push(thing);
          } else if (kind === 'free' && out.length > 0) cache.free(out.splice(which % out.length, 1)[0]);
          else if (kind === 'give' && held.length > 0) memory.allocator.freePage(held.pop() as number);
          else if (kind === 'shrink') cache.shrink();
          const usage = accounts[0].usageFrames + accounts[1].usageFrames;
          expect(accounts[0].shared.held + accounts[1].shared.held).toBe(usage);
          expect(memory.allocator.nrFree).toBeGreaterThanOrEqual(memory.reserve.emergencyFrames);
          expect(cache.nrObjects).toBe(out.length);
          expect(cache.nrFrames * 4).toBeGreaterThanOrEqual(out.length);
          expect(cache.nrFrames).toBe(memory.allocator.classCount(Gfp.SLAB));
        }
        for (const thing of out) cache.free(thing);
        cache.dispose();
        expect([memory.reserve.usageFrames, memory.allocator.classCount(Gfp.SLAB)]).toEqual([0, 0]);
        for (const ticket of tickets) expect(ticket?.held).toBe(0);
      }),
      { numRuns: 80 },
    );
  });
});
