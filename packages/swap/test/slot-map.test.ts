/** The slot map against a model. It has no export: it is reached through the package's own sources. */
import { Memory } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SlotMap } from '../src/slot-map.js';

describe('the slot map', () => {
  it('hands out each free slot once, in runs, and never the header or a bad one', () => {
    const step = fc.record({ kind: fc.constantFrom('alloc', 'alloc', 'alloc', 'free', 'bad', 'cached', 'dying'), pick: fc.nat(10_000) });
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 1500 }),
        fc.uniqueArray(fc.integer({ min: 1, max: 1499 }), { maxLength: 20 }),
        fc.array(step, { maxLength: 1200 }),
        (nrSlots, bad, steps) => {
          const memory = new Memory(128);
          const before = memory.allocator.nrFree;
          const badPages = bad.filter((slot) => slot < nrSlots);
          const map = new SlotMap(memory, 'test', nrSlots, badPages);
          const isBad = new Set(badPages);
          const inUse = new Map<number, { cached: boolean; dying: boolean }>();
          const check = (): void => {
            expect(map.nrBad).toBe(isBad.size);
            expect(map.nrInUse).toBe(inUse.size);
            expect(map.nrFree).toBe(nrSlots - 1 - isBad.size - inUse.size);
          };
          for (const { kind, pick } of steps) {
            if (kind === 'alloc') {
              const slot = map.alloc();
              expect(slot === 0).toBe(inUse.size + isBad.size === nrSlots - 1);
              if (slot === 0) continue;
              expect(slot > 0 && slot < nrSlots && !inUse.has(slot) && !isBad.has(slot)).toBe(true);
              inUse.set(slot, { cached: false, dying: false });
              expect(map.isInUse(slot)).toBe(true);
            } else if (inUse.size > 0) {
              const slot = [...inUse.keys()][pick % inUse.size];
              const state = inUse.get(slot) as { cached: boolean; dying: boolean };
              if (kind === 'free') {
                map.free(slot);
                inUse.delete(slot);
                expect(map.isInUse(slot) || map.isCached(slot) || map.isDying(slot)).toBe(false);
              } else if (kind === 'bad') {
                map.markBad(slot);
                inUse.delete(slot);
                isBad.add(slot);
                map.free(slot); // a bad one stays bad
                expect(map.isInUse(slot)).toBe(false);
              } else if (kind === 'cached') {
                state.cached = !state.cached;
                map.setCached(slot, state.cached);
              } else {
                state.dying = true;
                map.setDying(slot);
              }
              if (inUse.has(slot)) {
                expect([map.isCached(slot), map.isDying(slot), map.isInUse(slot)]).toEqual([state.cached, state.dying, !state.dying]);
              }
            }
            check();
          }
          map.dispose();
          expect(memory.allocator.nrFree).toBe(before);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('gives slots one after the other while a cluster lasts', () => {
    const map = new SlotMap(new Memory(128), 'test', 4096, []);
    for (let cluster = 0; cluster < 15; cluster++) {
      const slots = Array.from({ length: 256 }, () => map.alloc());
      expect(slots[0] % 256).toBe(0);
      expect(slots).toEqual(slots.map((_, i) => slots[0] + i));
    }
  });
});
