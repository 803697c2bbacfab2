import {
  anyRule,
  depthRule,
  nofsRule,
  type ReclaimRuleFactory,
  reachRule,
  TaskContext,
  WriteoutGraph,
  type WriteoutNode,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const node = (name: string, kind = 'filesystem'): WriteoutNode => ({ name, kind, footprint: { standing: [], unit: [], nrUnits: 1 } });
const RULES: Record<string, ReclaimRuleFactory> = { any: anyRule, nofs: nofsRule, depth: depthRule, reach: reachRule };

/** May each rule enter B from inside A? */
function answers(graph: WriteoutGraph, inside: WriteoutNode, target: WriteoutNode): Record<string, boolean> {
  const task = TaskContext.root('writer').within(inside);
  return Object.fromEntries(Object.entries(RULES).map(([name, create]) => [name, create(graph).mayEnter(task, target)]));
}

describe('reclaim from inside a filesystem A, on a filesystem B (T12)', () => {
  it('a: B is unrelated and as deep: only nofs leaves its memory alone', () => {
    const graph = new WriteoutGraph();
    const [a, b, disk1, disk2] = [node('A'), node('B'), node('disk1', 'block-device'), node('disk2', 'block-device')];
    graph.add({
      nodes: [a, b, disk1, disk2],
      edges: [
        [a, disk1],
        [b, disk2],
      ],
    });
    expect(answers(graph, a, b)).toEqual({ any: true, nofs: false, depth: true, reach: true });
  });

  it('b: B lies on a loop file of A: every rule but none at all leaves it alone', () => {
    const graph = new WriteoutGraph();
    const [a, b, loop, disk] = [node('A'), node('B'), node('loop', 'block-device'), node('disk', 'block-device')];
    graph.add({
      nodes: [a, b, loop, disk],
      edges: [
        [b, loop],
        [loop, a],
        [a, disk],
      ],
    });
    expect(answers(graph, a, b)).toEqual({ any: true, nofs: false, depth: false, reach: false });
  });

  it('c: B reaches A through a local server and is as deep: depth does not see it', () => {
    const graph = new WriteoutGraph();
    const [a, b, client, server, disk] = [
      node('A'),
      node('B'),
      node('client', 'rpc'),
      node('server', 'server'),
      node('disk', 'block-device'),
    ];
    graph.add({
      nodes: [a, b, client, server, disk],
      edges: [
        [b, client],
        [client, server],
        [server, a],
        [a, disk],
      ],
    });
    expect(answers(graph, a, b)).toEqual({ any: true, nofs: false, depth: true, reach: false });
  });

  it('d: B is unrelated and deeper: depth leaves memory alone that it could have', () => {
    const graph = new WriteoutGraph();
    const [a, b, host, disk1, disk2] = [node('A'), node('B'), node('host'), node('disk1', 'block-device'), node('disk2', 'block-device')];
    graph.add({
      nodes: [a, b, host, disk1, disk2],
      edges: [
        [a, disk1],
        [b, host],
        [host, disk2],
      ],
    });
    expect(answers(graph, a, b)).toEqual({ any: true, nofs: false, depth: false, reach: true });
  });
});

describe('reach', () => {
  it('never enters what can come to need a node the task is inside of, and everything else', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 20 }), fc.array(fc.tuple(fc.nat(19), fc.nat(19)), { maxLength: 40 }), (n, pairs) => {
        const graph = new WriteoutGraph();
        const nodes = Array.from({ length: n }, (_, i) => node(`n${i}`));
        const edges = pairs.filter(([a, b]) => a < b && b < n).map(([a, b]) => [nodes[a], nodes[b]] as const);
        graph.add({ nodes, edges });
        const rule = reachRule(graph);
        for (const inside of nodes) {
          const task = TaskContext.root('writer').within(inside);
          for (const target of nodes) expect(rule.mayEnter(task, target)).toBe(!graph.reaches(target, inside));
        }
      }),
    );
  });

  it('knows nothing of scopes that are in no graph', () => {
    const graph = new WriteoutGraph();
    const disk = node('disk', 'block-device');
    graph.add({ nodes: [disk] });
    expect(reachRule(graph).mayEnter(TaskContext.root('probe').within({ name: 'elsewhere' }), disk)).toBe(true);
  });
});
