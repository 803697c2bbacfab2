/** The page cache, through DeviceCache: against a model, on a device that is late, loses what is not flushed, and fails. */
import {
  BioOp,
  type DeviceCache,
  Errno,
  isKernelError,
  Kernel,
  KernelError,
  PAGE_SIZE,
  PageCache,
  type ShutdownReport,
  TaskContext,
} from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteModel, rounds } from './support/byte-model.js';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import { MemoryDevice, type MemoryDeviceOptions } from './support/memory-device.js';
import { firstDifference, pattern } from './support/pattern.js';
import { seeded, VirtualTime, virtualHost } from './support/virtual-time.js';

const MIB = 2 ** 20;
const CLEAN: ShutdownReport = { leakedFrames: 0, leakedTimers: 0, problems: [] };

interface World {
  readonly time: VirtualTime;
  readonly kernel: Kernel;
  readonly device: MemoryDevice;
  readonly cache: DeviceCache;
}

async function boot(memory: number | string, options: Partial<MemoryDeviceOptions> = {}, isSync = false): Promise<World> {
  const time = new VirtualTime();
  const kernel = await Kernel.boot({ memory, plugins: [virtualHost(time)] });
  const { arena } = kernel.memory;
  const device = new MemoryDevice({ arena, sizeBytes: MIB, losesOnFailedFlush: false, ...(isSync ? {} : { time }), ...options });
  return { time, kernel, device, cache: kernel.cacheDevice(kernel.attach(device)) };
}

async function codeOf(work: Promise<unknown> | unknown): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    if (!isKernelError(error)) throw error;
    return error.code;
  }
}

