/** Virtual time: order, ties, cancellation, death, and randomness that repeats. */
import fc from 'fast-check';
import { EventQueue, pctSchedule, Random, randomSchedule, type Schedule, VirtualClock } from '@tidemark/testkit';
import { describe, expect, it } from 'vitest';

/** Always the first: what order the queue itself gives. */
const FIRST: Schedule = { name: 'first', tickUs: 1, choose: () => 0 };

describe('the event queue', () => {
  it('fires everything that was not cancelled, in the order of time, once', () => {
    const step = fc.record({ delayMs: fc.integer({ min: 0, max: 20 }), cancels: fc.option(fc.nat(30)), steps: fc.nat(2) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(), (steps, seed) => {
        const events = new EventQueue(randomSchedule(new Random(seed), 1));
        const source = events.source('test');
        const added: { dueMs: number; isOver: boolean; event: ReturnType<EventQueue['add']> }[] = [];
        let lastMs = 0;
        for (const { delayMs, cancels, steps: nrSteps } of steps) {
          const entry = { dueMs: events.nowMs + delayMs, isOver: false, event: null as never };
          entry.event = events.add(source, delayMs, () => {
            expect(entry.isOver).toBe(false);
            entry.isOver = true;
            expect(events.nowMs).toBe(entry.dueMs);
            expect(events.nowMs).toBeGreaterThanOrEqual(lastMs);
            lastMs = events.nowMs;
            for (const other of added) if (!other.isOver) expect(other.dueMs).toBeGreaterThanOrEqual(entry.dueMs);
          }) as never;
          added.push(entry);
          const victim = cancels === null ? undefined : added[cancels];
          if (victim !== undefined) {
            expect(events.cancel(victim.event)).toBe(!victim.isOver);
            victim.isOver = true;
          }
          for (let n = 0; n < nrSteps; n++) events.step();
          expect(events.nrPending).toBe(added.filter(({ isOver }) => !isOver).length);
        }
        while (events.step() !== null);
        expect(added.every(({ isOver }) => isOver)).toBe(true);
      }),
    );
  });

  it('gives every order of what is due at once, and the same one under the same seed', () => {
    const orderOf = (schedule: Schedule): string => {
      const events = new EventQueue(schedule);
      let order = '';
      for (const name of 'abc') {
        const source = events.source(name);
        events.add(source, 1, () => {
          order += name;
        });
      }
      while (events.step() !== null);
      return order;
    };
    for (const make of [(random: Random) => randomSchedule(random), (random: Random) => pctSchedule(random, { stepsMax: 3 })]) {
      const orders = Array.from({ length: 200 }, (_, seed) => orderOf(make(new Random(seed))));
      expect(new Set(orders).size).toBe(6);
      expect(Array.from({ length: 200 }, (_, seed) => orderOf(make(new Random(seed))))).toEqual(orders);
    }
  });

  it('PCT runs the highest source first, and changes it at the moments drawn', () => {
    const runs = (depth: number): number[] =>
      Array.from({ length: 300 }, (_, seed) => {
        const events = new EventQueue(pctSchedule(new Random(seed), { depth, stepsMax: 20 }));
        let order = '';
        for (const name of ['a', 'b']) {
          const source = events.source(name);
          for (let n = 0; n < 10; n++)
            events.add(source, 1, () => {
              order += name;
            });
        }
        while (events.step() !== null);
        return order.match(/ab|ba/g)?.length ?? 0;
      });
    expect(new Set(runs(1))).toEqual(new Set([1])); // one after the other
    expect(Math.max(...runs(2))).toBe(2); // one change: at most a, b, a
    expect(runs(2)).toContain(2);
  });

  it('fires nothing of an owner that died, now or later', () => {
    const events = new EventQueue(FIRST);
    const owner = {};
    const clock = new VirtualClock(events, 'dead', owner);
    let nrFired = 0;
    clock.setTimer(1, () => nrFired++);
    events.dropOwnedBy(owner);
    clock.setTimer(1, () => nrFired++);
    events.add(events.source('other'), 5, () => {});
    while (events.step() !== null);
    expect([nrFired, events.nowMs, events.nrPending]).toEqual([0, 5, 0]);
  });

  it('takes no delay that is none', () => {
    const events = new EventQueue(FIRST);
    for (const delayMs of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => events.add(events.source('x'), delayMs, () => {})).toThrow('is no delay');
  });
});

describe('randomness', () => {
  it('repeats under a seed, and forks by name without disturbing others', () => {
    const draw = (random: Random): number[] => Array.from({ length: 8 }, () => random.nextUint32());
    fc.assert(
      fc.property(fc.nat(0xffffffff), (seed) => {
        expect(draw(new Random(seed))).toEqual(draw(new Random(seed)));
        const one = new Random(seed);
        draw(one.fork('a'));
        expect(draw(one.fork('b'))).toEqual(draw(new Random(seed).fork('b')));
        expect(draw(one.fork('a'))).not.toEqual(draw(one.fork('b')));
      }),
    );
  });

  it('is even enough: bits, small numbers', () => {
    const random = new Random(7);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 100_000; i++) counts[random.below(10)]++;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
    const bits = new Array<number>(32).fill(0);
    for (let i = 0; i < 20_000; i++) for (let word = random.nextUint32(), bit = 0; bit < 32; bit++) bits[bit] += (word >>> bit) & 1;
    for (const count of bits) expect(Math.abs(count - 10_000)).toBeLessThan(400);
  });
});
