import { SlabCache } from '@tidemark/core';
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
