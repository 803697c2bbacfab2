/** The watchdog: stalls are reported, with what waits; healthy waits, idle times and the end of a kernel are not. */
import {
  type Bio,
  BioPool,
  formatStallReport,
  Kernel,
  type KernelError,
  Semaphore,
  type StallReport,
  TaskContext,
  WaitQueue,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtualTime, virtualHost } from './support/virtual-time.js';

async function boot(quietMs: number, options: { waitSites?: boolean } = {}) {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time)], watchdog: { quietMs }, ...options });
  const reports: StallReport[] = [];
  kernel.trace.on('stall', (report) => reports.push(report));
  return { time, kernel, reports };
}

describe('the watchdog', () => {
  it('reports a wait that nothing ends, again after each quiet period, and stops with the wait', async () => {
    const { time, kernel, reports } = await boot(1_000);
    const queue = new WaitQueue({ kind: 'lock', name: 'held for ever' });
    const wait = queue.wait(kernel.task.named('writer'));
    await time.advance(900);
    expect(reports).toEqual([]);
    await time.advance(200);
    expect(reports).toHaveLength(1);
    expect(reports[0].waiters).toMatchObject([{ task: 'writer', level: null, waitsFor: 'lock: held for ever', sinceMs: 0, site: null }]);
    expect(formatStallReport(reports[0])).toContain('writer waits for lock: held for ever (1000 ms)');
    await time.advance(3_000);
    expect(reports).toHaveLength(4);
    expect(kernel.watchdog.nrStalls).toBe(4);
    queue.wakeAll();
    await wait;
    expect(time.nrPendingTimers).toBe(0);
    await time.advance(10_000);
    expect(reports).toHaveLength(4);
  });

  it('takes any page written or brought in for the first time as a sign of life', async () => {
    const { time, kernel, reports } = await boot(1_000);
    const { counters } = kernel.memory;
    void new WaitQueue({ kind: 'lock', name: 'slow' }).wait(kernel.task);
    for (const counter of ['pswpout', 'swpout_zero', 'nr_written', 'pswpin', 'swpin_zero', 'pgmajfault'] as const) {
      counters[counter]++;
      await time.advance(1_000);
    }
    expect(reports).toEqual([]);
    counters.pswpout++;
    counters.swpout_again++; // once more is none
    await time.advance(1_000);
    expect(reports).toHaveLength(1);
    expect((await kernel.shutdown({ timeoutMs: 1 })).leakedTimers).toBe(0);
  });

  it('takes a loss for no sign of life, nor what only makes up for it', async () => {
    const { time, kernel, reports } = await boot(1_000);
    const { counters } = kernel.memory;
    counters.pswpout = 10;
    void new WaitQueue({ kind: 'lock', name: 'slow' }).wait(kernel.task);
    await time.advance(500);
    counters.swpout_again += 4; // the server had lost them
    await time.advance(501);
    expect(reports).toHaveLength(1);
    counters.pswpout += 4;
    await time.advance(1_000);
    expect(reports).toHaveLength(2);
    counters.pswpout++;
    await time.advance(1_000);
    expect(reports).toHaveLength(2);
    expect((await kernel.shutdown({ timeoutMs: 1 })).leakedTimers).toBe(0);
  });

  it('is not misled by a task that is woken, finds nothing and waits again', async () => {
    const { time, kernel, reports } = await boot(1_000);
    const queue = new WaitQueue({ kind: 'frames', name: 'none' });
    for (let i = 0; i < 12; i++) {
      void queue.wait(kernel.task);
      await time.advance(100);
      queue.wakeAll();
    }
    expect(reports).toHaveLength(1);
  });

  it('counts no time in which nobody waits, and sets no timer then', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ waitMs: fc.integer({ min: 1, max: 99 }), idleMs: fc.integer({ min: 1, max: 5_000 }) }), { maxLength: 10 }),
        async (rounds) => {
          const { time, kernel, reports } = await boot(1_000);
          const queue = new WaitQueue({ kind: 'lock', name: 'busy' });
          for (const { waitMs, idleMs } of rounds) {
            void queue.wait(kernel.task);
            expect(time.nrPendingTimers).toBe(1);
            await time.advance(waitMs);
            queue.wakeAll();
            expect(time.nrPendingTimers).toBe(0);
            await time.advance(idleMs);
          }
          expect(reports).toEqual([]);
        },
      ),
    );
  });

  it('watches when told to, no more when told so, and only waits of its kernel', async () => {
    const time = new VirtualTime();
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time)] });
    const queue = new WaitQueue({ kind: 'lock', name: 'held' });
    void queue.wait(TaskContext.root('of no kernel'));
    void queue.wait(kernel.task);
    expect(time.nrPendingTimers).toBe(0);
    kernel.watchdog.start({ quietMs: 10 });
    await time.advance(25);
    expect(kernel.watchdog.nrStalls).toBe(2);
    kernel.watchdog.stop();
    expect(time.nrPendingTimers).toBe(0);
    await time.advance(100);
    expect(kernel.watchdog.nrStalls).toBe(2);
    for (const quietMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => kernel.watchdog.start({ quietMs })).toThrow(expect.objectContaining({ code: 'EINVAL' } satisfies Partial<KernelError>));
    }
  });
});

