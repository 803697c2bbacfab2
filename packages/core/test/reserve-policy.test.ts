/** Reserve policies (M23): whose floor is where (M2, M3, M4), what becomes of whom, and what a kernel is booted with. */
import {
  Gfp,
  isPromise,
  Kernel,
  limitsPolicy,
  limitsPolicyByHand,
  levelFloors,
  Memory,
  memallocFloor,
  memallocPolicy,
  type MemallocCaller,
  NONE,
  nonePolicy,
  OnNo,
  PG,
  RESERVE_POLICY,
  RESERVE_POLICY_NAMES,
  ReservePlanner,
  type ReservePolicyFactory,
  reservePolicyNamed,
  TaskContext,
  WaitRegistry,
  type WriteoutNode,
  vmioPolicy,
  definePlugin,
} from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { describe, expect, it } from 'vitest';
import { ManualClock, settle } from './support.js';

const task = TaskContext.root('ordinary');
const marked = task.asReclaimer();
const FLAGS = Gfp.TRANSIENT;

function memoryUnder(policy: ReservePolicyFactory, nrFrames = 2048, clock: ManualClock | null = null): Memory {
  const memory = new Memory(nrFrames);
  memory.bindPolicy(policy, clock);
  return memory;
}

/** Takes frames until the caller gets none. @returns how many it got. */
function drain({ allocator }: Memory, by: TaskContext, gfp: number = FLAGS): number[] {
  const got: number[] = [];
  for (let pfn = allocator.allocPage(by, gfp); pfn >= 0; pfn = allocator.allocPage(by, gfp)) got.push(pfn);
  return got;
}

function node(name: string, need: number, kind = 'model', nrUnits = 1): WriteoutNode {
  return { name, kind, footprint: { standing: [], unit: [{ what: 'request', frames: need }], nrUnits } };
}

/** Admits a chain of nodes, the first on top. */
async function admitChain(memory: Memory, ...nodes: WriteoutNode[]): Promise<ReservePlanner> {
  const planner = new ReservePlanner(memory);
  const edges = nodes.slice(1).map((to, i) => [nodes[i], to] as const);
  await planner.admit(task, { candidates: nodes.map((each) => ({ node: each })), edges });
  return planner;
}

