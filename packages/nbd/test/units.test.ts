/** Units of a server: never more out than there are, first come first served, and nobody who waits is forgotten. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ServerUnits, type UnitWaiter } from '../src/server/units.js';

/** A connection: takes what it wants as soon as it may, and gives it back when told. */
class Asker implements UnitWaiter {
  wanted = 0;
  held = 0;

  constructor(
    private readonly units: ServerUnits,
    private readonly log: Asker[],
  ) {}

  ask(count: number): void {
    this.wanted = count;
    this.onRoom();
  }

  onRoom(): void {
    if (this.wanted === 0 || !this.units.has(this.wanted, this)) return;
    this.units.take(this.wanted);
    this.held += this.wanted;
    this.wanted = 0;
    this.log.push(this);
  }

  give(): void {
    const { held } = this;
    this.held = 0;
    this.units.give(held);
  }

  leave(): void {
    this.wanted = 0;
    this.units.leave(this);
  }
}

describe('units of a server', () => {
  it('go to who has waited longest, all of them in the end', () => {
    const step = fc.record({ kind: fc.constantFrom('ask', 'give', 'leave'), who: fc.nat(4), count: fc.integer({ min: 1, max: 6 }) });
    fc.assert(
      fc.property(fc.integer({ min: 6, max: 9 }), fc.array(step, { maxLength: 80 }), (nrUnits, steps) => {
        const units = new ServerUnits(nrUnits);
        const log: Asker[] = [];
        const askers = Array.from({ length: 5 }, () => new Asker(units, log));
        let queue: Asker[] = [];
        for (const { kind, who, count } of steps) {
          const asker = askers[who];
          if (kind === 'ask' && asker.wanted === 0 && asker.held === 0) {
            queue.push(asker);
            asker.ask(count);
          } else if (kind === 'give' && asker.held > 0) asker.give();
          else if (kind === 'leave') {
            queue = queue.filter((other) => other !== asker || asker.wanted === 0);
            asker.leave();
          }
          // Served in the order of the queue, and the first one who is not wants more than there is.
          const served = log.splice(0);
          expect(queue.splice(0, served.length)).toEqual(served);
          if (queue.length > 0) expect(queue[0].wanted).toBeGreaterThan(units.nrFree);
          expect(units.nrFree).toBe(nrUnits - askers.reduce((sum, { held }) => sum + held, 0));
        }
        for (const asker of askers) if (asker.held > 0) asker.give();
        for (let rounds = 0; rounds < 6; rounds++) for (const asker of askers) if (asker.held > 0) asker.give();
        expect(units.nrFree).toBe(nrUnits);
      }),
      { numRuns: 500 },
    );
  });

  it('are refused to who wants more than there will ever be', () => {
    const units = new ServerUnits(2);
    expect(() => units.has(3, { onRoom: () => {} })).toThrow(/more units/);
    expect(() => units.take(3)).toThrow(/not there/);
  });
});
