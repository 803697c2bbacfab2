import {
  type Admission,
  Gfp,
  KernelError,
  Memory,
  type NodeFootprint,
  ReservePlanner,
  TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { describe, expect, it } from 'vitest';

const task = TaskContext.root('test');
const footprint = (need: number, nrUnits = 1): NodeFootprint => ({ standing: [], unit: [{ what: 'request', frames: need }], nrUnits });
const node = (name: string, declared: NodeFootprint): WriteoutNode => ({ name, kind: 'model', footprint: declared });
const single = (candidate: WriteoutNode): Admission => ({ candidates: [{ node: candidate }], edges: [] });

async function refusal(work: Promise<unknown>): Promise<KernelError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KernelError);
  return error as KernelError;
}

/** Everything a refused admission must leave alone. */
function snapshot(memory: Memory, planner: ReservePlanner): unknown {
  const { nodes, ...rest } = planner.explain();
  return {
    nodes: nodes.map(({ name }) => name),
    rest,
    edges: planner.graph.edges.length,
    all: planner.graph.nodes.length,
    blocks: memory.allocator.freeBlocks(),
  };
}

describe('admission (M5)', () => {
  it('raises the floors by what a node may ask for, and lowers them again', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const disk = node('disk', footprint(10, 10));
    const before = snapshot(memory, planner);
    await planner.admit(task, single(disk));
    expect(memory.allocator.watermarks.min).toBe(100);
    expect(planner.explain()).toMatchObject({
      reserved: 100,
      used: 0,
      emergency: 100,
      nodes: [{ name: 'disk', need: 10, nrUnits: 10, limit: 100, usage: 0 }],
    });
    await planner.release(disk);
    expect(snapshot(memory, planner)).toEqual(before);
  });

  it('refuses one frame too many with a shortfall of one, and leaves everything as it was', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    let fits = 0;
    for (let frames = 1; memory.allocator.watermarksWith(frames).high <= 1024; frames++) fits = frames;
    const before = snapshot(memory, planner);
    const error = await refusal(planner.admit(task, single(node('greedy', footprint(fits + 1)))));
    expect(error.code).toBe('ENOMEM');
    expect(error.details).toMatchObject({ node: 'greedy', path: ['greedy'] });
    expect(error.details.shortfallFrames as number).toBeGreaterThan(0);
    expect(error.message).toContain('request');
    expect(snapshot(memory, planner)).toEqual(before);
  });

  it('proves that the frames are there: memory that is pinned does not count', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    for (let i = 0; i < 800; i++) memory.allocator.allocPage(task, Gfp.ANON); // nothing can take these back
    const room = memory.allocator.nrFree; // there is no account yet, so no band to leave alone
    const before = memory.allocator.nrFree;
    const error = await refusal(planner.admit(task, single(node('late', footprint(room + 1)))));
    expect(error.details).toMatchObject({ wantedFrames: room + 1, availableFrames: room, shortfallFrames: 1 });
    expect(memory.allocator.nrFree).toBe(before);
    expect(planner.graph.nodes).toEqual([]);
  });

  it('undoes what was prepared, in reverse, when a later node refuses', async () => {
    const names = ['swap', 'nbd', 'server', 'disk'];
    for (let refuses = 0; refuses < names.length; refuses++) {
      const memory = new Memory(1024);
      const planner = new ReservePlanner(memory);
      const nodes = names.map((name) => node(name, footprint(1)));
      const log: string[] = [];
      const before = snapshot(memory, planner);
      const admission: Admission = {
        candidates: nodes.map((candidate, i) => ({
          node: candidate,
          prepare: async () => {
            if (i === refuses) throw new KernelError('EOPNOTSUPP', `${candidate.name} does not want to`);
            log.push(`+${candidate.name}`);
            return () => void log.push(`-${candidate.name}`);
          },
        })),
        edges: nodes.slice(1).map((to, i) => [nodes[i], to] as const),
      };
      expect((await refusal(planner.admit(task, admission))).code).toBe('EOPNOTSUPP');
      const prepared = names.slice(0, refuses);
      expect(log).toEqual([...prepared.map((name) => `+${name}`), ...prepared.reverse().map((name) => `-${name}`)]);
      expect(snapshot(memory, planner)).toEqual(before);
    }
  });

  it('keeps a node that is needed, or whose account is in use', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const [swap, disk] = [node('swap', footprint(2)), node('disk', footprint(2))];
    await planner.admit(task, { candidates: [{ node: swap }, { node: disk }], edges: [[swap, disk]] });
    expect((await refusal(planner.release(disk))).code).toBe('EBUSY');
    expect(planner.accountOf(swap).charge(2)).toBe(true);
    expect(planner.accountOf(swap).charge(1)).toBe(false);
    expect((await refusal(planner.release(swap))).message).toContain('2 frames');
    planner.accountOf(swap).uncharge(2);
    await planner.release(swap);
    await planner.release(disk);
    expect(planner.explain()).toMatchObject({ nodes: [], reserved: 0, emergency: 0 });
  });

  it('names the cycle, and admits neither node nor frame', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const [client, server, disk] = ['client', 'server', 'disk'].map((name) => node(name, footprint(3)));
    await planner.admit(task, { candidates: [{ node: client }, { node: server }], edges: [[client, server]] });
    const before = snapshot(memory, planner);
    const error = await refusal(
      planner.admit(task, {
        candidates: [{ node: disk }],
        edges: [
          [server, disk],
          [disk, client],
        ],
      }),
    );
    expect(error.code).toBe('EDEADLK');
    expect(error.details.cycle).toEqual(['disk', 'client', 'server', 'disk']);
    expect(snapshot(memory, planner)).toEqual(before);
  });
});
