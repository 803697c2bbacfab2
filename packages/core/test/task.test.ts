import { AbortSource, Completion, Errno, errnoOf, isPromise, KernelError, Semaphore, TaskContext, WaitQueue } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle } from './support.js';

const TARGET = { kind: 'test', name: 'thing' };
const root = TaskContext.root('test');

describe('TaskContext', () => {
  it('is narrowed by derivation and never changed', () => {
    const node = { name: 'ext3' };
    const ticket = { account: {} };
    const device = {};
    const inside = root.within(node);
    const all = inside.noIo().asReclaimer().withTicket(ticket).localThrottle(device);
    expect([root.isWithin(node), inside.isWithin(node), all.isWithin(node), all.isWithin({ name: 'ext3' })]).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect([all.mayIo, all.isReclaimer, all.ticket, all.throttledBy, all.name]).toEqual([false, true, ticket, device, 'test']);
    expect([root.mayIo, root.isReclaimer, root.ticket, root.throttledBy, root.scopes.length]).toEqual([true, false, null, null, 0]);
    expect(all.withTicket(null).ticket).toBe(null);
  });

  it('ends its waits with the errno of the reason', async () => {
    const source = new AbortSource();
    const task = root.withSignal(source.signal);
    expect(task.checkSignal()).toBe(0);
    const wait = new WaitQueue(TARGET).wait(task);
    source.abort(new KernelError('ETIMEDOUT', 'too late'));
    source.abort(new KernelError('EIO', 'second'));
    expect(await wait).toBe(-Errno.ETIMEDOUT);
    expect(task.checkSignal()).toBe(-Errno.ETIMEDOUT);
    expect(await new WaitQueue(TARGET).wait(task)).toBe(-Errno.ETIMEDOUT);
  });

  it('takes a real AbortSignal', async () => {
    const controller = new AbortController();
    const queue = new WaitQueue(TARGET);
    const wait = queue.wait(root.withSignal(controller.signal));
    controller.abort();
    expect(await wait).toBe(-Errno.EINTR);
    expect(queue.nrWaiters).toBe(0);
  });
});

