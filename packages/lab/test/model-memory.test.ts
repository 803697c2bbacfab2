/** The memory of the models does what the page allocator does: same answer to every request, under every policy, in any order. */
import { Gfp, Memory, PG, RESERVE_POLICY_NAMES, reservePolicyNamed, TaskContext, WriteoutGraph, type WriteoutTicket } from '@tidemark/core';
import { SearchModel } from '@tidemark/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelMemory, Source, SOURCE_MAX } from '../src/spaces/model-memory.js';

const NR_FRAMES = 100;
const MIN_FRAMES = 5;
const NODES = [
  { name: 'swap', kind: 'swap-area', need: 2, nrUnits: 2, isReclaim: true },
  { name: 'device', kind: 'block-device', need: 3, nrUnits: 1, atomicFrames: 2 },
];
const HELD_MAX = 60;

type Operation =
  | { readonly kind: 'take'; readonly node: number; readonly which: number }
  | { readonly kind: 'begin'; readonly node: number }
  | { readonly kind: 'end'; readonly node: number }
  | { readonly kind: 'ordinary' }
  | { readonly kind: 'atomic' }
  | { readonly kind: 'free'; readonly which: number };

const anyOperation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('take'), node: fc.nat({ max: 1 }), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('begin', 'end'), node: fc.nat({ max: 1 }) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('ordinary', 'atomic') }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('free'), which: fc.nat() }) },
);

/** A frame that is held in both worlds. */
interface Held {
  readonly pfn: number;
  readonly cell: number;
  /** −1: nobody's unit. */
  readonly node: number;
  readonly unit: WriteoutTicket | null;
}

function sourceOf(flags: number): Source {
  if ((flags & PG.CHARGED) !== 0) return Source.ACCOUNT;
  return (flags & PG.RESERVE) === 0 ? Source.FREE : Source.RESERVE;
}

describe('the memory of a model', () => {
  it.each(RESERVE_POLICY_NAMES)('answers as the page allocator under %s', (name) => {
    const answers = new Set<string>();
    fc.assert(
      fc.property(fc.array(anyOperation, { minLength: 20, maxLength: 120 }), (operations) => {
        const policy = reservePolicyNamed(name);
        const model = new SearchModel('memory', { pages: 16, tasks: 1, layers: 2, needFrames: 2 });
        const modelled = new ModelMemory(model, { nrFrames: NR_FRAMES, minFrames: MIN_FRAMES, nodes: NODES, policy });
        const cells = Array.from({ length: HELD_MAX }, (_, i) => model.cell(`held${i}`, SOURCE_MAX));
        const state = model.initialState();
        state[modelled.free] += 3;

        const real = new Memory(NR_FRAMES, undefined, { minFrames: MIN_FRAMES });
        real.bindPolicy(policy, null);
        const graph = new WriteoutGraph();
        const nodes = NODES.map(({ name: node, kind, need, nrUnits }) => {
          return { name: node, kind, footprint: { standing: [], unit: [{ what: 'unit', frames: need }], nrUnits } };
        });
        graph.add({ nodes, edges: [[nodes[0], nodes[1]]] });
        const accounts = nodes.map((node, i) =>
          real.reserve.open(node.name, real.reserve.policy.limitOf(node, graph), { ...NODES[i], node, level: graph.levelOf(node) }),
        );
        const anybody = TaskContext.root('anybody');
        expect(real.allocator.min).toBe(modelled.min);
        while (real.allocator.nrFree > state[modelled.free]) expect(real.allocator.allocPage(anybody, Gfp.FILE)).toBeGreaterThanOrEqual(0);

        const held: Held[] = [];
        const units: WriteoutTicket[][] = [[], []];
        const cellsUnder = (unit: WriteoutTicket | null): number[] => held.filter((frame) => frame.unit === unit).map(({ cell }) => cell);
        const take = (task: TaskContext, gfp: number, expected: Source, node: number, unit: WriteoutTicket | null): void => {
          const pfn = real.allocator.allocPage(task, gfp);
          expect(pfn < 0 ? Source.NONE : sourceOf(real.frames.flags[pfn])).toBe(expected);
          answers.add(`${node}: ${expected}`);
          if (pfn < 0) return;
          const cell = cells.find((candidate) => state[candidate] === Source.NONE) as number;
          if (node >= 0) modelled.take(state, modelled.nodes[node], cellsUnder(unit), cell);
          else {
            state[cell] = Source.FREE;
            state[modelled.free]--;
          }
          held.push({ pfn, cell, node, unit });
        };
        const free = (which: number): void => {
          const [frame] = held.length === 0 ? [] : held.splice(which % held.length, 1);
          if (frame === undefined) return;
          real.allocator.freePage(frame.pfn);
          modelled.give(state, modelled.nodes[Math.max(frame.node, 0)], frame.cell);
        };
        const begin = (node: number): void => {
          const modelNode = modelled.nodes[node];
          const began = accounts[node].units.tryBegin(anybody);
          expect(began !== null).toBe(modelled.mayBegin(state, modelNode));
          if (began === null) return;
          units[node].push(began);
          state[modelNode.out]++;
        };
        const end = (node: number): void => {
          const [idle] = units[node].filter((unit) => unit.held === 0);
          if (idle === undefined) return;
          units[node].splice(units[node].indexOf(idle), 1);
          idle.end();
          state[modelled.nodes[node].out]--;
        };
        const takeForUnit = (node: number, which: number): void => {
          if (units[node].length === 0) return;
          const ticket = units[node][which % units[node].length];
          const task = TaskContext.root(NODES[node].name).withTicket(ticket);
          const expected = modelled.sourceFor(state, modelled.nodes[node], cellsUnder(ticket));
          take(NODES[node].isReclaim ? task.asReclaimer() : task, Gfp.TRANSIENT, expected, node, ticket);
        };
        const takeAsAnybody = (gfp: number): void =>
          take(anybody, gfp, modelled.mayTakeOrdinary(state, gfp) ? Source.FREE : Source.NONE, -1, null);
        for (const operation of operations) {
          if (operation.kind === 'free') free(operation.which);
          else if (operation.kind === 'begin') begin(operation.node);
          else if (operation.kind === 'end') end(operation.node);
          else if (operation.kind === 'take') takeForUnit(operation.node, operation.which);
          else takeAsAnybody(operation.kind === 'atomic' ? Gfp.TRANSIENT | Gfp.ATOMIC : Gfp.FILE);
          expect(real.allocator.nrFree).toBe(state[modelled.free]);
          for (const [node, account] of accounts.entries()) {
            expect(account.usageFrames).toBe(state[modelled.nodes[node].usage]);
            if (account.limitFrames === 0) expect(account.reservedFrames).toBe(state[modelled.nodes[node].reserved]);
          }
          expect(real.reserve.emergencyFrames).toBe(modelled.emergencyOf(state));
        }
      }),
      { numRuns: 150 },
    );
    for (const seen of ['-1: 0', '-1: 1', '0: 1']) expect(answers).toContain(seen); // the property has something to say
    if (name === 'composed') for (const seen of ['0: 0', '0: 2', '1: 2']) expect(answers).toContain(seen);
    if (name === 'limits') for (const seen of ['0: 0', '0: 3', '1: 0', '1: 3']) expect(answers).toContain(seen);
  });
});
