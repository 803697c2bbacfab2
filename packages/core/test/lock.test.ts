/** Locks that writeout can wait for (M11): who gets in, in which order, and what is required of whoever takes one. */
import {
  AbortSource,
  Errno,
  Gfp,
  Kernel,
  Lock,
  type LockRule,
  Memory,
  nonePolicy,
  type Reclaimer,
  TaskContext,
  WaitQueue,
  type WaitRegistry,
  type WriteoutNode,
} from '@tidemark/core';
import { host } from '@tidemark/core/host';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle } from './support.js';

const ANYBODY: LockRule = { checkLock: () => {} };
const node = { name: 'ext3:vda' };

function makeLock(rule: LockRule = ANYBODY): Lock {
  return new Lock(node, 'inode 12', rule);
}

/** One thing that happens to a lock in the property below. */
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('ask' as const), isShared: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('abort' as const), which: fc.nat(2) }) },
);

describe('a lock', () => {
  it('lets in one writer or any number of readers, first come first served, whoever gives up', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
        const lock = makeLock();
        // The model: who holds it, who waits, in order.
        interface Asker {
          readonly isShared: boolean;
          readonly source: AbortSource;
          inside: TaskContext | null;
          ended: number | null;
        }
        let holders: Asker[] = [];
        let waiting: Asker[] = [];
        const letIn = (): void => {
          while (waiting.length > 0 && (holders.length === 0 || (waiting[0].isShared && holders.every((each) => each.isShared)))) {
            holders.push(waiting.shift() as Asker);
          }
        };
        let nr = 0;
        for (const each of steps) {
          if (each.kind === 'ask') {
            const source = new AbortSource();
            const asker: Asker = { isShared: each.isShared, source, inside: null, ended: null };
            const task = TaskContext.root(`task ${nr++}`, source.signal);
            const got = each.isShared ? lock.acquireShared(task) : lock.acquire(task);
            void Promise.resolve(got).then((inside) => {
              if (typeof inside === 'number') asker.ended = inside;
              else asker.inside = inside;
            });
            waiting.push(asker);
          } else if (each.kind === 'release' && holders.length > 0) {
            const [asker] = holders.splice(each.which % holders.length, 1);
            lock.release(asker.inside as TaskContext);
            expect((asker.inside as TaskContext).holds(lock)).toBe(false);
          } else if (each.kind === 'abort' && waiting.length > 0) {
            const [asker] = waiting.splice(each.which % waiting.length, 1);
            asker.source.abort();
            await settle();
            expect(asker.ended).toBe(-Errno.EINTR);
          }
          letIn();
          await settle();
          expect([lock.nrHolders, lock.nrWaiters]).toEqual([holders.length, waiting.length]);
          for (const { inside } of holders) expect(inside?.holds(lock)).toBe(true);
          for (const { inside, ended } of waiting) expect([inside, ended]).toEqual([null, null]);
        }
        while (holders.length > 0) {
          for (const { inside } of holders.splice(0)) lock.release(inside as TaskContext);
          letIn();
          await settle();
        }
        holders = waiting = [];
        expect([lock.nrHolders, lock.nrWaiters]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });

  it('is had at once if it is free, and at once or not at all by those who try', () => {
    const lock = makeLock();
    const inside = lock.acquire(TaskContext.root('a')) as TaskContext;
    expect(inside.locks.map((held) => held.lock)).toEqual([lock]);
    expect(lock.tryAcquire(TaskContext.root('b'))).toBeNull();
    lock.release(inside);
    const other = lock.tryAcquire(TaskContext.root('b')) as TaskContext;
    expect(other.holds(lock)).toBe(true);
    lock.release(other);
  });

  it('is not taken twice by one task, nor given back by one that does not hold it', () => {
    const lock = makeLock();
    const inside = lock.acquire(TaskContext.root('a')) as TaskContext;
    expect(lock.acquire(inside.noIo())).toBe(-Errno.EDEADLK);
    expect(lock.acquireShared(inside.within(node))).toBe(-Errno.EDEADLK);
    expect(() => lock.release(TaskContext.root('b'))).toThrow(/b gives back inode 12/);
    lock.release(inside);
    expect(() => lock.release(inside)).toThrow(/does not hold/);
    lock.release(lock.acquire(inside) as TaskContext); // the derivation remembers, and knows that it is over
  });

  it('names its holder in a stall report, down to the cycle', async () => {
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [host] });
    const source = new AbortSource();
    const locks = ['left', 'right'].map((name) => new Lock(node, name, ANYBODY));
    const tasks = ['a', 'b'].map((name) => kernel.task.named(name).withSignal(source.signal));
    const inside = tasks.map((task, i) => locks[i].acquire(task) as TaskContext);
    const waits = inside.map((task, i) => locks[1 - i].acquire(task));
    const { cycles } = kernel.stallReport();
    expect(cycles.map(({ nodes }) => nodes)).toEqual([['lock: left', 'task: a', 'lock: right', 'task: b']]);
    source.abort();
    expect(await Promise.all(waits)).toEqual([-Errno.EINTR, -Errno.EINTR]);
    inside.forEach((task, i) => {
      locks[i].release(task);
    });
    await kernel.shutdown();
  });
});

