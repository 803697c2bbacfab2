import { Arena, Errno, XArray, XArrayNodes, XA_MAX_INDEX, XA_NODES_PER_FRAME, XaMark } from '@tidemark/core';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { TestFrames } from './support.js';

const NR_FRAMES = 64;

interface Entry {
  value: number;
  marks: [boolean, boolean];
}

/** The same, done plainly. */
class Model {
  readonly entries = new Map<number, Entry>();

  findNext(from: number, mark?: XaMark): number {
    let least = -1;
    for (const [index, entry] of this.entries) {
      if (index >= from && (mark === undefined || entry.marks[mark]) && (least < 0 || index < least)) least = index;
    }
    return least;
  }
}

// Indices that meet: small ones, neighbours of every level's borders, and anything.
const index = fc.oneof(
  fc.nat(200),
  fc
    .tuple(fc.constantFrom(64, 4096, 2 ** 18, 2 ** 24, 2 ** 30, 2 ** 31, 2 ** 32 - 1), fc.integer({ min: -2, max: 0 }))
    .map(([base, by]) => base + by),
  fc.integer({ min: 0, max: XA_MAX_INDEX }),
);
const value = fc.oneof(fc.constantFrom(1, 2 ** 31, 2 ** 32 - 1), fc.integer({ min: 1, max: 2 ** 32 - 1 }));
const mark = fc.constantFrom(XaMark.DIRTY, XaMark.WRITEBACK);
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ op: fc.constant('store' as const), index, value, pick: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('erase' as const), index, pick: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constantFrom('setMark' as const, 'clearMark' as const), index, mark, pick: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('find' as const), index, mark: fc.option(mark, { nil: undefined }), pick: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('memory' as const), index: fc.constant(0), isOpen: fc.boolean(), pick: fc.constant(false) }),
  },
);

