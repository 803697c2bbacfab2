/** Writeback (M10): flushers, limits, throttling, units, and errors told once to each opener. */
import {
  DirtyLimits,
  Errno,
  FrameClass,
  hardDirtyLimits,
  type Kernel,
  Memory,
  PAGE_SIZE,
  type PageCache,
  TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import { FileBacking } from './support/file-backing.js';
import { addFile, bootFile } from './support/file-world.js';
import { firstDifference, pattern } from './support/pattern.js';
import { seeded } from './support/virtual-time.js';

const page = new Uint8Array(PAGE_SIZE).fill(7);
const CLEAN = { leakedFrames: 0, leakedTimers: 0, problems: [] };

/** A node that was admitted, with as many units. */
async function admit(kernel: Kernel, name: string, nrUnits: number, frames = 0): Promise<WriteoutNode> {
  const node: WriteoutNode = { name, kind: 'filesystem', footprint: { standing: [], unit: [{ what: 'test', frames }], nrUnits } };
  await kernel.reserves.admit(kernel.task, { candidates: [{ node }], edges: [] });
  return node;
}

async function writePages(cache: PageCache, task: TaskContext, first: number, count: number): Promise<void> {
  for (let index = first; index < first + count; index++) expect(await cache.write(task, index * PAGE_SIZE, page)).toBe(PAGE_SIZE);
}

describe('the flusher', () => {
  it('writes what has been dirty for 30 s, within 5 s, and then rests', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    await time.run(writePages(cache, kernel.task, 0, 2));
    await time.advance(29_000);
    expect(file.counts.write).toBe(0);
    await time.advance(6_100);
    expect(file.counts.write).toBe(1);
    expect(cache.nrDirty).toBe(0);
    expect(time.nrPendingTimers).toBe(0);
    await time.run(writePages(cache, kernel.task, 5, 1));
    expect(time.nrPendingTimers).toBe(1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('writes at once what is over the background limit, and no more', async () => {
    const { time, kernel, cache } = await bootFile('4MiB');
    await time.run(writePages(cache, kernel.task, 0, 300));
    await time.advance(1000);
    const { nrDirty } = kernel.memory.fileCounts;
    const { allocator } = kernel.memory;
    const background = Math.floor(((allocator.nrFree - allocator.high + allocator.classCount(FrameClass.FILE) + 1) * 10) / 100);
    expect(nrDirty).toBeLessThanOrEqual(background);
    expect(nrDirty).toBeGreaterThan(0);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('leaves the device to a sync while there is one', async () => {
    const device = {};
    const { time, kernel, file, cache } = await bootFile('1MiB', { device });
    const other = new FileBacking({ arena: kernel.memory.arena, time, device });
    const second = addFile(kernel, other, 'other');
    await time.run(writePages(cache, kernel.task, 0, 1));
    await time.run(writePages(second, kernel.task, 0, 1));
    file.isSilent = true;
    const syncing = cache.sync(kernel.task);
    await time.advance(60_000);
    expect(other.counts.write).toBe(0);
    file.resume();
    expect(await time.run(syncing)).toBe(0);
    await time.advance(10_000);
    expect(other.counts.write).toBe(1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });
});

describe('the limit', () => {
  it('is what the arithmetic of M10 says: up at once, down by a 32nd of the way every 200 ms', () => {
    const limits = new DirtyLimits();
    const levels = (nrFree: number, nrFile: number, nrDirty: number) => ({ nrFree, nrFile, nrDirty, high: 100 });
    expect(limits.threshold(levels(1099, 0, 0))).toBe(200);
    expect(limits.background(levels(1099, 0, 0))).toBe(100);
    expect(limits.freerun(levels(1099, 0, 0))).toBe(150);
    expect(limits.threshold(levels(50, 499, 0))).toBe(100);
    let ceiling = 2000;
    expect(limits.limit(levels(10_099, 0, 0), 1000)).toBe(2000);
    for (let step = 1; step < 400; step++) {
      const floor = Math.max(200, 500 - step);
      if (ceiling > floor) ceiling -= Math.max(Math.floor((ceiling - floor) / 32), 1);
      expect(limits.limit(levels(1099, 0, 500 - step), 1000 + step * 200)).toBe(Math.max(200, ceiling));
    }
    expect(limits.limit(levels(20_099, 0, 0), 200_000)).toBe(4000);
  });
});

describe('dirtyable memory (M10)', () => {
  it('is no larger for anonymous memory', () => {
    const memory = new Memory(1024);
    const clock = { nowMs: () => 0, nrPendingTimers: 0, setTimer: () => ({}), clearTimer: () => {} };
    const limits = hardDirtyLimits({ memory, clock, dirtyBackings: new Set(), wakeFlushers: () => {} });
    const { allocator, fileCounts } = memory;
    fileCounts.nrDirty = 1024;
    const background = (): number => 1024 - limits.nrOverBackground;
    const before = background();
    const task = TaskContext.root('test');
    const file = Array.from({ length: 200 }, () => allocator.allocPage(task, FrameClass.FILE));
    expect(background()).toBe(before); // clean file pages are as good as free
    for (const pfn of file) allocator.freePage(pfn);
    for (let i = 0; i < 200; i++) allocator.allocPage(task, FrameClass.ANON);
    expect(background()).toBe(before - 20);
  });
});

describe('dirty throttling', () => {
  it('counts what writers have the word for and have not made dirty yet', async () => {
    const { time, kernel } = await bootFile('4MiB');
    const { throttle } = kernel.writeback;
    const backings = [1, 2].map((n) => kernel.writeback.backingOf({}, { name: `device ${n}` }));
    const nrGranted = [0, 0];
    for (let i = 0; i < 1024; i++) if (throttle.claim(kernel.task, backings[i % 2]) === 0) nrGranted[i % 2]++;
    const { nrFree, high } = kernel.memory.allocator;
    expect(nrGranted[0] + nrGranted[1]).toBeLessThanOrEqual(Math.floor((nrFree - high + 1) / 5));
    expect(nrGranted[0]).toBeGreaterThan(10);
    for (const [n, backing] of backings.entries()) for (let i = 0; i < nrGranted[n]; i++) throttle.unclaim(backing);
    await time.settle();
    expect(await time.run(kernel.shutdown())).toMatchObject({ leakedFrames: 0 });
  });

  it('holds however many write at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.integer({ min: 1, max: 40 }), async (seed, nrWriters) => {
        const random = seeded(seed);
        const { time, kernel, file, cache } = await bootFile('2MiB', { delayMs: () => Math.floor(random() * 10) - 1 });
        const { allocator, fileCounts } = kernel.memory;
        let worst = 0;
        const writer = async (nr: number): Promise<void> => {
          for (let i = 0; i < 20; i++) {
            const at = (nr * 20 + i) * PAGE_SIZE;
            expect(await cache.write(kernel.task, at, page)).toBe(PAGE_SIZE);
            const dirtyable = allocator.nrFree - Math.min(allocator.nrFree, allocator.high) + allocator.classCount(FrameClass.FILE) + 1;
            worst = Math.max(worst, fileCounts.nrDirty + fileCounts.nrWriteback - Math.floor(dirtyable / 5));
          }
        };
        await time.run(Promise.all(Array.from({ length: nrWriters }, (_, nr) => writer(nr))));
        expect(worst).toBeLessThanOrEqual(4); // dirtyable moves with every page of slab
        await time.run(cache.sync(kernel.task));
        expect(file.blocks.size).toBe(nrWriters * 20);
        expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
      }),
      { numRuns: 20 },
    );
  });

  it('lets every device have a page dirty and one in flight, beside one that never answers', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    const other = new FileBacking({ arena: kernel.memory.arena, time });
    const second = addFile(kernel, other, 'other');
    file.isSilent = 'write';
    const stuck = (async () => {
      for (let index = 0; index < 200; index++) await cache.write(kernel.task, index * PAGE_SIZE, page);
    })();
    await time.advance(2000);
    expect(file.counts.write).toBeGreaterThan(0);
    await time.run(writePages(second, kernel.task, 0, 50), 60_000);
    file.resume();
    await time.run(stuck);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('pauses no entitled work, and work of a server for its own device only (M16)', async () => {
    const device = {};
    const { time, kernel, file, cache } = await bootFile('1MiB', { device });
    const quiet = new FileBacking({ arena: kernel.memory.arena, time });
    const second = addFile(kernel, quiet, 'quiet');
    file.isSilent = 'write';
    let nrWritten = 0;
    const stuck = (async () => {
      for (let index = 0; index < 100; index++, nrWritten++) await cache.write(kernel.task, index * PAGE_SIZE, page);
    })();
    await time.advance(1000);
    const node = await admit(kernel, 'server', 1);
    const ticket = await kernel.reserves.accountOf(node).units.begin(kernel.task);
    if (typeof ticket === 'number') throw new Error('no unit');
    // Overspends nothing: the page is there already.
    expect(cache.lookup(0)).toBeGreaterThanOrEqual(0);
    const before = time.nowMs();
    expect(await time.run(cache.write(kernel.task.withTicket(ticket), 100, page.subarray(0, 100)), 10)).toBe(100);
    await time.run(writePages(second, kernel.task.localThrottle(quiet), 0, 5), 5000);
    expect(time.nowMs() - before).toBeLessThan(100); // one page after the other, for all that the other device has dirty
    let isOver = false;
    const isPaused = cache.write(kernel.task.localThrottle(device), 150 * PAGE_SIZE, page);
    void Promise.resolve(isPaused).then(() => {
      isOver = true;
    });
    const last = nrWritten;
    await time.advance(2000);
    expect([nrWritten, isOver]).toEqual([last, false]);
    file.resume();
    expect(await time.run(isPaused)).toBe(PAGE_SIZE);
    await time.run(stuck);
    ticket.end();
    await time.run(cache.sync(kernel.task));
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('holds a strict device to its share even if nothing else is dirty', async () => {
    const device = {};
    const { time, kernel, cache } = await bootFile('8MiB', { device, delayMs: () => 5 });
    kernel.writeback.setShare(device, 'stranger', { maxPercent: 5, isStrict: true });
    let most = 0;
    for (let index = 0; index < 200; index++) {
      await time.run(cache.write(kernel.task, index * PAGE_SIZE, page));
      most = Math.max(most, kernel.memory.fileCounts.nrDirty + kernel.memory.fileCounts.nrWriteback);
    }
    expect(most).toBeLessThanOrEqual((2048 * 0.2 * 5) / 100);
    expect(most).toBeGreaterThan(2);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('ends with the error of writes that fail, and not with that of before', async () => {
    let isBroken = true;
    const { time, kernel, file, cache } = await bootFile('512KiB', { status: (op) => (op === 'write' && isBroken ? -Errno.EIO : 0) });
    let got = 0;
    let index = 0;
    for (; index < 100 && got >= 0; index++) got = await time.run(cache.write(kernel.task, index * PAGE_SIZE, page));
    expect(got).toBe(-Errno.EIO);
    isBroken = false;
    for (let more = index; more < index + 50; more++)
      expect(await time.run(cache.write(kernel.task, more * PAGE_SIZE, page))).toBe(PAGE_SIZE);
    expect(await time.run(cache.sync(kernel.task))).toBe(-Errno.EIO);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(file.blocks.size).toBe(index - 1 + 50);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('is ENOMEM, or a wait, where what cannot be reclaimed has no room (M10)', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    const { unlaunderable } = kernel.reclaim;
    await time.run(writePages(cache, kernel.task, 0, 4));
    unlaunderable.most = unlaunderable.nrPages;
    file.isSilent = true;
    cache.startWriteback(10);
    const waits = (async () => cache.write(kernel.task, 10 * PAGE_SIZE, page))();
    await time.advance(1000);
    file.resume();
    expect(await time.run(waits)).toBe(PAGE_SIZE); // it had to wait for what was in flight
    const task = TaskContext.root('anonymous');
    const { allocator } = kernel.memory;
    await time.run(cache.sync(kernel.task));
    const anonymous = Array.from({ length: 6 }, () => allocator.allocPage(task, FrameClass.ANON));
    expect(await time.run(cache.write(kernel.task, 11 * PAGE_SIZE, page))).toBe(-Errno.ENOMEM);
    for (const pfn of anonymous) allocator.freePage(pfn);
    expect(await time.run(cache.write(kernel.task, 11 * PAGE_SIZE, page))).toBe(PAGE_SIZE);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });
});

describe('units of writeout (M7, M8)', () => {
  it('are taken for every write, one each; who may not wait skips the node, a sync waits', async () => {
    const tickets = new Set<object | null>();
    let nrAtOnce = 0;
    let mostAtOnce = 0;
    const { time, kernel } = await bootFile('1MiB');
    const node = await admit(kernel, 'fs', 1);
    const { units } = kernel.reserves.accountOf(node);
    const file = new FileBacking({
      arena: kernel.memory.arena,
      time,
      node,
      pagesPerWrite: 3,
      delayMs: (op) => {
        if (op === 'write') time.after(4.9, () => nrAtOnce--);
        return 5;
      },
      onWrite: (task, _index, count) => {
        tickets.add(task.ticket);
        expect((task.ticket as { account?: object } | null)?.account).toBe(kernel.reserves.accountOf(node));
        expect(count).toBeLessThanOrEqual(3);
        mostAtOnce = Math.max(mostAtOnce, ++nrAtOnce);
      },
    });
    const cache = addFile(kernel, file, 'units');
    await time.run(writePages(cache, kernel.task, 0, 20));
    expect(cache.startWriteback(20)).toBe(3);
    expect(cache.startWriteback(20)).toBe(0);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(mostAtOnce).toBe(1);
    expect(tickets.size).toBe(1);
    expect(units.nrOut).toBe(0);
    const taken = units.tryBegin(kernel.task);
    await time.run(writePages(cache, kernel.task, 0, 1));
    expect(cache.startWriteback(1)).toBe(0);
    const syncing = cache.sync(kernel.task);
    await time.advance(1000);
    expect(units.nrWaiters).toBe(1);
    taken?.end();
    expect(await time.run(syncing)).toBe(0);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('pay for what writepages allocates: nothing is unfunded, and without a node everything would be', async () => {
    const { time, kernel } = await bootFile('1MiB');
    const { allocator, counters } = kernel.memory;
    const node = await admit(kernel, 'fs', 2, 1);
    const allocating = (withNode: boolean): FileBacking =>
      new FileBacking({
        arena: kernel.memory.arena,
        time,
        ...(withNode ? { node } : {}),
        onWrite: (task) => {
          const pfn = allocator.allocPage(task, FrameClass.TRANSIENT);
          expect(pfn).toBeGreaterThanOrEqual(0);
          allocator.freePage(pfn);
        },
      });
    const funded = addFile(kernel, allocating(true), 'funded');
    await time.run(writePages(funded, kernel.task, 0, 10));
    expect(await time.run(funded.sync(kernel.task))).toBe(0);
    expect(counters.reserve_unfunded).toBe(0);
    expect(counters.reserve_overspent).toBe(0);
    const unfunded = addFile(kernel, allocating(false), 'unfunded');
    await time.run(writePages(unfunded, kernel.task, 0, 1));
    await time.run(unfunded.sync(kernel.task));
    expect(counters.reserve_unfunded).toBe(1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });
});

describe('a page that a ticket paid for', () => {
  it('is exchanged once it is clean, and goes where no other frame is free (M5)', async () => {
    const { time, kernel, cache } = await bootFile('1MiB');
    const { allocator } = kernel.memory;
    const node = await admit(kernel, 'server', 2, 4);
    const account = kernel.reserves.accountOf(node);
    const ticket = account.units.tryBegin(kernel.task);
    if (ticket === null) throw new Error('no unit');
    const server = kernel.task.withTicket(ticket);
    await time.run(writePages(cache, server, 0, 2));
    expect(ticket.held).toBe(2);
    expect(cache.release()).toBe(2);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(cache.release(0, 100)).toBe(0);
    expect(ticket.held).toBe(1);
    expect(cache.release()).toBe(0);
    expect(ticket.held).toBe(0);
    expect(cache.nrPages).toBe(2);
    const taken: number[] = [];
    const inUse = cache.lookup(1);
    kernel.memory.frames.pin(inUse); // so that the node of the index stays that has page 5, too
    while (allocator.nrFree > allocator.min) taken.push(allocator.allocPage(TaskContext.root('rest'), FrameClass.TRANSIENT));
    kernel.reclaim.cleanPass(100);
    while (allocator.nrFree > allocator.min) taken.push(allocator.allocPage(TaskContext.root('rest'), FrameClass.TRANSIENT));
    await time.run(writePages(cache, server, 5, 1));
    expect(account.usageFrames).toBe(1);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(cache.release()).toBe(0);
    expect(cache.lookup(5)).toBe(-1);
    expect(account.usageFrames).toBe(0);
    ticket.end();
    kernel.memory.frames.unpin(inUse);
    for (const pfn of taken) allocator.freePage(pfn);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });
});

describe('write-back errors', () => {
  it('are told once to each opener, failed flushes too; what nobody has heard of also to the next opener', async () => {
    let failing: string | null = 'write';
    const { time, kernel, file, cache } = await bootFile('1MiB', { status: (op) => (op === failing ? -Errno.EIO : 0) });
    const [a, b] = [cache.errorCursor(), cache.errorCursor()];
    await time.run(writePages(cache, kernel.task, 0, 3));
    cache.startWriteback(3);
    await time.advance(100);
    const c = cache.errorCursor();
    failing = null;
    expect(await time.run(cache.sync(kernel.task, a))).toBe(-Errno.EIO);
    expect(await time.run(cache.sync(kernel.task, a))).toBe(0);
    expect(await time.run(cache.sync(kernel.task, b))).toBe(-Errno.EIO);
    expect(await time.run(cache.sync(kernel.task, c))).toBe(-Errno.EIO);
    const d = cache.errorCursor();
    expect(await time.run(cache.sync(kernel.task, d))).toBe(0);
    failing = 'sync';
    expect(await time.run(cache.sync(kernel.task, d))).toBe(-Errno.EIO);
    failing = null;
    for (const cursor of [a, b, c]) expect(await time.run(cache.sync(kernel.task, cursor))).toBe(-Errno.EIO);
    for (const cursor of [a, b, c, d]) expect(await time.run(cache.sync(kernel.task, cursor))).toBe(0);
    expect(await time.run(cache.sync(kernel.task))).toBe(-Errno.EIO); // the cache's own users had not asked yet
    expect(firstDifference(file.content(true), new Uint8Array(3 * PAGE_SIZE).fill(7))).toBe(-1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });
});

describe('operations that misbehave', () => {
  it.each<readonly [string, () => unknown]>([
    ['answer something else', () => 5],
    ['answer nothing', () => undefined],
    [
      'throw',
      () => {
        throw new Error('broken');
      },
    ],
    ['reject', () => Promise.reject(new Error('broken'))],
    ['do not bring the data in', () => 0],
  ])('and %s are failures; the page stays as it was', async (_what, answer) => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    await time.run(cache.write(kernel.task, 0, pattern(3 * PAGE_SIZE, 1)));
    const broken = answer as unknown as () => 0;
    const original = { writepages: file.writepages.bind(file), dirtyPage: file.dirtyPage.bind(file), readFolio: file.readFolio.bind(file) };
    file.dirtyPage = broken;
    expect(await time.run(cache.write(kernel.task, PAGE_SIZE, page))).toBe(-Errno.EIO);
    file.dirtyPage = original.dirtyPage;
    if (_what !== 'do not bring the data in') {
      file.writepages = broken;
      expect(await time.run(cache.sync(kernel.task))).toBe(-Errno.EIO);
      expect(cache.nrDirty).toBe(3);
      file.writepages = original.writepages;
      expect(await time.run(cache.sync(kernel.task))).toBe(0);
      await time.run(cache.invalidate(kernel.task));
      file.readFolio = broken;
      expect(await time.run(cache.read(kernel.task, 0, new Uint8Array(10)))).toBe(-Errno.EIO);
      file.readFolio = original.readFolio;
    }
    const seen = new Uint8Array(3 * PAGE_SIZE);
    expect(await time.run(cache.read(kernel.task, 0, seen))).toBe(3 * PAGE_SIZE);
    expect(firstDifference(seen, pattern(3 * PAGE_SIZE, 1))).toBe(-1);
    checkKernel(kernel);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });

  it('and never answer hold only those who have no signal: the page is busy, and whole when the answer comes', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    await time.run(cache.write(kernel.task, 0, pattern(PAGE_SIZE, 1)));
    await time.run(cache.sync(kernel.task));
    await time.run(cache.invalidate(kernel.task));
    file.isSilent = true;
    const abort = new AbortController();
    const impatient = kernel.task.withSignal(abort.signal);
    const reading = (async () => cache.read(impatient, 0, new Uint8Array(10)))();
    const patient = (async () => cache.read(kernel.task, 5, new Uint8Array(10)))();
    const cutting = cache.truncate(impatient, 3);
    await time.advance(100);
    abort.abort();
    expect(await time.run(reading)).toBe(-Errno.EINTR);
    expect(await time.run(cutting)).toBe(-Errno.EINTR);
    expect(cache.sizeBytes).toBe(PAGE_SIZE);
    file.resume();
    expect(await time.run(patient)).toBe(10);
    await time.run(cache.write(kernel.task, 0, page));
    file.isSilent = true;
    const second = new AbortController();
    const syncing = cache.sync(kernel.task.withSignal(second.signal));
    await time.advance(100);
    second.abort();
    expect(await time.run(syncing)).toBe(-Errno.EINTR);
    file.resume();
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(firstDifference(file.content(true), page)).toBe(-1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });
});
