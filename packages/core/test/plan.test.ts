/** The dry run of the planner against admission itself: random stacks, admitted for real in the planned memory and in one frame less. */
import {
  Gfp,
  KernelError,
  leastBootFrames,
  Memory,
  type NodeDescription,
  PAGE_SIZE,
  planLeast,
  planStack,
  ReservePlanner,
  type StackDescription,
  standingFrames,
  TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const task = TaskContext.root('test');

/** Frames as a function of the arena's: some fixed, some a share of it, as slots and units are. */
const term = fc.record({ fixed: fc.integer({ min: 0, max: 60 }), share: fc.constantFrom(0, 64, 128, 256) });
const framesOf = ({ fixed, share }: { fixed: number; share: number }, nrFrames: number): number =>
  fixed + (share === 0 ? 0 : 2 ** Math.floor(Math.log2(Math.max(nrFrames / share, 1))));

const stacks = fc
  .array(
    fc.record({
      standing: fc.array(term, { maxLength: 3 }),
      unit: term,
      atomic: fc.nat({ max: 20 }),
      nrUnits: fc.integer({ min: 1, max: 12 }),
      edges: fc.nat(),
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .map(
    (nodes): StackDescription => ({
      nodes: nodes.map(
        ({ standing, unit, atomic, nrUnits, edges }, i): NodeDescription => ({
          name: `node ${i}`,
          kind: 'model',
          needs: nodes.flatMap((_, j) => (j > i && (edges & (1 << j)) !== 0 ? [`node ${j}`] : [])),
          footprint: (nrFrames) => ({
            standing: standing.map((each, t) => ({ what: `standing ${t}`, frames: framesOf(each, nrFrames) })),
            unit: [{ what: 'request', frames: unit.fixed % 5 }],
            nrUnits,
            atomic: [{ what: 'refill', frames: atomic }],
          }),
        }),
      ),
      held: [],
    }),
  );

/** Admits the nodes one by one, those that are needed first. */
async function admitAll(stack: StackDescription, nrFrames: number): Promise<ReservePlanner> {
  const memory = new Memory(nrFrames);
  const planner = new ReservePlanner(memory);
  const nodes = new Map<string, WriteoutNode>();
  for (const { name, kind, needs, footprint } of [...stack.nodes].reverse()) {
    const node = { name, kind, footprint: footprint(nrFrames) };
    nodes.set(name, node);
    const prepare = async (): Promise<() => void> => {
      const taken = memory.allocFrameArray(name, (standingFrames(node.footprint) * PAGE_SIZE) / 4, Gfp.STANDING);
      return () => taken.free();
    };
    await planner.admit(task, { candidates: [{ node, prepare }], edges: needs.map((need) => [node, nodes.get(need) as WriteoutNode]) });
  }
  return planner;
}

describe('the dry run', () => {
  it('says what the live plan says, and its smallest memory is the smallest', async () => {
    await fc.assert(
      fc.asyncProperty(stacks, async (stack) => {
        const plan = planLeast(stack);
        const live = (await admitAll(stack, plan.total)).explain();
        expect(live.nodes).toMatchObject(plan.nodes.map(({ path: _anyOfSeveral, ...rest }) => rest));
        const { reserved, atomic, standing, min, low, high, total } = plan;
        expect(live).toMatchObject({ reserved, atomic, standing, min, low, high, total });
        const error = await admitAll(stack, plan.total - 1).then(
          () => null,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(KernelError);
        expect((error as KernelError).code).toBe('ENOMEM');
      }),
      { numRuns: 300 },
    );
  });

  it('finds the least size that fits, as trying every size does', () => {
    fc.assert(
      fc.property(stacks, (stack) => {
        const plan = planLeast(stack);
        for (let n = leastBootFrames(); n < plan.total; n++) expect(planStack(stack, n).fits, `${n} frames`).toBe(false);
        expect(planStack(stack, plan.total)).toEqual(plan);
      }),
      { numRuns: 50 },
    );
  });

  it('needs what an empty kernel needs if nothing is stacked', () => {
    const plan = planLeast({ nodes: [], held: [] });
    expect(plan).toMatchObject({ total: leastBootFrames(), standing: 0, reserved: 0, largest: null });
    expect(() => new Memory(plan.total)).not.toThrow();
    expect(() => new Memory(plan.total - 1)).toThrow(/ENOMEM/);
  });

  it('names the largest need, held memory too', () => {
    const disk: NodeDescription = {
      name: 'disk',
      kind: 'model',
      needs: [],
      footprint: () => ({ standing: [{ what: 'slot', frames: 16 }], unit: [{ what: 'request', frames: 3 }], nrUnits: 6 }),
    };
    expect(planLeast({ nodes: [disk], held: [] }).largest).toEqual({ node: 'disk', what: 'request', frames: 18 });
    expect(planLeast({ nodes: [disk], held: [{ what: 'cells', frames: 19 }] }).largest).toEqual({ node: '', what: 'cells', frames: 19 });
  });

  it('refuses a cycle, an unknown need, two of a name, and what fits nowhere', () => {
    const plain = (name: string, needs: string[], frames = 1): NodeDescription => ({
      name,
      kind: 'model',
      needs,
      footprint: () => ({ standing: [{ what: 'table', frames }], unit: [], nrUnits: 1 }),
    });
    const plan = (...nodes: NodeDescription[]) => planLeast({ nodes, held: [] });
    expect(() => plan(plain('a', ['b']), plain('b', ['a']))).toThrow(
      expect.objectContaining({ code: 'EDEADLK', details: { cycle: ['b', 'a', 'b'] } }),
    );
    expect(() => plan(plain('a', ['b']))).toThrow(/EINVAL: a needs b, which is no node/);
    expect(() => plan(plain('a', []), plain('a', []))).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(() => plan(plain('a', [], 2 ** 25))).toThrow(/ENOMEM: no memory is large enough: a needs 33554432 frames .* for table/);
    expect(() => planStack({ nodes: [], held: [] }, 2 ** 24 + 1)).toThrow(/EINVAL: an arena of .* is too large: at most 64 GiB/);
    expect(() => plan(plain('a', [], -1))).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