describe('the page cache', () => {
  it('is its device with memory in front, whatever is written, synced, reclaimed and delayed', async () => {
    await fc.assert(
      fc.asyncProperty(rounds(12, 8), fc.integer(), fc.boolean(), async (all, seed, isSync) => {
        const random = seeded(seed);
        const { time, kernel, device, cache } = await boot('512KiB', { delayMs: () => random() * 20 }, isSync);
        const model = new ByteModel(cache, cache.sizeBytes);
        for (const ops of all) {
          await time.run(
            model.round(ops, () => {
              const dice = random();
              if (dice < 0.2) kernel.reclaim.shrink(40, true, false);
              else if (dice < 0.3) kernel.reclaim.cleanPass(30);
              else if (dice < 0.5) cache.pages.startWriteback(20);
            }),
          );
          checkKernel(kernel);
          if (random() < 0.3) {
            await time.run(cache.sync());
            device.loseUnflushed();
            expect(firstDifference(device.peek(0, MIB), model.bytes)).toBe(-1);
          }
        }
        await time.run(model.verify());
        await time.run(cache.close());
        device.loseUnflushed();
        expect(firstDifference(device.peek(0, MIB), model.bytes)).toBe(-1);
        expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
        checkNothingHeld(kernel);
      }),
      { numRuns: 40 },
    );
  });

  it('loses nothing to I/O errors: what fails is reported and tried again', async () => {
    await fc.assert(
      fc.asyncProperty(rounds(10, 6), fc.integer(), fc.boolean(), async (all, seed, isSync) => {
        const random = seeded(seed);
        let rate = 0.2;
        const { time, kernel, device, cache } = await boot(
          '512KiB',
          { delayMs: () => random() * 20, status: () => (random() < rate ? -Errno.EIO : 0) },
          isSync,
        );
        const model = new ByteModel(cache, cache.sizeBytes, (code) => code === 'EIO');
        for (const ops of all) {
          await time.run(model.round(ops, () => void (random() < 0.5 && kernel.reclaim.shrink(20, true, false))));
          checkKernel(kernel);
          if (random() < 0.3) expect(['none', 'EIO']).toContain(await codeOf(time.run(cache.sync())));
        }
        rate = 0;
        await time.advance(1000); // what was to fail has failed
        await codeOf(time.run(cache.sync())); // an error that is not reported yet
        await time.run(cache.sync());
        await time.run(model.verify());
        device.loseUnflushed();
        expect(firstDifference(device.peek(0, MIB), model.bytes)).toBe(-1);
        expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
        checkNothingHeld(kernel);
      }),
      { numRuns: 40 },
    );
  });

  it('survives the failure of each single request', async () => {
    const SIZE = 100 * PAGE_SIZE;
    for (const isSync of [true, false]) {
      for (let n = 1, hasFailed = true; hasFailed; n += n < 60 ? 1 : 7) {
        hasFailed = false;
        let nth = 0;
        let wasRead = false;
        const status = (op: BioOp): number => {
          if (++nth !== n) return 0;
          hasFailed = true;
          wasRead = op === BioOp.READ;
          return -Errno.EIO;
        };
        const { time, kernel, device, cache } = await boot('320KiB', { status, sizeBytes: SIZE }, isSync);
        device.poke(0, pattern(SIZE, 7));
        const want = pattern(SIZE, 7);
        const errors: string[] = [];
        const insist = async (work: () => Promise<unknown> | unknown): Promise<void> => {
          for (let code = ''; code !== 'none'; errors.push(code)) code = await codeOf(time.run((async () => work())()));
        };
        for (let i = 0; i < 12; i++) {
          const offset = ((i * 37) % 98) * PAGE_SIZE + 100;
          const bytes = pattern(6000, i);
          await insist(() => cache.write(offset, bytes));
          want.set(bytes, offset);
          if (i % 4 === 3) await insist(() => cache.sync());
        }
        const seen = new Uint8Array(SIZE);
        await insist(() => cache.read(0, seen));
        expect(firstDifference(seen, want)).toBe(-1);
        await insist(() => cache.sync());
        device.loseUnflushed();
        expect(firstDifference(device.peek(0, SIZE), want)).toBe(-1);
        const { leakedFrames, problems } = await time.run(kernel.shutdown());
        errors.push(...problems.map((problem) => (problem.includes('EIO: close') ? 'EIO' : problem)));
        const told = errors.filter((code) => code !== 'none'); // each failure is told once; that of several pages read at once is mended by reading them alone
        if (told.length > 0 || !wasRead) expect(told).toEqual(hasFailed ? ['EIO'] : []);
        expect(leakedFrames).toBe(0);
        checkNothingHeld(kernel);
      }
    }
  });

  it('reports a write-back error once, and keeps the page dirty until it is written', async () => {
    let isBroken = true;
    const { time, device, cache, kernel } = await boot('1MiB', { status: (op) => (op === BioOp.WRITE && isBroken ? -Errno.EIO : 0) });
    await time.run(cache.write(8192, pattern(4096, 1)));
    expect(await codeOf(time.run(cache.sync()))).toBe('EIO');
    expect(kernel.meminfo().dirty).toBe(1);
    isBroken = false;
    expect(await codeOf(time.run(cache.sync()))).toBe('none');
    expect(kernel.meminfo().dirty).toBe(0);
    expect(firstDifference(device.peek(8192, 4096), pattern(4096, 1))).toBe(-1);
    await time.run(kernel.shutdown());
  });

  it('tries every dirty page in a sync, whatever failed before it', async () => {
    let nrFailures = 0;
    const { time, device, cache, kernel } = await boot('1MiB', {
      status: (op, nth) => (op === BioOp.WRITE && nth === 1 && ++nrFailures ? -Errno.EIO : 0),
    });
    for (let index = 0; index < 20; index += 2) await time.run(cache.write(index * PAGE_SIZE, pattern(PAGE_SIZE, index)));
    cache.pages.startWriteback(1);
    await time.advance(100);
    expect(nrFailures).toBe(1);
    expect(await codeOf(time.run(cache.sync()))).toBe('EIO');
    expect(kernel.meminfo().dirty).toBe(0);
    expect(await codeOf(time.run(cache.sync()))).toBe('none');
    device.loseUnflushed();
    for (let index = 0; index < 20; index += 2)
      expect(firstDifference(device.peek(index * PAGE_SIZE, PAGE_SIZE), pattern(PAGE_SIZE, index))).toBe(-1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it.each(['the same pages', 'pages ahead'])('ends a sync beside a steady writer of %s', async (which) => {
    let nrWritten = 0;
    let isSteady = false;
    let cache: DeviceCache | null = null;
    const again = (): void => {
      for (let i = 0; i < 5 && isSteady; i++) {
        const index = which === 'the same pages' ? (nrWritten * 7) % 20 : 20 + nrWritten;
        nrWritten++;
        void cache?.write(index * PAGE_SIZE, pattern(PAGE_SIZE, 9));
      }
    };
    const world = await boot('1MiB', { sizeBytes: 64 * MIB, onEnded: again });
    const { time, kernel, device } = world;
    cache = world.cache;
    await time.run(cache.write(0, pattern(20 * PAGE_SIZE, 1)));
    isSteady = true;
    await time.run(cache.sync(), 2000);
    expect(nrWritten).toBeGreaterThan(0);
    isSteady = false;
    device.loseUnflushed();
    for (let index = 0; index < 20; index++) {
      const seen = device.peek(index * PAGE_SIZE, PAGE_SIZE);
      expect([pattern(20 * PAGE_SIZE, 1)[index * PAGE_SIZE], pattern(PAGE_SIZE, 9)[0]]).toContain(seen[0]);
    }
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('refuses a device whose pages it cannot number, and lets it go', async () => {
    const { time, kernel } = await boot('1MiB');
    const large = kernel.attach(new MemoryDevice({ arena: kernel.memory.arena, name: 'large', sizeBytes: 2 ** 44 + PAGE_SIZE }));
    for (let i = 0; i < 2; i++) expect(() => kernel.cacheDevice(large)).toThrow(/EFBIG.*large.*17592186048512/);
    const largest = new MemoryDevice({ arena: kernel.memory.arena, sizeBytes: 2 ** 44, time });
    const cache = kernel.cacheDevice(kernel.attach(largest));
    await time.run(cache.write(2 ** 44 - PAGE_SIZE, pattern(PAGE_SIZE, 5)));
    await time.run(cache.sync());
    expect(firstDifference(largest.peek(2 ** 44 - PAGE_SIZE, PAGE_SIZE), pattern(PAGE_SIZE, 5))).toBe(-1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });

  it('never shows what a frame held before: a page that is written whole is seen before or after', async () => {
    const { time, kernel, device, cache } = await boot('512KiB');
    device.poke(0, new Uint8Array(MIB).fill(1));
    const old = new Uint8Array(PAGE_SIZE);
    for (let index = 0; index < 200; index++) await time.run(cache.read(index * PAGE_SIZE, old)); // frames full of ones
    device.poke(0, new Uint8Array(MIB).fill(2));
    for (let index = 0; index < 200; index++) {
      if (cache.pages.lookup(index) >= 0) continue;
      const write = cache.write(index * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(3));
      for (let hop = 0; hop < index % 16; hop++) await Promise.resolve();
      const seen = new Uint8Array(PAGE_SIZE);
      await time.run(cache.read(index * PAGE_SIZE, seen));
      expect([2, 3]).toContain(seen[0]);
      await time.run(write);
    }
    await time.run(kernel.shutdown());
  });

  it('is bounded: shadows take no more than their part of memory, and a scan of anything passes', async () => {
    const { time, kernel, cache } = await boot('1MiB', { sizeBytes: 1024 * MIB }, true);
    const page = new Uint8Array(1);
    for (let index = 0; index < 200_000; index += 61) {
      await cache.read(index * PAGE_SIZE, page);
      expect(kernel.memory.xarrayNodes.nrFrames).toBeLessThanOrEqual(256 / 16 + 24);
    }
    checkKernel(kernel);
    await time.run(kernel.shutdown());
    checkNothingHeld(kernel);
  });

  it('stops at the end of the device, and refuses what is no offset', async () => {
    const { time, kernel, cache } = await boot('1MiB', { sizeBytes: 3 * PAGE_SIZE + 512 });
    expect(cache.sizeBytes).toBe(3 * PAGE_SIZE);
    const target = new Uint8Array(100);
    expect(await time.run(cache.read(3 * PAGE_SIZE - 40, target))).toBe(40);
    expect(await time.run(cache.read(3 * PAGE_SIZE + 40, target))).toBe(0);
    expect(await time.run(cache.write(3 * PAGE_SIZE - 40, target))).toBe(40);
    expect(await codeOf(cache.write(3 * PAGE_SIZE, target))).toBe('ENOSPC');
    for (const offset of [-1, 0.5, Number.NaN, 2 ** 60]) {
      expect(await codeOf((async () => cache.read(offset, target))())).toBe('EINVAL');
      expect(await codeOf(cache.write(offset, target))).toBe('EINVAL');
    }
    await time.run(kernel.shutdown());
  });
});

describe('dirty throttling', () => {
  it('never hangs, whoever dirtied what and however many write at once', async () => {
    const { time, kernel, cache } = await boot('1MiB', { sizeBytes: 4 * MIB });
    const other = new MemoryDevice({ arena: kernel.memory.arena, time, sizeBytes: 4 * MIB, name: 'other', delayMs: () => 50 });
    const second = kernel.cacheDevice(kernel.attach(other));
    const work: Promise<number>[] = [];
    for (let i = 0; i < 200; i++) {
      work.push(cache.write(((i * 7) % 1000) * PAGE_SIZE, pattern(PAGE_SIZE, i)));
      work.push(second.write(((i * 11) % 1000) * PAGE_SIZE, pattern(PAGE_SIZE, i)));
    }
    await time.run(Promise.all(work));
    await time.run(Promise.all([cache.sync(), second.sync()]));
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('does not wait for a page of somebody else for ever', async () => {
    const { time, kernel, cache } = await boot('512KiB', { delayMs: () => 10 });
    const other = new MemoryDevice({ arena: kernel.memory.arena, time, sizeBytes: MIB, name: 'other' });
    const second = kernel.cacheDevice(kernel.attach(other));
    await time.run(cache.write(0, pattern(20 * PAGE_SIZE, 1)));
    const work = [cache.write(20 * PAGE_SIZE, pattern(30 * PAGE_SIZE, 2)), second.write(0, pattern(PAGE_SIZE, 3))];
    await time.run(Promise.all(work));
    await time.run(kernel.shutdown());
  });

  it.each([true, false])('of a device that fails every write ends with EIO (sync %s)', async (isSync) => {
    const { time, kernel, cache } = await boot('512KiB', { status: (op) => (op === BioOp.WRITE ? -Errno.EIO : 0) }, isSync);
    let code = 'none';
    for (let i = 0; i < 200 && code === 'none'; i++)
      code = await codeOf(time.run(cache.write(i * PAGE_SIZE, pattern(PAGE_SIZE, i)), 60_000));
    expect(code).toBe('EIO');
    const report = await time.run(kernel.shutdown(), 60_000);
    expect(report.leakedFrames).toBe(0);
    expect(report.problems.join()).toContain('EIO');
  });
});

describe('closing a cache', () => {
  it('waits for calls under way, which end', async () => {
    await fc.assert(
      fc.asyncProperty(rounds(1, 10), fc.integer(), async ([ops], seed) => {
        const random = seeded(seed);
        const { time, kernel, cache } = await boot('512KiB', { delayMs: () => random() * 20 });
        const model = new ByteModel(cache, cache.sizeBytes, (code) => code === 'EBADF');
        let close: Promise<void> = Promise.resolve();
        const work = model.round(ops, () => {
          close = cache.close();
        });
        await time.run(codeOf(work));
        await time.run(close);
        expect(await codeOf(time.run(cache.read(0, new Uint8Array(1))))).toBe('EBADF');
        checkKernel(kernel);
        expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
        checkNothingHeld(kernel);
      }),
      { numRuns: 40 },
    );
  });

  it('drops nothing that can be written, after one write that failed', async () => {
    for (const early of [true, false]) {
      const { time, kernel, device, cache } = await boot('1MiB', {
        status: (op, nth) => (op === BioOp.WRITE && nth === 1 ? -Errno.EIO : 0),
      });
      for (let index = 0; index < 20; index += 2) await time.run(cache.write(index * PAGE_SIZE, pattern(PAGE_SIZE, index)));
      if (early) cache.pages.startWriteback(1);
      await time.advance(100);
      expect(await codeOf(time.run(cache.close()))).toBe('EIO');
      device.loseUnflushed();
      for (let index = 0; index < 20; index += 2)
        expect(firstDifference(device.peek(index * PAGE_SIZE, PAGE_SIZE), pattern(PAGE_SIZE, index))).toBe(-1);
      expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
      checkNothingHeld(kernel);
    }
  });

  it('keeps what a write under way has accepted, and refuses the next', async () => {
    const { time, kernel, device, cache } = await boot('1MiB', { delayMs: () => 10 });
    const accepted = cache.write(100, pattern(50, 3)); // reads its page first
    await time.settle();
    const close = cache.close();
    expect(await codeOf(cache.write(0, pattern(PAGE_SIZE, 4)))).toBe('EBADF');
    await time.run(close);
    expect(await accepted).toBe(50);
    device.loseUnflushed();
    expect(firstDifference(device.peek(0, PAGE_SIZE).subarray(100, 150), pattern(50, 3))).toBe(-1);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('twice is closing once, and both wait for its end', async () => {
    const { time, kernel, device, cache } = await boot('1MiB', { status: (op) => (op === BioOp.WRITE ? -Errno.EIO : 0) });
    await time.run(cache.write(0, pattern(10 * PAGE_SIZE, 1)));
    const closes = [cache.close(), cache.close()].map(codeOf);
    expect(await time.run(Promise.race(closes))).toBe('EIO');
    expect(device.inFlight.size).toBe(0);
    expect(await time.run(Promise.all(closes))).toEqual(['EIO', 'EIO']);
    await time.run(cache.pages.close(kernel.task));
    expect(kernel.meminfo().dirty).toBe(0);
    checkKernel(kernel);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
    checkNothingHeld(kernel);
  });

  it('reports that cutting off failed', async () => {
    const { time, kernel } = await boot('1MiB');
    const parts = kernel.cacheParts;
    const pages = new PageCache(parts, 'stubborn', {
      sizeBytes: MIB,
      readFolio: () => 0,
      writepages: () => 0,
      sync: () => 0,
      cutOff: () => Promise.reject(new KernelError('ENXIO', 'no such line')),
    });
    const abort = new AbortController();
    abort.abort();
    expect(await pages.close(kernel.task.withSignal(abort.signal))).toBe(-Errno.ENXIO);
    expect(await time.run(kernel.shutdown())).toEqual(CLEAN);
  });

  it('of a device that has gone silent ends with the shutdown, with EIO and nothing leaked', async () => {
    const { time, kernel, device, cache } = await boot('512KiB');
    await time.run(cache.write(0, pattern(10 * PAGE_SIZE, 1)));
    device.isSilent = true;
    const reading = codeOf(cache.read(900_000, new Uint8Array(10)) as Promise<number>);
    const syncing = codeOf(cache.sync());
    const report = await time.run(kernel.shutdown({ timeoutMs: 2000 }));
    expect(time.nowMs()).toBeLessThanOrEqual(2100);
    expect(await time.run(reading)).toBe('EIO');
    expect(await time.run(syncing)).toBe('EIO');
    expect(report).toMatchObject({ leakedFrames: 0, leakedTimers: 0 });
    expect(report.problems.join()).toContain('EIO');
    expect(device.inFlight.size).toBe(0);
    checkNothingHeld(kernel);
  });
});

describe('out of memory (M1) with dirty file pages', () => {
  it('is not declared while a device is silent for 30 s', async () => {
    const { time, kernel, device, cache } = await boot('512KiB');
    const { allocator } = kernel.memory;
    const taken: number[] = [];
    const task = TaskContext.root('filler');
    device.isSilent = false;
    await time.run(cache.write(0, pattern(16 * PAGE_SIZE, 1)));
    device.isSilent = true;
    const wait = (async () => {
      for (let i = 0; i < 80; i++) taken.push(await allocator.allocPageSlow(task, 5));
    })();
    await time.advance(30_000);
    expect(taken.every((pfn) => pfn >= 0)).toBe(true);
    device.resume();
    await time.run(wait);
    expect(taken.filter((pfn) => pfn >= 0).length).toBeGreaterThanOrEqual(70);
    for (const pfn of taken) if (pfn >= 0) allocator.freePage(pfn);
    await time.run(kernel.shutdown());
  });
});

describe('writeout', () => {
  it('needs no frame that was not set aside: with every allocation failing, dirty pages go out', async () => {
    const { time, kernel, device, cache } = await boot('1MiB');
    const { allocator } = kernel.memory;
    await time.run(cache.write(0, pattern(20 * PAGE_SIZE, 1)));
    expect(device.nrWrites).toBe(0);
    const original = allocator.allocPage;
    allocator.allocPage = () => -Errno.ENOMEM;
    const freeBefore = allocator.nrFree;
    for (let i = 0; i < 4; i++) {
      kernel.reclaim.shrink(64, true, false);
      await time.advance(100);
    }
    expect(allocator.nrFree).toBeGreaterThanOrEqual(freeBefore + 20);
    allocator.allocPage = original;
    const seen = new Uint8Array(20 * PAGE_SIZE);
    await time.run(cache.read(0, seen));
    expect(firstDifference(seen, pattern(20 * PAGE_SIZE, 1))).toBe(-1);
    await time.run(kernel.shutdown());
  });
});