describe('memalloc (M2)', () => {
  it.each<[MemallocCaller, number, number]>([
    ['ordinary', 1024, 1524],
    ['high', 512, 762],
    ['atomic', 384, 572],
    ['victim', 512, 762],
    ['victimAtomic', 192, 286],
    ['marked', 0, 0],
  ])('has the floor of the table for %s', (caller, of1024, of1524) => {
    expect(memallocFloor(1024, caller)).toBe(of1024);
    expect(memallocFloor(1524, caller)).toBe(of1524);
  });

  it('decides in order: never from reserves, then the mark, then the shares', () => {
    const memory = memoryUnder(memallocPolicy());
    const { allocator, reserve } = memory;
    const { min } = allocator.watermarks;
    const ticketed = task.withTicket(reserve.open('node', 0).units.tryBegin(task));
    const floors = [task, marked, ticketed].flatMap((by) =>
      [0, Gfp.ATOMIC, Gfp.NO_RESERVE, Gfp.ATOMIC | Gfp.NO_RESERVE].map((gfp) => allocator.floorOf(by, gfp)),
    );
    const three = Math.ceil((min * 3) / 8);
    expect(floors).toEqual([min, three, min, min, 0, 0, min, min, 0, 0, min, min]);
    expect(reserve.policy.onNo(marked, 0)).toBe(OnNo.FAIL);
    expect(reserve.policy.onNo(task, 0)).toBe(OnNo.RECLAIM);
  });

  it('lets a marked task take all there is, tags what only the mark got, and then fails it at once', () => {
    const memory = memoryUnder(memallocPolicy());
    const { allocator, frames } = memory;
    drain(memory, task);
    const { min } = allocator.watermarks;
    expect(allocator.nrFree).toBe(min);
    const atomic = drain(memory, task, FLAGS | Gfp.ATOMIC);
    expect(allocator.nrFree).toBe(Math.ceil((min * 3) / 8));
    const got = drain(memory, marked);
    expect(allocator.nrFree).toBe(0);
    expect(allocator.allocPageSlow(marked, FLAGS)).toBe(NONE);
    expect(atomic.every((pfn) => (frames.flags[pfn] & PG.RESERVE) === 0)).toBe(true);
    expect(got.every((pfn) => (frames.flags[pfn] & PG.RESERVE) !== 0)).toBe(true);
    allocator.freePage(got[0]);
    expect(frames.flags[got[0]] & PG.RESERVE).toBe(0);
  });

  it('of a marked task does not tag what anybody could have had', () => {
    const memory = memoryUnder(memallocPolicy());
    const pfn = memory.allocator.allocPage(marked, FLAGS);
    expect(memory.frames.flags[pfn] & PG.RESERVE).toBe(0);
  });

  it('with shares of min loses 214 of 500 frames to an atomic victim; absolute floors lose none (M3)', () => {
    const wanted = 500;
    const fractions: ReservePolicyFactory = (memory) => ({
      ...memallocPolicy()(memory),
      floorOf: (by) => memallocFloor(memory.min, by === task ? 'victimAtomic' : 'marked'),
    });
    const off = new Memory(8192, undefined, { minFrames: 1024 + wanted });
    off.bindPolicy(fractions);
    drain(off, task);
    expect(wanted - drain(off, marked).length).toBe(214);

    const on = new Memory(8192, undefined, { minFrames: 1024 + wanted });
    const account = on.reserve.open('swap', wanted);
    drain(on, task, FLAGS | Gfp.ATOMIC);
    expect(drain(on, marked.withTicket(account.units.tryBegin(task)))).toHaveLength(wanted);
  });

  it('with halfThrottle holds ordinary callers up while no more than half of min is free, a lock holder for a second at most', async () => {
    const clock = new ManualClock();
    const memory = memoryUnder(memallocPolicy({ halfThrottle: true }), 2048, clock);
    const { allocator } = memory;
    let reclaims = 0;
    const reclaimer = {
      wakeKswapd: () => {},
      cleanPass: () => 0,
      isWorkInFlight: true,
      isHopeless: false,
      inFlight: () => [],
      noteProgress: () => {},
      directReclaim: () => {
        reclaims++;
        return 0;
      },
    };
    allocator.reclaimer = reclaimer as never;
    const waits = new WaitRegistry(() => clock.nowMs());
    const nrThrottled = (): number => [...waits].filter(({ target }) => target.name === 'free above half of min').length;
    const watched = TaskContext.root('watched', null, waits);
    drain(memory, task);
    const got = drain(memory, marked);
    const plain = allocator.allocPageSlow(watched, FLAGS);
    const locked = allocator.allocPageSlow(watched.noIo(), FLAGS);
    await settle();
    expect([reclaims, nrThrottled()]).toEqual([0, 2]);
    clock.advance(1000);
    await settle();
    expect([reclaims, nrThrottled()]).toEqual([1, 1]);
    const half = allocator.watermarks.min >>> 1;
    while (allocator.nrFree <= half) allocator.freePage(got.pop() as number);
    await settle();
    expect([reclaims, nrThrottled()]).toEqual([2, 0]);
    while (got.length > 0) allocator.freePage(got.pop() as number);
    for (const pfn of drain(memory, marked)) allocator.freePage(pfn);
    expect([allocator.nrWaiters, allocator.nrFree]).toEqual([2, allocator.watermarks.min]); // past the throttle they wait as anybody
    expect([isPromise(plain), isPromise(locked)]).toEqual([true, true]);
    reclaimer.isHopeless = true; // nobody is held up for the sake of one that has given up
    drain(memory, marked);
    void allocator.allocPageSlow(watched, FLAGS);
    await settle();
    expect([nrThrottled(), clock.nrPendingTimers]).toEqual([0, 0]);
  });
});

describe('none', () => {
  it('stops everybody at min, and admits whatever it is', async () => {
    const memory = memoryUnder(nonePolicy);
    const before = memory.allocator.watermarks;
    const planner = await admitChain(memory, node('swap', 100_000, 'swap-area'), node('disk', 5));
    expect(memory.allocator.watermarks).toEqual(before);
    const [swap] = planner.graph.nodes;
    const { units } = planner.accountOf(swap);
    const tickets = [1, 2, 3].map(() => units.tryBegin(task)); // one was declared; nobody bounds them
    expect(tickets.every((ticket) => ticket !== null)).toBe(true);
    for (const by of [task, marked, task.withTicket(tickets[0])]) drain(memory, by, FLAGS | Gfp.ATOMIC);
    expect(memory.allocator.nrFree).toBe(before.min);
  });
});