describe('the report of a wait', () => {
  it('names the site if the kernel keeps sites, and the level of the innermost node', async () => {
    const { time, kernel, reports } = await boot(1_000, { waitSites: true });
    const nodes = ['top', 'bottom'].map((name) => ({ name, kind: 'model', footprint: { standing: [], unit: [], nrUnits: 1 } }));
    await kernel.reserves.admit(kernel.task, { candidates: nodes.map((node) => ({ node })), edges: [[nodes[0], nodes[1]]] });
    const queue = new WaitQueue({ kind: 'lock', name: 'held' });
    const waitInHere = (task: TaskContext): void => void queue.wait(task);
    waitInHere(kernel.task.within(nodes[0]));
    waitInHere(kernel.task.within(nodes[0]).within(nodes[1]).within({ name: 'no node' }));
    await time.advance(1_000);
    expect(reports[0].waiters.map(({ level }) => level)).toEqual([1, 0]);
    for (const { site } of reports[0].waiters) expect(site).toMatch(/^waitInHere \(watchdog\.test\.ts:\d+\)$/);
    expect(formatStallReport(reports[0])).toMatch(/\(level 1\) waits for lock: held \(1000 ms\), in waitInHere \(/);
  });

  it('names who has a semaphore of one, whoever got it at once or after a wait', async () => {
    const { kernel } = await boot(1_000);
    const lock = new Semaphore(1, { kind: 'lock', name: 'a' });
    await lock.acquire(kernel.task.named('first'));
    const second = lock.acquire(kernel.task.named('second'));
    void lock.acquire(kernel.task.named('third'));
    expect(kernel.stallReport().ends).toEqual(['task: first']);
    lock.release();
    await second;
    expect(kernel.stallReport()).toMatchObject({ ends: ['task: second'], waiters: [{ task: 'third' }] });
    const other = new Semaphore(1, { kind: 'lock', name: 'b' });
    await other.acquire(kernel.task.named('third'));
    void other.acquire(kernel.task.named('second'));
    expect(kernel.stallReport().cycles.map(({ nodes }) => nodes)).toEqual([['lock: a', 'task: second', 'lock: b', 'task: third']]);
  });

  it('leads from who waits for a bio to the device that has them all', async () => {
    const { kernel } = await boot(1_000);
    const device = { kind: 'block-device', name: 'busy' };
    const pool = new BioPool(kernel.memory, 'bios of busy', 1, 1, device);
    const bio = pool.tryGet() as Bio;
    const wanted = pool.get(kernel.task);
    expect(kernel.stallReport().edges).toEqual([
      ['task: kernel', 'mempool: bios of busy'],
      ['mempool: bios of busy', 'block-device: busy'],
    ]);
    pool.put(bio);
    pool.put((await wanted) as Bio);
    pool.dispose();
  });
});
