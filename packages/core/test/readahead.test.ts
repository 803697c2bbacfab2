/** Readahead: windows that double and halve, reads begun before they are wanted, spare memory only; and direct I/O beside the cache. */
import { Errno, Kernel, largestWindow, PAGE_SIZE, PageCache, ReadaheadWindow } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import { bootFile } from './support/file-world.js';
import { MemoryDevice } from './support/memory-device.js';
import { firstDifference, pattern } from './support/pattern.js';
import { seeded, VirtualTime, virtualHost } from './support/virtual-time.js';

const CLEAN = { leakedFrames: 0, leakedTimers: 0, problems: [] };

async function boot(memory: string, nrPages: number, delayMs = 1) {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory, plugins: [virtualHost(time)] });
  const device = new MemoryDevice({
    arena: kernel.memory.arena,
    time,
    sizeBytes: nrPages * PAGE_SIZE,
    delayMs: () => delayMs,
    maxTransferPages: 32,
  });
  device.poke(0, pattern(nrPages * PAGE_SIZE, 1));
  return { time, kernel, device, cache: kernel.cacheDevice(kernel.attach(device)) };
}

describe('the window', () => {
  it('starts small, doubles while the reader goes on, and asks for the next before this one is used up', () => {
    const window = new ReadaheadWindow();
    expect(window.miss(0, 1, 32)).toBe(4);
    expect(window.marker).toBe(1);
    expect(window.next(1, 32)).toBe(4);
    expect(window.size).toBe(8);
    expect(window.marker).toBe(4);
    expect(window.next(4, 32)).toBe(12);
    expect(window.size).toBe(16);
    expect(window.next(12, 32)).toBe(28);
    expect(window.next(28, 32)).toBe(60);
    expect(window.size).toBe(32);
  });

  it('reads what is wanted, no more, of who jumps about', () => {
    const window = new ReadaheadWindow();
    for (const index of [100, 7, 55, 1000]) {
      expect(window.miss(index, 1, 32)).toBe(1);
      window.last = index;
    }
    expect(window.miss(2000, 10, 32)).toBe(10);
    window.last = 2009;
    expect(window.miss(2010, 1, 32)).toBe(4);
  });

  it('halves when what was read ahead has gone before it was used, and when memory is short', () => {
    const window = new ReadaheadWindow();
    window.miss(0, 1, 32);
    window.next(1, 32);
    window.next(4, 32);
    expect(window.size).toBe(16);
    expect(window.miss(13, 1, 32)).toBe(8);
    window.cut(3);
    expect(window.size).toBe(3);
    expect(window.miss(16, 1, 32)).toBe(6);
  });

  it('is never out of bounds, whatever is missed and hit', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ isMiss: fc.boolean(), index: fc.nat(200), wanted: fc.integer({ min: 1, max: 300 }) })),
        fc.integer({ min: 1, max: 32 }),
        (all, most) => {
          const window = new ReadaheadWindow();
          for (const { isMiss, index, wanted } of all) {
            if (isMiss) {
              const count = window.miss(index, wanted, most);
              expect(count).toBeGreaterThanOrEqual(1);
              expect(count).toBeLessThanOrEqual(most);
            } else expect(window.next(index, most)).toBeGreaterThan(index);
            expect(window.size).toBeLessThanOrEqual(Math.max(most, 1));
            window.last = index;
          }
        },
      ),
    );
  });
});

describe('readahead', () => {
  it('of a sequential reader takes few requests and finds most pages there', async () => {
    const { time, kernel, device, cache } = await boot('8MiB', 512, 1);
    let nrHits = 0;
    const page = new Uint8Array(PAGE_SIZE);
    const all = pattern(512 * PAGE_SIZE, 1);
    for (let index = 0; index < 512; index++) {
      const got = cache.read(index * PAGE_SIZE, page);
      if (typeof got === 'number') nrHits++;
      expect(await time.run(got)).toBe(PAGE_SIZE);
      expect(firstDifference(page, all.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE))).toBe(-1);
      if (index % 8 === 0) await time.advance(1); // it takes its time
    }
    expect(device.nrReads).toBeLessThanOrEqual(512 / largestWindow(kernel.memory.nrFrames) + 6);
    expect(nrHits).toBeGreaterThan(500);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('of a random reader reads nothing that nobody wants', async () => {
    const random = seeded(5);
    const { time, kernel, cache } = await boot('8MiB', 4096, 1);
    const wanted = new Set<number>();
    for (let i = 0; i < 200; i++) {
      const index = Math.floor(random() * 2048) * 2 + 1;
      wanted.add(index);
      await time.run(cache.read(index * PAGE_SIZE, new Uint8Array(100)));
    }
    expect(cache.pages.nrPages).toBe(wanted.size);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('leaves memory above low to others, and one bad page is nobody else’s error', async () => {
    const time = new VirtualTime();
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time)] });
    const { allocator, arena } = kernel.memory;
    const bad = 37;
    const device = new MemoryDevice({
      arena,
      time,
      sizeBytes: 200 * PAGE_SIZE,
      maxTransferPages: 32,
      status: (_op, _nth, bio) =>
        bio.offsetBytes <= bad * PAGE_SIZE && bad * PAGE_SIZE < bio.offsetBytes + bio.lengthBytes ? -Errno.EIO : 0,
    });
    device.poke(0, pattern(200 * PAGE_SIZE, 1));
    const cache = kernel.cacheDevice(kernel.attach(device));
    const failed: number[] = [];
    for (let index = 0; index < 100; index++) {
      const page = new Uint8Array(PAGE_SIZE);
      try {
        await time.run(cache.read(index * PAGE_SIZE, page));
        expect(firstDifference(page, pattern(200 * PAGE_SIZE, 1).subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE))).toBe(-1);
      } catch {
        failed.push(index);
      }
      expect(allocator.nrFree).toBeGreaterThanOrEqual(allocator.low - 1);
    }
    expect(failed).toEqual([bad]);
    checkKernel(kernel);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });
});

