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
import { settle } from './support.js';

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

  it('sets aside what all its nodes need before anybody is handed a frame', async () => {
    const memory = new Memory(1024);
    const { allocator } = memory;
    const planner = new ReservePlanner(memory);
    const reclaimer = { wakeKswapd: () => {}, directReclaim: () => 0, cleanPass: () => 0, isWorkInFlight: true, inFlight: () => [] };
    allocator.reclaimer = reclaimer as never;
    const held: number[] = [];
    for (let pfn = allocator.allocPage(task, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(task, Gfp.ANON)) held.push(pfn);
    const waiting = Array.from({ length: 100 }, () =>
      Promise.resolve(allocator.allocPageSlow(task, Gfp.ANON)).then((pfn) => held.push(pfn)),
    );
    await settle();
    expect(allocator.nrWaiters).toBe(100);
    reclaimer.isWorkInFlight = false; // admission does not wait for more than there is
    const [a, b] = [node('a', footprint(30)), node('b', footprint(34))];
    expect(allocator.nrFree).toBe(64); // min of 1024 frames, and what the two want
    await planner.admit(task, { candidates: [{ node: a }, { node: b }], edges: [] });
    expect(allocator.nrFree).toBeGreaterThanOrEqual(memory.reserve.emergencyFrames);
    await planner.release(b);
    await planner.release(a);
    expect(allocator.nrFree).toBeGreaterThanOrEqual(memory.reserve.emergencyFrames);
    while (held.length > 0) {
      allocator.freePage(held.pop() as number);
      await settle();
    }
    await Promise.all(waiting);
  });

  it('gives a node that two need one account, and says whose level is lowest', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const [left, right, disk] = [node('left', footprint(1)), node('right', footprint(1)), node('disk', footprint(5, 2))];
    await planner.admit(task, { candidates: [{ node: disk }], edges: [] });
    expect(planner.accountOf(disk).level).toBe(0);
    await planner.admit(task, { candidates: [{ node: left }], edges: [[left, disk]] });
    await planner.admit(task, { candidates: [{ node: right }], edges: [[right, disk]] });
    expect([memory.reserve.limitFrames, memory.reserve.accounts.size]).toEqual([12, 3]);
    expect([left, right, disk].map((each) => planner.accountOf(each).level)).toEqual([1, 1, 0]);
    await planner.admit(task, { candidates: [], edges: [[left, right]] });
    expect([left, right, disk].map((each) => planner.accountOf(each).level)).toEqual([2, 1, 0]);
  });

  it('keeps A free above the accounts, for those who cannot wait', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const ring = node('ring', { ...footprint(90), atomic: [{ what: 'ring refill', frames: 20 }] });
    await planner.admit(task, single(ring));
    expect(planner.explain()).toMatchObject({ reserved: 90, atomic: 20, emergency: 90, min: 110 });
    const { allocator } = memory;
    while (allocator.allocPage(task, Gfp.TRANSIENT) >= 0);
    let refilled = 0;
    while (allocator.allocPage(task, Gfp.TRANSIENT | Gfp.ATOMIC) >= 0) refilled++;
    expect([refilled, allocator.nrFree]).toEqual([20, 90]);
    const ticket = planner.accountOf(ring).units.tryBegin(task);
    let spent = 0;
    while (allocator.allocPage(task.withTicket(ticket), Gfp.TRANSIENT) >= 0) spent++;
    expect([spent, allocator.nrFree]).toEqual([90, 0]);
  });

  it('keeps a node whose units are under way, wanted, or leave a frame behind', async () => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const [user, disk] = [node('user', footprint(1)), node('disk', footprint(2))];
    await planner.admit(task, { candidates: [{ node: user }, { node: disk }], edges: [[user, disk]] });
    const { units } = planner.accountOf(disk);
    const ticket = units.tryBegin(task);
    const error = await refusal(planner.withdraw(disk));
    expect([error.code, error.message, planner.graph.edges.length]).toEqual(['EBUSY', expect.stringContaining('1 units under way'), 1]);
    const pfn = memory.allocator.allocPage(task.withTicket(ticket), Gfp.TRANSIENT);
    expect((await refusal(planner.withdraw(disk))).message).toContain('still holds 1 frames');
    memory.allocator.freePage(pfn);
    ticket?.end();
    await planner.withdraw(disk);
    expect((await refusal(planner.release(disk))).code).toBe('EINVAL');
  });

  it.each([
    ['negative frames', { ...footprint(-1) }],
    ['half a frame', footprint(0.5)],
    ['no number', footprint(Number.NaN)],
    ['no units', footprint(1, 0)],
    ['a billion units', footprint(0, 1e9)],
    ['negative standing frames', { ...footprint(1), standing: [{ what: 'slot', frames: -5 }] }],
    ['more atomic frames than there are numbers', { ...footprint(1), atomic: [{ what: 'ring', frames: 2 ** 60 }] }],
  ])('refuses %s, and edges to strangers, and changes nothing', async (_what, declared) => {
    const memory = new Memory(1024);
    const planner = new ReservePlanner(memory);
    const known = node('known', footprint(1));
    await planner.admit(task, single(known));
    const before = snapshot(memory, planner);
    expect((await refusal(planner.admit(task, single(node('odd', declared))))).code).toBe('EINVAL');
    expect(snapshot(memory, planner)).toEqual(before);
    const stranger = node('stranger', footprint(1));
    expect((await refusal(planner.admit(task, { candidates: [], edges: [[known, stranger]] }))).code).toBe('EINVAL');
    expect(snapshot(memory, planner)).toEqual(before);
  });

  it('names a memory budget that has room', async () => {
    for (const frames of [900, 1500, 4000, 40_000]) {
      const memory = new Memory(1024);
      const error = await refusal(new ReservePlanner(memory).admit(task, single(node('large', footprint(frames)))));
      const bytes = error.details.smallestMemoryBytes as number;
      await new ReservePlanner(new Memory(bytes / 4096)).admit(task, single(node('large', footprint(frames))));
      const less = new ReservePlanner(new Memory(bytes / 4096 - 256));
      expect((await refusal(less.admit(task, single(node('large', footprint(frames)))))).code).toBe('ENOMEM');
    }
  });
});
