/** Throttling of direct reclaim (M18): the table over all that it looks at, and pauses that end early, late, and for whom there are none. */
import {
  type Clock,
  definePlugin,
  Gfp,
  Kernel,
  PAGE_SIZE,
  PageCache,
  pauseTable,
  PG,
  RECLAIM_THROTTLE,
  type ReclaimThrottleFactory,
  type ScanFacts,
  TaskContext,
  THROTTLE_MS,
  throttleReason,
  WaitQueue,
  WRITTEN_FOR_EACH,
} from '@tidemark/core';
import { describe, expect, it } from 'vitest';
import { checkNothingHeld } from './support/check-kernel.js';
import { bootFile } from './support/file-world.js';
import { VirtualTime, virtualHost } from './support/virtual-time.js';

const IDLE: ScanFacts = {
  nrIsolated: 0,
  nrInactive: 100,
  nrListed: 200,
  nrInFlight: 120,
  nrScanned: 32,
  nrFreed: 8,
  nrWriteback: 0,
  nrImmediate: 0,
  writebackPfn: -1,
  priority: 12,
  isHopeless: false,
};

describe('why a task pauses', () => {
  const pick = <T>(...of: T[]): T[] => of;
  it('is the first row of the table that fits, over every combination of what the table asks about', () => {
    let nrSeen = 0;
    for (const nrInFlight of pick(0, 100, 101))
      for (const nrIsolated of pick(0, 12, 13))
        for (const nrImmediate of pick(0, 1))
          for (const isHopeless of pick(false, true))
            for (const nrWriteback of pick(0, 31, 32))
              for (const priority of pick(0, 1, 2))
                for (const nrFreed of pick(4, 5)) {
                  const facts = { ...IDLE, nrInFlight, nrIsolated, nrImmediate, isHopeless, nrWriteback, priority, nrFreed };
                  const isBusy = !isHopeless && nrInFlight === 101;
                  const rows = [
                    [nrInFlight === 0, null],
                    [nrIsolated === 13, 'isolated'],
                    [nrImmediate === 1, 'writeback'],
                    [isBusy && nrWriteback === 32, 'congested'],
                    [isBusy && priority < 2 && nrFreed === 4, 'no progress'],
                    [true, null],
                  ] as const;
                  expect(throttleReason(facts)).toBe(rows.find(([fits]) => fits)?.[1]);
                  nrSeen++;
                }
    expect(nrSeen).toBe(648);
  });

  it('counts a policy with few inactive pages as one that keeps half', () => {
    expect(throttleReason({ ...IDLE, nrInactive: 2, nrIsolated: 12 })).toBeNull();
    expect(throttleReason({ ...IDLE, nrInactive: 2, nrIsolated: 13 })).toBe('isolated');
  });
});

function table(time: VirtualTime) {
  const state = { nrWritten: 0, nrIsolated: 50 };
  const throttle = pauseTable({
    clock: time as Clock,
    frames: null as never, // asked by other throttles only
    progress: new WaitQueue({ kind: 'test', name: 'progress' }),
    isolation: () => ({ nrIsolated: state.nrIsolated, nrInactive: 100, nrListed: 200 }),
    nrWritten: () => state.nrWritten,
    inFlight: () => [],
  });
  return { throttle, state };
}

describe('a pause', () => {
  const task = TaskContext.root('writer');
  const pauseOf = async (time: VirtualTime, pause: Promise<unknown> | null): Promise<number> => {
    const before = time.nowMs();
    await time.run(pause);
    return time.nowMs() - before;
  };

  it('ends by its timer if nothing ends it before', async () => {
    const time = new VirtualTime();
    const { throttle } = table(time);
    const congested = { ...IDLE, nrWriteback: 32 };
    const fruitless = { ...IDLE, priority: 0, nrFreed: 1 };
    expect(await pauseOf(time, throttle.afterScan(task, { ...IDLE, nrIsolated: 50 }))).toBe(THROTTLE_MS.isolated);
    expect(await pauseOf(time, throttle.afterScan(task, { ...IDLE, nrImmediate: 1 }))).toBe(THROTTLE_MS.writeback);
    expect(await pauseOf(time, throttle.afterScan(task, congested))).toBe(THROTTLE_MS.congested);
    expect(await pauseOf(time, throttle.afterScan(task, fruitless))).toBe(THROTTLE_MS['no progress']);
    expect(time.nrPendingTimers).toBe(0);
  });

  it('for writeback ends when 32 pages are written for each who pauses; for isolated ones, when they are fewer', async () => {
    const time = new VirtualTime();
    const { throttle, state } = table(time);
    const pauses = [1, 2, 3].map(() => throttle.afterScan(task, { ...IDLE, nrImmediate: 1 }));
    time.after(10, () => {
      state.nrWritten = 3 * WRITTEN_FOR_EACH - 1;
      throttle.noteProgress();
    });
    time.after(20, () => {
      state.nrWritten++;
      throttle.noteProgress();
    });
    expect(await pauseOf(time, Promise.all(pauses))).toBe(20);
    const isolated = throttle.afterScan(task, { ...IDLE, nrIsolated: 50 });
    time.after(5, () => throttle.noteProgress());
    time.after(6, () => {
      state.nrIsolated = 10;
      throttle.noteProgress();
    });
    expect(await pauseOf(time, isolated)).toBe(6);
  });

  it('is for nobody who got nothing: he waits for a frame; nor for the kernel’s own tasks', () => {
    const { throttle } = table(new VirtualTime());
    const immediate = { ...IDLE, nrImmediate: 1 };
    expect(throttle.afterScan(task, { ...immediate, nrFreed: 0 })).toBeNull();
    expect(throttle.afterScan(task.asReclaimer(), immediate)).toBeNull();
  });
});