describe('limits (M4)', () => {
  /** The worked example: needs from the bottom up. */
  const chain = (): WriteoutNode[] => [2, 2, 1, 131, 2, 2, 2, 1].map((need, level) => node(`level ${level}`, need)).reverse();

  it('has the floors of the worked example', async () => {
    const memory = memoryUnder(limitsPolicy);
    const planner = await admitChain(memory, ...chain());
    const accounts = planner.graph.nodes.map((each) => planner.accountOf(each));
    expect(levelFloors(accounts, 16)).toEqual([16, 18, 20, 21, 152, 154, 156, 158, 159]);
    expect(memory.allocator.watermarks.min).toBe(159 - 16);
    expect(memory.reserve.limitFrames).toBe(0);
    const floors = planner.graph.nodes.map((each) => memory.allocator.floorOf(task.within(each)));
    expect(floors).toEqual([142, 140, 138, 136, 5, 4, 2, 0]);
    expect(memory.allocator.floorOf(task)).toBe(143);
    expect(memory.allocator.floorOf(task.within(planner.graph.nodes[0]), Gfp.ATOMIC)).toBe(0);
  });

  it('leaves each level what the one below needs, whoever drains', async () => {
    const memory = memoryUnder(limitsPolicy);
    const planner = await admitChain(memory, ...chain());
    drain(memory, task);
    for (const [i, each] of planner.graph.nodes.entries()) {
      const below = planner.graph.nodes[i + 1];
      drain(memory, task.within(each));
      expect(memory.allocator.nrFree).toBe(memory.allocator.floorOf(task.within(each)));
      if (below !== undefined) {
        const gap = memory.allocator.nrFree - memory.allocator.floorOf(task.within(below));
        expect(gap).toBeGreaterThanOrEqual(below.footprint.unit[0].frames);
      }
    }
  });

  it('runs one unit at a time below the limit of the upper neighbour, any number above', async () => {
    const memory = memoryUnder(limitsPolicyByHand([0, 60, 120]));
    const planner = await admitChain(memory, node('top', 60), node('bottom', 60, 'model', 4));
    const [top, bottom] = planner.graph.nodes.map((each) => planner.accountOf(each).units);
    expect(memory.allocator.watermarks.min).toBe(120);
    const many = Array.from({ length: 6 }, () => bottom.tryBegin(task));
    expect(many.every((ticket) => ticket !== null)).toBe(true);
    for (const ticket of many) ticket?.end();
    drain(memory, task); // free = 120, the limit of ordinary tasks: the upper neighbour of the top
    expect([top.tryBegin(task), top.tryBegin(task)].filter((ticket) => ticket !== null)).toHaveLength(1);
    drain(memory, task.within(planner.graph.nodes[0])); // free = 60, the limit of the top
    const first = bottom.tryBegin(task);
    expect(first).not.toBe(null);
    const second = bottom.begin(task);
    await settle();
    expect(bottom.nrWaiters).toBe(1);
    first?.end();
    expect(await second).toMatchObject({ isOut: true });
  });

  it('lets nobody begin a unit in front of one that waits, when there is memory again', async () => {
    const memory = memoryUnder(limitsPolicyByHand([0, 60, 120]));
    const planner = await admitChain(memory, node('top', 60), node('bottom', 60));
    const { units } = planner.accountOf(planner.graph.nodes[0]);
    const held = drain(memory, task);
    const first = units.tryBegin(task);
    const waiting = units.begin(task);
    await settle();
    for (const pfn of held) memory.allocator.freePage(pfn);
    expect(units.tryBegin(task)).toBe(null);
    first?.end();
    expect(await waiting).toMatchObject({ isOut: true });
    expect(units.tryBegin(task)).not.toBe(null);
  });

  /** Two nodes with limits of 60 and 0, two units of the lower one, and free memory at the limit of the upper one. */
  async function atTheGap() {
    const memory = memoryUnder(limitsPolicyByHand([0, 60, 120]));
    const planner = await admitChain(memory, node('top', 60), node('bottom', 60));
    const [top, bottom] = planner.graph.nodes;
    const { units } = planner.accountOf(bottom);
    const [first, second] = [units.tryBegin(task), units.tryBegin(task)].map((ticket) => task.withTicket(ticket));
    const upper = task.within(top);
    const ordinary = [...drain(memory, task), ...drain(memory, upper)];
    expect(memory.allocator.nrFree).toBe(60);
    return { memory, allocator: memory.allocator, upper, first, second, ordinary };
  }

  it('gives frames below the limit of the upper neighbour to one unit at a time, until it has given all of them back; above to any', async () => {
    const { memory, allocator, upper, first, second, ordinary } = await atTheGap();
    const gap = [1, 2, 3].map(() => allocator.allocPage(first, FLAGS));
    expect(gap.every((pfn) => pfn >= 0 && (memory.frames.flags[pfn] & PG.RESERVE) !== 0)).toBe(true);
    expect(allocator.allocPage(second, FLAGS)).toBe(NONE);
    for (const pfn of ordinary.splice(0, 5)) allocator.freePage(pfn);
    const above = [second, first].map((by) => allocator.allocPage(by, FLAGS)); // free was 62 and 61
    expect(above.every((pfn) => pfn >= 0 && (memory.frames.flags[pfn] & PG.RESERVE) === 0)).toBe(true);
    for (const pfn of gap) {
      expect(allocator.allocPage(second, FLAGS)).toBe(NONE);
      allocator.freePage(pfn);
      drain(memory, upper); // back to its limit
    }
    expect(allocator.allocPage(second, FLAGS)).toBeGreaterThanOrEqual(0);
    expect(allocator.allocPage(first, FLAGS)).toBe(NONE);
  });

  it('serves the unit that has the gap before one that waits for it, however long', async () => {
    const { memory, allocator, first, second } = await atTheGap();
    const gap = drain(memory, first);
    expect(gap).toHaveLength(60);
    const order: string[] = [];
    void Promise.resolve(allocator.allocPageSlow(second, FLAGS)).then(() => order.push('second'));
    void Promise.resolve(allocator.allocPageSlow(first, FLAGS)).then((pfn) => {
      order.push('first');
      gap.push(pfn);
    });
    allocator.freePage(gap.pop() as number);
    await settle();
    expect(order).toEqual(['first']);
    for (const pfn of gap) allocator.freePage(pfn);
    await settle();
    expect([order, allocator.nrFree]).toEqual([['first', 'second'], 59]);
  });

  it('has who waits for the gap go on when a unit leaves its frame as cache', async () => {
    const { memory, allocator, first, second } = await atTheGap();
    const kept = allocator.allocPage(first, FLAGS);
    let got = NONE;
    void Promise.resolve(allocator.allocPageSlow(second, FLAGS)).then((pfn) => {
      got = pfn;
    });
    expect(allocator.exchange(kept)).toBe(true);
    await settle();
    expect(got).toBeGreaterThanOrEqual(0);
    expect(memory.frames.flags[kept] & (PG.COUNTED | PG.RESERVE)).toBe(0);
  });

  it('has a task wait for its own floor, the lowest level first', async () => {
    const memory = memoryUnder(limitsPolicyByHand([0, 60, 120]));
    const planner = await admitChain(memory, node('top', 60), node('bottom', 60));
    const [top, bottom] = planner.graph.nodes.map((each) => task.within(each));
    const held = drain(memory, task);
    const reserved = drain(memory, bottom);
    expect(memory.allocator.nrFree).toBe(0);
    const order: string[] = [];
    void Promise.resolve(memory.allocator.allocPageSlow(top, FLAGS)).then(() => order.push('top'));
    void Promise.resolve(memory.allocator.allocPageSlow(bottom, FLAGS)).then(() => order.push('bottom'));
    memory.allocator.freePage(reserved.pop() as number);
    await settle();
    expect(order).toEqual(['bottom']);
    for (const pfn of [...reserved, ...held.slice(0, 1)]) memory.allocator.freePage(pfn);
    await settle();
    expect(order).toEqual(['bottom', 'top']);
  });
});