/** Steps of a scenario: somebody starts to wait, somebody is woken, a wait is aborted, everything that can run runs. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('wait' as const), n: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('give' as const), n: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('abort' as const), n: fc.nat() }) },
  { weight: 2, arbitrary: fc.constant({ op: 'settle' as const, n: 0 }) },
);

describe('WaitQueue', () => {
  it('wakes in order, each waiter once, and skips those that aborted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 200, size: 'max' }), async (steps) => {
        const queue = new WaitQueue(TARGET);
        const waiting: { id: number; want: number; source: AbortSource }[] = [];
        const results = new Map<number, number>();
        const expected = new Map<number, number>();
        let nextId = 0;
        for (const { op, n } of steps) {
          if (op === 'wait') {
            const id = nextId++;
            const source = new AbortSource();
            waiting.push({ id, want: n, source });
            void queue.wait(root.withSignal(source.signal), n).then((result) => {
              expect(results.has(id)).toBe(false);
              results.set(id, result);
            });
          } else if (op === 'give') {
            const woken = waiting.shift();
            expect(queue.wakeOne(n)).toBe(woken !== undefined);
            if (woken !== undefined) expected.set(woken.id, n);
          } else if (op === 'abort' && waiting.length > 0) {
            const [aborted] = waiting.splice(n % waiting.length, 1);
            aborted.source.abort();
            expected.set(aborted.id, -Errno.EINTR);
          } else await settle();
          expect(queue.nrWaiters).toBe(waiting.length);
          expect(queue.oldestWant).toBe(waiting[0]?.want ?? 0);
          expect(queue.oldest?.signal).toBe(waiting[0]?.source.signal);
        }
        for (const { id } of waiting) expected.set(id, 77);
        queue.wakeAll(77);
        await settle();
        expect(results).toEqual(expected);
        expect([queue.nrWaiters, queue.oldest, queue.wakeOne()]).toEqual([0, null, false]);
      }),
    );
  });

  it('leaves no listener on a signal that outlives the wait', async () => {
    let nrListeners = 0;
    const signal = { aborted: false, addEventListener: () => void nrListeners++, removeEventListener: () => void nrListeners-- };
    const queue = new WaitQueue(TARGET);
    const waits = [1, 2, 3].map(() => queue.wait(root.withSignal(signal)));
    expect(nrListeners).toBe(3);
    queue.wakeAll();
    await Promise.all(waits);
    expect(nrListeners).toBe(0);
  });

  it('keeps its order when a waiter is woken by the very abort that would have ended its wait', async () => {
    const queue = new WaitQueue(TARGET);
    const source = new AbortSource();
    source.signal.addEventListener('abort', () => queue.wakeOne(1));
    const first = queue.wait(root.withSignal(source.signal));
    const others = [queue.wait(root), queue.wait(root)];
    source.abort();
    expect(await first).toBe(1);
    expect(queue.nrWaiters).toBe(2);
    queue.wakeOne(2);
    queue.wakeOne(3);
    expect(await Promise.all(others)).toEqual([2, 3]);
  });

  it('does not wake whoever began to wait during wakeAll', async () => {
    const queue = new WaitQueue(TARGET);
    let again = false;
    void queue.wait(root).then(() => queue.wait(root).then(() => (again = true)));
    queue.wakeAll();
    await settle();
    expect([again, queue.nrWaiters]).toEqual([false, 1]);
  });
});

describe('Semaphore', () => {
  it('hands units out first come first served and loses none, whatever aborts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 150, size: 'max' }), async (count, steps) => {
        const semaphore = new Semaphore(count, TARGET);
        const held: { id: number; units: number }[] = [];
        const open = new Map<number, AbortSource>();
        const ended = new Set<number>();
        const waited: number[] = [];
        let nextId = 0;
        let nrAcquired = 0;
        const acquired = (id: number, units: number): void => {
          held.push({ id, units });
          nrAcquired++;
          open.delete(id);
        };
        for (const { op, n } of steps) {
          if (op === 'wait') {
            const id = nextId++;
            const source = new AbortSource();
            const { nrWaiters } = semaphore;
            const got = semaphore.acquire(root.withSignal(source.signal), n);
            if (n > count) {
              expect(got).toBe(-Errno.EINVAL);
              ended.add(id);
            } else if (!isPromise(got)) {
              expect([got, nrWaiters]).toEqual([0, 0]); // nobody is overtaken
              acquired(id, n);
            } else {
              open.set(id, source);
              void got.then((status) => {
                if (status === 0) {
                  acquired(id, n);
                  waited.push(id);
                } else {
                  expect(status).toBe(-Errno.EINTR);
                  open.delete(id);
                  ended.add(id);
                }
              });
            }
          } else if (op === 'give' && held.length > 0) semaphore.release(held.splice(n % held.length, 1)[0].units);
          else if (op === 'abort' && open.size > 0) [...open.values()][n % open.size].abort();
          else await settle();
          expect(semaphore.available).toBeGreaterThanOrEqual(0);
          const nrHeld = held.reduce((sum, { units }) => sum + units, 0);
          expect(nrHeld + semaphore.available).toBeLessThanOrEqual(count); // the rest is on its way to a waiter
        }
        for (;;) {
          await settle();
          const nrHeld = held.reduce((sum, { units }) => sum + units, 0);
          expect(nrHeld + semaphore.available).toBe(count);
          const last = held.pop();
          if (last === undefined) break;
          semaphore.release(last.units);
        }
        expect([semaphore.available, semaphore.nrWaiters, open.size]).toEqual([count, 0, 0]);
        expect(nrAcquired + ended.size).toBe(nextId);
        expect(waited).toEqual([...waited].sort((a, b) => a - b));
      }),
    );
  });

  it('lets nobody overtake a waiter that wants much', async () => {
    const semaphore = new Semaphore(3, TARGET);
    semaphore.tryAcquire(2);
    const source = new AbortSource();
    const large = semaphore.acquire(root.withSignal(source.signal), 2);
    expect(semaphore.tryAcquire(1)).toBe(false);
    const small = semaphore.acquire(root, 1);
    await settle();
    expect([semaphore.nrWaiters, semaphore.available]).toEqual([2, 1]);
    source.abort();
    expect(await large).toBe(-Errno.EINTR);
    expect(await small).toBe(0); // the abort made room for it
    expect(semaphore.available).toBe(0);
  });

  it('notices units that were never taken', () => {
    const semaphore = new Semaphore(1, TARGET);
    expect(() => semaphore.release()).toThrow('thing: more units given back than taken');
  });
});

describe('Completion', () => {
  it('ends once, for those who waited and for those who come later', async () => {
    const completion = new Completion(TARGET);
    const source = new AbortSource();
    const early = [completion.wait(root), completion.wait(root.withSignal(source.signal)), completion.wait(root)];
    expect(completion.isDone).toBe(false);
    source.abort();
    completion.complete(-Errno.EIO);
    completion.complete(0);
    expect(await Promise.all(early)).toEqual([-Errno.EIO, -Errno.EINTR, -Errno.EIO]);
    expect(completion.wait(root)).toBe(-Errno.EIO);
    expect(completion.isDone).toBe(true);
  });

  it('ends well with 0', () => {
    const completion = new Completion(TARGET);
    completion.complete();
    expect(completion.wait(root)).toBe(0);
  });
});

describe('AbortSource', () => {
  it('tells each listener once, and none that left', () => {
    const source = new AbortSource();
    const heard: string[] = [];
    const gone = (): void => void heard.push('gone');
    source.signal.addEventListener('abort', () => heard.push('here'));
    source.signal.addEventListener('abort', gone);
    source.signal.removeEventListener('abort', gone);
    source.abort('why');
    source.abort('again');
    expect([heard, source.signal.aborted, source.signal.reason]).toEqual([['here'], true, 'why']);
    expect(errnoOf(source.signal.reason)).toBe(-Errno.EIO);
  });
});