describe('direct I/O', () => {
  it('sees what is dirty, is seen by the cache, and keeps no page', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    const { task } = kernel;
    await time.run(cache.write(task, 0, pattern(10 * PAGE_SIZE, 1)));
    const seen = new Uint8Array(10 * PAGE_SIZE);
    expect(await time.run(cache.readDirect(task, 0, seen))).toBe(seen.length);
    expect(firstDifference(seen, pattern(10 * PAGE_SIZE, 1))).toBe(-1);
    expect(await time.run(cache.writeDirect(task, 2 * PAGE_SIZE, pattern(3 * PAGE_SIZE, 2)))).toBe(3 * PAGE_SIZE);
    for (let index = 2; index < 5; index++) expect(cache.lookup(index)).toBe(-1);
    const want = pattern(10 * PAGE_SIZE, 1);
    want.set(pattern(3 * PAGE_SIZE, 2), 2 * PAGE_SIZE);
    expect(await time.run(cache.read(task, 0, seen))).toBe(seen.length);
    expect(firstDifference(seen, want)).toBe(-1);
    expect(await time.run(cache.writeDirect(task, 10 * PAGE_SIZE, pattern(PAGE_SIZE + 5, 3)))).toBe(PAGE_SIZE + 5);
    expect(cache.sizeBytes).toBe(11 * PAGE_SIZE + 5);
    expect(await time.run(cache.readDirect(task, 11 * PAGE_SIZE, seen))).toBe(5);
    expect(await time.run(cache.writeDirect(task, 100, pattern(PAGE_SIZE, 3)))).toBe(-Errno.EINVAL);
    expect(await time.run(cache.writeDirect(task, 0, pattern(100, 3)))).toBe(-Errno.EINVAL);
    expect(await time.run(cache.readDirect(task, 5, seen))).toBe(-Errno.EINVAL);
    expect(file.blocks.size).toBe(12);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });

  it('of a file that only memory holds is refused', async () => {
    const time = new VirtualTime();
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time)] });
    const file = {
      sizeBytes: 0,
      setSize(sizeBytes: number) {
        this.sizeBytes = sizeBytes;
      },
    };
    const cache = new PageCache(kernel.cacheParts, 'memory file', file);
    const { frames } = kernel.memory;
    expect(await cache.write(kernel.task, 3 * PAGE_SIZE, pattern(PAGE_SIZE, 1))).toBe(PAGE_SIZE);
    expect(await cache.writeDirect(kernel.task, 0, pattern(PAGE_SIZE, 1))).toBe(-Errno.EINVAL);
    const hole = new Uint8Array(3 * PAGE_SIZE).fill(1);
    expect(await cache.read(kernel.task, 0, hole)).toBe(hole.length);
    expect(hole.every((byte) => byte === 0)).toBe(true);
    expect(cache.nrKept).toBe(1);
    for (let i = 0; i < 20; i++) kernel.reclaim.shrink(64, true, false);
    kernel.reclaim.cleanPass(64);
    expect(cache.nrPages).toBe(1); // the hole has gone, what was written stays
    expect(frames.flags[cache.lookup(3)] & 2).toBe(0);
    expect(await cache.sync(kernel.task)).toBe(0);
    expect(await cache.truncate(kernel.task, 0)).toBe(0);
    expect(cache.nrKept).toBe(0);
    expect(cache.nrPages).toBe(0);
    await cache.close(kernel.task);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });
});