describe('vmio', () => {
  it('has accounts for what a swap area reaches, from then on and no longer, on top of every mark', async () => {
    const memory = memoryUnder(vmioPolicy);
    const base = memory.allocator.watermarks.min;
    const [swap, nbd, disk] = [node('swap', 0, 'swap-area'), node('nbd', 7), node('disk', 9)];
    const planner = await admitChain(memory, nbd);
    await planner.admit(task, { candidates: [{ node: disk }], edges: [] });
    expect([planner.accountOf(nbd).limitFrames, memory.allocator.watermarks.min]).toEqual([0, base]);
    await planner.admit(task, { candidates: [{ node: swap }], edges: [[swap, nbd]] });
    expect([planner.accountOf(nbd).limitFrames, planner.accountOf(disk).limitFrames]).toEqual([7, 0]);
    expect(memory.allocator.watermarks.min).toBe(base + 7);
    expect(memory.reserve.emergencyFrames).toBe(7);
    await planner.release(swap);
    expect([planner.accountOf(nbd).limitFrames, memory.allocator.watermarks.min]).toEqual([0, base]);
  });

  it('lets reclaim have all but the accounts, and the accounts the rest', async () => {
    const memory = memoryUnder(vmioPolicy);
    const [swap, nbd] = [node('swap', 0, 'swap-area'), node('nbd', 7)];
    const planner = await admitChain(memory, swap, nbd);
    drain(memory, task);
    drain(memory, task, FLAGS | Gfp.ATOMIC);
    drain(memory, marked);
    expect(memory.allocator.nrFree).toBe(7);
    const ticket = planner.accountOf(nbd).units.tryBegin(task);
    expect(drain(memory, task.withTicket(ticket))).toHaveLength(7);
  });
});