/** Waits until the page that was met is written: what memcg and FUSE did (trap 6). No way to run a kernel. */
const waitsForPage: ReclaimThrottleFactory = ({ frames, progress }) => ({
  afterScan: (task, { writebackPfn }) => {
    if (writebackPfn < 0) return null;
    return (async () => {
      while ((frames.flags[writebackPfn] & PG.WRITEBACK) !== 0) await progress.wait(task);
    })();
  },
  noteProgress: () => {},
});

describe('reclaim that meets a page being written', () => {
  /** A file whose writeout asks for ordinary memory, while reclaim can still give some; the page that it writes is the oldest. */
  async function syncWhenFull(throttle: ReclaimThrottleFactory): Promise<number> {
    const time = new VirtualTime();
    const plugin = definePlugin({
      name: 'throttle',
      register: (container) => void container.register(RECLAIM_THROTTLE, { useValue: throttle }),
    });
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time), plugin] });
    const { allocator } = kernel.memory;
    await kernel.reclaim.kswapd.stop(); // nobody else may help
    let nrWritten = 0;
    const cache = new PageCache(kernel.cacheParts, 'file', {
      sizeBytes: 200 * PAGE_SIZE,
      readFolio: () => 0,
      writepages: async () => {
        const pfn = await allocator.allocPageSlow(kernel.task, Gfp.TRANSIENT);
        if (pfn < 0) return pfn;
        allocator.freePage(pfn);
        nrWritten++;
        return 0;
      },
    });
    const page = new Uint8Array(PAGE_SIZE);
    await time.run(cache.write(kernel.task, 0, page));
    for (let index = 1; index < 100; index++) await time.run(cache.read(kernel.task, index * PAGE_SIZE, page));
    const taken: number[] = [];
    for (let pfn = 0; pfn >= 0; ) {
      pfn = allocator.allocPage(kernel.task, Gfp.TRANSIENT);
      if (pfn >= 0) taken.push(pfn);
    }
    await time.run(cache.sync(kernel.task), 60_000);
    for (const pfn of taken) allocator.freePage(pfn);
    await time.run(cache.close(kernel.task));
    expect(await time.run(kernel.shutdown())).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    return nrWritten;
  }

  it('does not wait for it, or the one who writes it may be the one who waits', async () => {
    expect(await syncWhenFull(pauseTable)).toBe(1);
    await expect(syncWhenFull(waitsForPage)).rejects.toThrow('stuck');
  });
});

describe('what counts as a use of a page', () => {
  it('is not the one it came in for, nor several in a row: a scan that reads by bytes leaves nothing active', async () => {
    const { time, kernel, cache } = await bootFile('512KiB');
    const small = new Uint8Array(64);
    expect(await time.run(cache.truncate(kernel.task, 600 * PAGE_SIZE))).toBe(0);
    const hot = 16;
    const read = async (index: number): Promise<void> => {
      for (let at = 0; at < PAGE_SIZE; at += 1024) expect(await time.run(cache.read(kernel.task, index * PAGE_SIZE + at, small))).toBe(64);
    };
    for (let index = 0; index < 600; index++) {
      await read(index < hot || index % 4 !== 0 ? index : (index >> 2) % hot);
    }
    const isIn = (index: number): boolean => cache.lookup(index) >= 0;
    expect(Array.from({ length: hot }, (_, index) => index).every(isIn)).toBe(true);
    const { pgactivate, workingset_refault_file } = kernel.vmstat();
    expect(pgactivate).toBeLessThan(128 + hot + workingset_refault_file); // memory full once, and what came back
    expect(await time.run(kernel.shutdown())).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    checkNothingHeld(kernel);
  });
});