/** A kernel's memory with a node that has an account of two frames and nothing free above the ordinary floor; reclaim finds nothing. */
function drained() {
  const memory = new Memory(256);
  const { allocator, reserve } = memory;
  const owner: WriteoutNode = { name: 'ext3:vda', kind: 'filesystem', footprint: { standing: [], unit: [], nrUnits: 1 } };
  const account = reserve.open(owner.name, 2, { need: 2, node: owner });
  const other = reserve.open('disk', 2, { need: 2, node: { name: 'disk', kind: 'block-device' } });
  const progress = new WaitQueue({ kind: 'writeback', name: 'any page' });
  const reclaimer: Reclaimer = {
    progress,
    isWorkInFlight: false,
    isHopeless: false,
    wakeKswapd: () => {},
    directReclaim: () => 0,
    cleanPass: () => 0,
    inFlight: () => [],
    noteProgress: () => {},
  };
  allocator.reclaimer = reclaimer;
  const root = TaskContext.root('writer');
  const taken: number[] = [];
  for (let pfn = allocator.allocPage(root, Gfp.ANON); pfn >= 0; pfn = allocator.allocPage(root, Gfp.ANON)) taken.push(pfn);
  const ticket = account.units.tryBegin(root);
  const foreign = other.units.tryBegin(root);
  const seen: string[] = [];
  memory.onViolation = ({ kind, node, message, site }) => {
    seen.push(`${kind} ${node}: ${message}`);
    expect(site).toContain('.ts');
  };
  return { memory, allocator, lock: new Lock(owner, 'inode 12', memory.lockRule), root, ticket, foreign, seen };
}

describe('the waiting rule', () => {
  it('wants a ticket of the node the lock belongs to', () => {
    const { memory, lock, root, ticket, foreign, seen } = drained();
    for (const task of [root, root.withTicket(foreign), root.withTicket(ticket).withTicket(null)]) {
      lock.release(lock.acquire(task) as TaskContext);
      expect(seen.splice(0)).toEqual([
        'unticketed-lock ext3:vda: writer takes inode 12 without a ticket of ext3:vda, whose writeout can wait for it',
      ]);
    }
    expect(memory.counters.lock_unticketed).toBe(3);
    lock.release(lock.acquire(root.withTicket(ticket)) as TaskContext);
    expect(seen).toEqual([]);
  });

  it('is no rule under policies in which a ticket is only a mark', () => {
    const memory = new Memory(256);
    memory.bindPolicy(nonePolicy);
    const lock = new Lock(node, 'inode 12', memory.lockRule);
    lock.release(lock.acquire(TaskContext.root('writer')) as TaskContext);
    expect(memory.counters.lock_unticketed).toBe(0);
  });

  it('throws before the lock is taken, if violations throw', () => {
    const { memory, lock, root } = drained();
    memory.onViolation = ({ message }) => {
      throw new Error(message);
    };
    expect(() => lock.acquire(root)).toThrow(/without a ticket/);
    expect([lock.nrHolders, lock.nrWaiters]).toEqual([0, 0]);
  });

  it('wants the holder to spend its account, and never to wait for ordinary memory', async () => {
    const { memory, allocator, lock, root, ticket, seen } = drained();
    const inside = lock.acquire(root.withTicket(ticket)) as TaskContext;
    const pfn = allocator.allocPageSlow(inside, Gfp.TRANSIENT) as number;
    expect(pfn).toBeGreaterThanOrEqual(0);
    allocator.freePage(pfn);
    expect(seen).toEqual([]);
    expect(await allocator.allocPageSlow(inside.withTicket(null), Gfp.FILE)).toBe(-Errno.ENOMEM);
    await memory.makeRoom(inside.withTicket(null), 8);
    const said = 'wait-under-lock ext3:vda: writer waits for free memory while it holds inode 12, which writeout of ext3:vda can wait for';
    expect(seen.splice(0)).toEqual([said, said]);
    expect(memory.counters.lock_waits).toBe(2);
    lock.release(inside);
    expect(await allocator.allocPageSlow(inside.withTicket(null), Gfp.FILE)).toBe(-Errno.ENOMEM);
    expect(seen).toEqual([]);
  });

  it('tells both places, if the kernel keeps them', async () => {
    const { allocator, lock, root, ticket, seen } = drained();
    const waits = { keepsSites: true, enter: () => null, leave: () => {} } as unknown as WaitRegistry;
    const takeItHere = (task: TaskContext): TaskContext => lock.acquire(task) as TaskContext;
    const inside = takeItHere(TaskContext.root('writer', null, waits).withTicket(ticket));
    expect(root.waits).toBeNull();
    await allocator.allocPageSlow(inside.withTicket(null), Gfp.FILE);
    expect(seen[0]).toMatch(/it was taken at\s[\s\S]*takeItHere/);
    lock.release(inside);
  });
});