describe('the choice', () => {
  it('is composed, or what is named, or what a plugin registers; the reclaim rule goes with it', async () => {
    const names: string[] = [];
    const registered = definePlugin({
      name: 'policy',
      register: (container) => container.register(RESERVE_POLICY, { useValue: nonePolicy }),
    });
    for (const options of [{ plugins: [host] }, { plugins: [host], policy: 'vmio' as const }, { plugins: [host, registered] }]) {
      const kernel = await Kernel.boot({ memory: '4MiB', ...options });
      names.push(kernel.memory.reserve.policy.name, kernel.memory.reserve.policy.reclaimRule);
      await kernel.shutdown();
    }
    expect(names).toEqual(['composed', 'reach', 'vmio', 'nofs', 'none', 'nofs']);
  });

  it('refuses a name nobody knows, naming those it knows, and a change when nodes are admitted', async () => {
    expect(() => reservePolicyNamed('toString')).toThrow(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(RESERVE_POLICY_NAMES.join(', ')) }),
    );
    await expect(Kernel.boot({ memory: '4MiB', policy: 'best' as never, plugins: [host] })).rejects.toMatchObject({ code: 'EINVAL' });
    const memory = new Memory(256);
    memory.reserve.open('node', 1);
    expect(() => memory.bindPolicy(nonePolicy)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
  });

  it.each(RESERVE_POLICY_NAMES)('%s keeps what accounts may ask for free, at every step', async (name) => {
    const memory = memoryUnder(reservePolicyNamed(name), 1024);
    const planner = await admitChain(memory, node('swap', 3, 'swap-area', 4), node('nbd', 5, 'model', 2), node('server', 7));
    const callers = [task, marked, ...planner.graph.nodes.map((each) => task.within(each))];
    for (const each of planner.graph.nodes) {
      const ticket = planner.accountOf(each).units.tryBegin(task);
      callers.push(task.withTicket(ticket), marked.withTicket(ticket));
    }
    let state = 7;
    const random = (n: number): number => {
      state = (state * 1103515245 + 12345) & 0x7fffffff;
      return (state >>> 8) % n;
    };
    const held: number[] = [];
    for (let step = 0; step < 4000; step++) {
      if (held.length > 0 && random(5) === 0) memory.allocator.freePage(held.splice(random(held.length), 1)[0]);
      else {
        const by = callers[random(callers.length)];
        const pfn = memory.allocator.allocPage(by, FLAGS | (random(3) === 0 ? Gfp.ATOMIC : 0));
        if (pfn >= 0) held.push(pfn);
      }
      expect(memory.allocator.nrFree).toBeGreaterThanOrEqual(memory.reserve.emergencyFrames);
    }
    for (const pfn of held) memory.allocator.freePage(pfn);
    expect(memory.reserve.usageFrames).toBe(0);
    for (const each of planner.graph.nodes) expect(planner.accountOf(each).heldFrames).toBe(0);
  });
});