describe('XArray', () => {
  let frames: TestFrames;
  let nodes: XArrayNodes;

  beforeEach(() => {
    frames = new TestFrames(NR_FRAMES);
    nodes = new XArrayNodes(new Arena(NR_FRAMES), frames);
  });

  function content(xa: XArray): [number, number, boolean, boolean][] {
    const seen: [number, number, boolean, boolean][] = [];
    for (let i = xa.findNext(0); i >= 0; i = xa.findNext(i + 1)) {
      seen.push([i, xa.load(i), xa.getMark(i, XaMark.DIRTY), xa.getMark(i, XaMark.WRITEBACK)]);
    }
    return seen;
  }

  /** Words of nodes in use that hold marks of either kind. */
  function nrMarkWords(store: XArrayNodes): number {
    let nrSet = 0;
    for (const pfn of frames.out) {
      const words = store.chunks[0];
      const nodesFree = words[store.arena.wordIndexOf(pfn)];
      for (let sub = 2; sub < 16; sub++) {
        if (((nodesFree >>> sub) & 1) === 1) continue;
        const at = store.marksAt(pfn * 16 + sub);
        for (let i = at; i < at + 4; i++) if (words[i] !== 0) nrSet++;
      }
    }
    return nrSet;
  }

  function expected(model: Model): [number, number, boolean, boolean][] {
    return [...model.entries].sort((a, b) => a[0] - b[0]).map(([i, { value, marks }]) => [i, value, marks[0], marks[1]]);
  }

  it('behaves as a map with marks, whatever memory does; a failed store changes nothing', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 120, size: 'max' }), (commands) => {
        const xa = new XArray(nodes);
        const model = new Model();
        frames.isOpen = true;
        for (const step of commands) {
          // Half of the steps go to an index that is in use, or commands would seldom meet.
          const used = [...model.entries.keys()];
          const at = step.pick && used.length > 0 ? used[step.index % used.length] : step.index;
          const entry = model.entries.get(at);
          if (step.op === 'memory') frames.isOpen = step.isOpen;
          else if (step.op === 'store') {
            const before = content(xa);
            const nodesBefore = nodes.nrNodes;
            const status = xa.store(at, step.value);
            if (status !== 0) {
              expect(status).toBe(-Errno.ENOMEM);
              expect(frames.isOpen && frames.out.size < NR_FRAMES).toBe(false);
              expect(entry).toBe(undefined); // replacing never fails
              expect(content(xa)).toEqual(before);
              expect(nodes.nrNodes).toBe(nodesBefore);
            } else if (entry !== undefined) entry.value = step.value;
            else model.entries.set(at, { value: step.value, marks: [false, false] });
          } else if (step.op === 'erase') {
            expect(xa.store(at, 0)).toBe(0);
            model.entries.delete(at);
          } else if (step.op === 'setMark') {
            expect(xa.setMark(at, step.mark)).toBe(entry !== undefined);
            if (entry !== undefined) entry.marks[step.mark] = true;
          } else if (step.op === 'clearMark') {
            xa.clearMark(at, step.mark);
            if (entry !== undefined) entry.marks[step.mark] = false;
          } else expect(xa.findNext(at, step.mark)).toBe(model.findNext(at, step.mark));
          expect(xa.load(at)).toBe(model.entries.get(at)?.value ?? 0);
          expect(xa.nrEntries).toBe(model.entries.size);
        }
        expect(content(xa)).toEqual(expected(model));
        for (const which of [XaMark.DIRTY, XaMark.WRITEBACK]) {
          const marked: number[] = [];
          for (let i = xa.findNext(0, which); i >= 0; i = xa.findNext(i + 1, which)) marked.push(i);
          expect(marked).toEqual(
            [...model.entries]
              .filter(([, e]) => e.marks[which])
              .map(([i]) => i)
              .sort((a, b) => a - b),
          );
        }
        // With the last mark of a kind gone there is none on any level, or every search would walk down to it.
        for (const at of model.entries.keys()) for (const which of [XaMark.DIRTY, XaMark.WRITEBACK]) xa.clearMark(at, which);
        expect(nrMarkWords(nodes)).toBe(0);
        const visited: [number, number][] = [];
        xa.clear((i, v) => visited.push([i, v]));
        expect(visited).toEqual(expected(model).map(([i, v]) => [i, v]));
        expect([xa.nrEntries, nodes.nrNodes, nodes.nrFrames, frames.out.size]).toEqual([0, 0, 0, 0]);
      }),
      { numRuns: 400 },
    );
  });

  it('shares frames between trees and gives each back when it is empty', () => {
    const trees = Array.from({ length: 40 }, () => new XArray(nodes));
    for (const [i, tree] of trees.entries()) expect(tree.store(i, i + 1)).toBe(0);
    expect(nodes.nrFrames).toBe(Math.ceil(40 / XA_NODES_PER_FRAME));
    for (const [i, tree] of trees.entries()) if (i % 2 === 0) tree.store(i, 0);
    for (const [i, tree] of trees.entries()) expect(tree.load(i)).toBe(i % 2 === 0 ? 0 : i + 1);
    for (let i = 0; i < 20; i++) expect(trees[i * 2].store(7, 7)).toBe(0); // into the holes
    expect(nodes.nrFrames).toBe(Math.ceil(40 / XA_NODES_PER_FRAME));
    for (const tree of trees) tree.clear();
    expect(frames.out.size).toBe(0);
  });

  it('is as high as its highest index needs', () => {
    const xa = new XArray(nodes);
    xa.store(0, 1);
    expect(nodes.nrNodes).toBe(1);
    xa.store(64, 1);
    expect(nodes.nrNodes).toBe(3);
    expect(nrMarkWords(nodes)).toBe(0);
    xa.store(XA_MAX_INDEX, 1);
    expect(nodes.nrNodes).toBe(3 + 4 + 5);
    xa.store(XA_MAX_INDEX, 0);
    expect(nodes.nrNodes).toBe(3);
    xa.store(64, 0);
    expect(nodes.nrNodes).toBe(1);
  });

  it('holds a file of 2^18 pages in 1/64 of their number of nodes', () => {
    const big = new TestFrames(400);
    const store = new XArrayNodes(new Arena(400), big);
    const xa = new XArray(store);
    for (let i = 0; i < 2 ** 18; i++) if (xa.store(i, i + 1) !== 0) throw new Error('no memory');
    expect(store.nrNodes).toBe(4096 + 64 + 1);
    let sum = 0;
    for (let i = 0; i < 2 ** 18; i++) sum += xa.load(i);
    expect(sum).toBe((2 ** 18 * (2 ** 18 + 1)) / 2);
    xa.clear();
    expect(big.out.size).toBe(0);
  });

  it('works in the second chunk of an arena', () => {
    const arena = new Arena(2 ** 18 + 8);
    const store = new XArrayNodes(arena, { allocFrame: () => 2 ** 18 + 3, freeFrame: () => {} });
    const xa = new XArray(store);
    expect(xa.store(5, 2 ** 32 - 1)).toBe(0);
    expect(xa.setMark(5, XaMark.DIRTY)).toBe(true);
    expect([xa.load(5), xa.load(6), xa.findNext(0, XaMark.DIRTY)]).toEqual([2 ** 32 - 1, 0, 5]);
    expect(arena.isZero(2 ** 18 + 3)).toBe(false);
    expect(arena.isZero(3)).toBe(true);
  });
});
