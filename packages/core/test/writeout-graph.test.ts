import { checkFootprint, framesForObjects, KernelError, type NodeFootprint, WriteoutGraph, type WriteoutNode } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const FOOTPRINT: NodeFootprint = { standing: [], unit: [{ what: 'request', frames: 1 }], nrUnits: 1 };
const node = (name: string, footprint = FOOTPRINT): WriteoutNode => ({ name, kind: 'model', footprint });

function refusal(run: () => void): KernelError {
  try {
    run();
  } catch (error) {
    return error as KernelError;
  }
  throw new Error('nothing was refused');
}

/** The same question answered the long way. */
function canReach(edges: readonly (readonly [number, number])[], from: number, to: number): boolean {
  const seen = new Set([from]);
  for (const at of seen) for (const [a, b] of edges) if (a === at) seen.add(b);
  return seen.has(to);
}

const graphs = fc.integer({ min: 1, max: 40 }).chain((n) =>
  fc.record({
    n: fc.constant(n),
    edges: fc.array(fc.tuple(fc.nat(n - 1), fc.nat(n - 1)), { maxLength: 80 }),
  }),
);

describe('the writeout graph (M4)', () => {
  it('refuses an edge exactly if it closes a cycle, names one that is there, and stays as it was', () => {
    fc.assert(
      fc.property(graphs, ({ n, edges }) => {
        const graph = new WriteoutGraph();
        const nodes = Array.from({ length: n }, (_, i) => node(`n${i}`));
        graph.add({ nodes });
        const kept: (readonly [number, number])[] = [];
        for (const [a, b] of edges) {
          const closes = canReach(kept, b, a);
          const before = graph.edges.length;
          if (!closes) {
            graph.add({ edges: [[nodes[a], nodes[b]]] });
            kept.push([a, b]);
            continue;
          }
          const error = refusal(() => graph.add({ edges: [[nodes[a], nodes[b]]] }));
          expect(error.code).toBe('EDEADLK');
          const cycle = (error.details.cycle as string[]).map((name) => Number(name.slice(1)));
          expect(cycle[0]).toBe(a);
          expect(cycle.at(-1)).toBe(a);
          for (let i = 0; i + 1 < cycle.length; i++) {
            const isEdge = kept.some(([x, y]) => x === cycle[i] && y === cycle[i + 1]) || (cycle[i] === a && cycle[i + 1] === b);
            expect(isEdge).toBe(true);
          }
          expect(graph.edges.length).toBe(before);
        }
        for (const [a, b] of kept) expect(graph.levelOf(nodes[a])).toBeGreaterThan(graph.levelOf(nodes[b]));
        for (let a = 0; a < n; a++) for (let b = 0; b < n; b++) expect(graph.reaches(nodes[a], nodes[b])).toBe(canReach(kept, a, b));
      }),
      { numRuns: 60 },
    );
  });

  it('adds all of a change or nothing', () => {
    const graph = new WriteoutGraph();
    const [a, b, c, stranger] = ['a', 'b', 'c', 'stranger'].map((name) => node(name));
    graph.add({ nodes: [a, b], edges: [[a, b]] });
    expect(
      refusal(() =>
        graph.add({
          nodes: [c],
          edges: [
            [b, c],
            [c, a],
          ],
        }),
      ).details.cycle,
    ).toEqual(['c', 'a', 'b', 'c']);
    expect(graph.nodes).toEqual([a, b]);
    expect(graph.edges).toEqual([[a, b]]);
    expect(refusal(() => graph.add({ nodes: [c], edges: [[c, stranger]] })).code).toBe('EINVAL');
    expect(refusal(() => graph.add({ nodes: [node('a')] })).code).toBe('EEXIST');
    expect(graph.has(c)).toBe(false);
    expect(graph.levelOf(a)).toBe(1);
  });

  it('takes no node away that another one needs', () => {
    const graph = new WriteoutGraph();
    const [swap, disk] = [node('swap'), node('disk')];
    graph.add({ nodes: [swap, disk], edges: [[swap, disk]] });
    const error = refusal(() => graph.remove(disk));
    expect(error.code).toBe('EBUSY');
    expect(error.message).toContain('disk is needed by swap');
    graph.remove(swap);
    graph.remove(disk);
    expect(graph.nodes).toEqual([]);
  });

  it('tells the way down from the top', () => {
    const graph = new WriteoutGraph();
    const nodes = ['swap', 'nbd', 'server', 'disk'].map((name) => node(name));
    graph.add({ nodes, edges: nodes.slice(1).map((to, i) => [nodes[i], to] as const) });
    expect(graph.pathTo(nodes[3])).toEqual(['swap', 'nbd', 'server', 'disk']);
    expect(nodes.map((at) => graph.levelOf(at))).toEqual([3, 2, 1, 0]);
  });
});

describe('footprints (M5)', () => {
  it.each([
    [{ standing: [{ what: 'slot', frames: -1 }], unit: [], nrUnits: 1 }, 'slot'],
    [{ standing: [], unit: [{ what: 'reply', frames: 0.5 }], nrUnits: 1 }, 'reply'],
    [{ standing: [{ what: 'map', frames: 2 ** 40 }], unit: [], nrUnits: 1 }, 'map'],
    [{ standing: [], unit: [], nrUnits: 0 }, 'units'],
    [{ standing: [], unit: [], nrUnits: Number.NaN }, 'units'],
  ])('refuses what is no declaration: %j', (footprint, named) => {
    const error = refusal(() => checkFootprint('disk', footprint));
    expect(error.code).toBe('EINVAL');
    expect(error.message).toContain(named);
    expect(refusal(() => new WriteoutGraph().add({ nodes: [node('disk', footprint)] })).code).toBe('EINVAL');
  });

  it('counts a shared page on top of the objects’ own', () => {
    expect([0, 1, 10, 11].map((n) => framesForObjects(n, 10))).toEqual([0, 2, 2, 3]);
  });
});
