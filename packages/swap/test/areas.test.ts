/** Swap areas: admission, priorities, zero pages, checksums, taking them off, running full, and the end of everything. */
import { BioOp, Errno, Kernel, PAGE_SIZE, WRITE_AGAIN } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from '../../core/test/support/check-kernel.js';
import { firstDifference, pattern } from '../../core/test/support/pattern.js';
import { seeded, VirtualTime, virtualHost } from '../../core/test/support/virtual-time.js';
import { CLEAN, codeOf, errorOf, MIB, SwapWorld } from './support/swap-world.js';

/** A buffer full of a pattern. */
async function filled(world: SwapWorld, sizeBytes: number, tag = 1): Promise<PagedBuffer> {
  const buffer = await world.run(PagedBuffer.create(world.kernel, { sizeBytes }));
  await world.run(buffer.write(0, pattern(sizeBytes, tag)));
  return buffer;
}

async function differs(world: SwapWorld, buffer: PagedBuffer, tag = 1): Promise<number> {
  const seen = new Uint8Array(buffer.sizeBytes);
  await world.run(buffer.read(0, seen));
  return firstDifference(seen, pattern(buffer.sizeBytes, tag));
}

/** Shrinks until nothing moves any more. */
async function pushOut(world: SwapWorld, rounds = 30): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    world.kernel.reclaim.shrink(64, true, false);
    await world.time.advance(50);
  }
}

describe('swap on', () => {
  it('refuses what cannot be an area, and leaves everything as it was', async () => {
    const world = await SwapWorld.boot('2MiB');
    const { kernel } = world;
    const before = kernel.memory.allocator.nrFree;
    const small = world.device({ sizeBytes: 9 * PAGE_SIZE, name: 'small' });
    const tiny = world.device({ sizeBytes: PAGE_SIZE, name: 'tiny' });
    const plain = world.device({ sizeBytes: MIB, name: 'plain' });
    const fixed = world.device({ sizeBytes: MIB, name: 'fixed', readOnly: true });
    expect(await codeOf(() => world.run(kernel.swapOn(small.device, { format: true })))).toBe('EINVAL');
    expect(await codeOf(() => world.run(kernel.swapOn(tiny.device)))).toBe('EINVAL');
    expect(await codeOf(() => world.run(kernel.swapOn(plain.device)))).toBe('EINVAL');
    expect(await codeOf(() => world.run(kernel.swapOn(plain.device, { format: true, label: 'sixteen bytes ok' })))).toBe('EINVAL');
    expect(await codeOf(() => world.run(kernel.swapOn(fixed.device, { format: true })))).toBe('EROFS');
    for (const { device } of [small, tiny, plain, fixed]) await world.run(device.close());
    expect(kernel.memory.allocator.nrFree).toBe(before);
    const good = await world.area({ sizeBytes: MIB, name: 'good' }, { label: 'mine' });
    expect(kernel.swap?.areas()).toMatchObject([{ name: 'good', label: 'mine', nrSlots: 255, nrFree: 255, nrBad: 0 }]);
    expect(await codeOf(() => world.run(kernel.swapOn(good.device)))).toBe('EBUSY');
    expect(await codeOf(() => world.run(kernel.swapOn(good.device, { format: true })))).toBe('EBUSY');
    expect(await codeOf(() => good.device.close())).toBe('EBUSY');
    expect(await codeOf(() => world.run(kernel.swapOff('plain')))).toBe('EINVAL');
    await world.run(kernel.swapOff(good.device));
    await world.run(good.device.close());
    expect(kernel.memory.allocator.nrFree).toBe(before);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('of one device twice at once succeeds once, of two devices twice', async () => {
    const world = await SwapWorld.boot('2MiB');
    const one = world.device({ sizeBytes: MIB });
    const two = world.device({ sizeBytes: MIB });
    const on = (device: typeof one.device) => codeOf(() => world.kernel.swapOn(device, { format: true }));
    const codes = await world.run(Promise.all([on(one.device), on(one.device), on(two.device)]));
    expect(codes.sort()).toEqual(['EBUSY', 'none', 'none']);
    const buffer = await filled(world, 2.5 * MIB);
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('is without memory it was not given: the error names a budget that works, and the least below it does not', async () => {
    for (const [memory, sizeMib, checksum] of [
      ['1MiB', 1024, false],
      ['1MiB', 1024, true],
      ['2MiB', 2048, false],
      ['512KiB', 512, true],
      ['4MiB', 6000, true],
    ] as const) {
      const world = await SwapWorld.boot(memory);
      const before = world.kernel.memory.allocator.nrFree;
      const { device } = world.device({ sizeBytes: sizeMib * MIB });
      const error = await errorOf(() => world.run(world.kernel.swapOn(device, { format: true, checksum })));
      expect(error.code).toBe('ENOMEM');
      expect(device.holder).toBe(null);
      const least = error.details?.smallestMemoryBytes as number;
      expect(error.message).toMatch(/\d+(\.\d+)? ?[KMG]iB/);
      await world.run(device.close());
      expect(world.kernel.memory.allocator.nrFree).toBe(before);
      expect(await world.shutdown()).toEqual(CLEAN);
      const larger = await SwapWorld.boot(least);
      await larger.area({ sizeBytes: sizeMib * MIB }, { checksum });
      expect(await larger.shutdown()).toEqual(CLEAN);
      const smaller = await SwapWorld.boot(least - 2 * MIB > 512 * 1024 ? least - 2 * MIB : memory);
      expect(await codeOf(() => smaller.area({ sizeBytes: sizeMib * MIB }, { checksum }))).toBe('ENOMEM');
      await smaller.shutdown();
    }
  });

  it('of 1 GiB, and a buffer that fills it, fit in 8 MiB', async () => {
    const world = await SwapWorld.boot('8MiB');
    await world.area({ sizeBytes: 1024 * MIB, isSync: true });
    await PagedBuffer.create(world.kernel, { sizeBytes: '1GiB' });
    expect(world.kernel.swap?.areas()[0].metadataFrames).toBeLessThanOrEqual(330);
    expect(world.kernel.meminfo().memFree).toBeGreaterThan(2048 - 700);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('works at the smallest memory a kernel has', async () => {
    const world = await SwapWorld.boot(80 * PAGE_SIZE);
    await world.area({ sizeBytes: 4 * MIB });
    const buffer = await filled(world, 2 * MIB);
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('and a new buffer find room while memory is full of what can be reclaimed', async () => {
    const world = await SwapWorld.boot('2MiB');
    await world.area({ sizeBytes: 8 * MIB });
    const buffer = await filled(world, 6 * MIB);
    const second = await world.run(PagedBuffer.create(world.kernel, { sizeBytes: 512 * MIB })); // 128 frames of cells
    expect(await world.run(second.write(400 * MIB, pattern(100_000, 2)))).toBe(100_000);
    await world.area({ sizeBytes: 200 * MIB });
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('several areas', () => {
  it('fill by priority, and take turns at equal priority', async () => {
    const world = await SwapWorld.boot('1MiB');
    const used = (): Record<string, number> =>
      Object.fromEntries((world.kernel.swap?.areas() ?? []).map(({ name, nrSlots, nrFree }) => [name, nrSlots - nrFree]));
    await world.area({ sizeBytes: 4 * MIB, name: 'low' }, { priority: -1 });
    await world.area({ sizeBytes: 4 * MIB, name: 'a' }, { priority: 5 });
    await world.area({ sizeBytes: 4 * MIB, name: 'b' }, { priority: 5 });
    await world.area({ sizeBytes: 0.5 * MIB, name: 'high' }, { priority: 9 });
    const buffer = await filled(world, 7 * MIB);
    await pushOut(world);
    expect(used().high).toBe(127);
    expect(used().low).toBe(0);
    expect(Math.abs(used().a - used().b)).toBeLessThanOrEqual(256);
    expect(await differs(world, buffer)).toBe(-1);
    const more = await filled(world, 4 * MIB, 2);
    await pushOut(world);
    expect(used().low).toBeGreaterThan(0);
    expect(await differs(world, more, 2)).toBe(-1);
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('serve on when one of them fails', async () => {
    for (const isSync of [true, false]) {
      let isBroken = false;
      const status = (op: BioOp): number => (isBroken && op !== BioOp.READ ? -Errno.EIO : 0);
      const world = await SwapWorld.boot('1MiB');
      await world.area({ sizeBytes: 8 * MIB, name: 'bad', isSync, status, trusted: false }, { priority: 5 });
      await world.area({ sizeBytes: 8 * MIB, name: 'good', isSync });
      const buffer = await filled(world, 2 * MIB);
      isBroken = true;
      const second = await filled(world, 3 * MIB, 2);
      expect(await differs(world, buffer)).toBe(-1);
      expect(await differs(world, second, 2)).toBe(-1);
      const report = await world.shutdown();
      expect(report.leakedFrames).toBe(0);
    }
  });
});

describe('pages that need no I/O', () => {
  it('are those of zeroes', async () => {
    const world = await SwapWorld.boot('1MiB');
    const { ops } = await world.area({ sizeBytes: 8 * MIB });
    const { nrWrites, nrReads } = ops;
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 4 * MIB });
    await world.run(buffer.write(0, new Uint8Array(4 * MIB)));
    await pushOut(world);
    const seen = new Uint8Array(4 * MIB).fill(1);
    await world.run(buffer.read(0, seen));
    expect(seen.every((byte) => byte === 0)).toBe(true);
    expect([ops.nrWrites, ops.nrReads]).toEqual([nrWrites, nrReads]);
    expect(world.kernel.vmstat().swpout_zero).toBeGreaterThan(500);
    await world.run(buffer.write(100, Uint8Array.of(7)));
    await pushOut(world);
    await world.run(buffer.read(0, seen));
    expect(seen[100]).toBe(7);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('are clean ones with a slot: dropped with no write; one that is dirtied again is written again', async () => {
    const world = await SwapWorld.boot('2MiB');
    const { ops } = await world.area({ sizeBytes: 8 * MIB });
    const buffer = await filled(world, 0.5 * MIB);
    await pushOut(world);
    expect(world.kernel.meminfo().anonPages).toBe(0);
    expect(await differs(world, buffer)).toBe(-1); // all of it is in the swap cache now
    expect(world.kernel.meminfo().anonPages).toBe(128);
    expect(world.kernel.meminfo().swapCached).toBe(128);
    const { nrWrites } = ops;
    const allocated = world.kernel.vmstat().pgalloc;
    for (let i = 0; i < 8; i++) world.kernel.reclaim.cleanPass(32);
    expect(world.kernel.meminfo().anonPages).toBe(0);
    expect(ops.nrWrites).toBe(nrWrites);
    expect(world.kernel.vmstat().pgalloc).toBe(allocated);
    expect(ops.inFlight.size).toBe(0);
    const again = pattern(PAGE_SIZE, 9);
    await world.run(buffer.write(0, again.subarray(0, 10)));
    await pushOut(world);
    expect(ops.nrWrites).toBe(nrWrites + 1);
    const seen = new Uint8Array(10);
    await world.run(buffer.read(0, seen));
    expect(firstDifference(seen, again.subarray(0, 10))).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('a page that changes while it is written out', () => {
  it('keeps its slot until then, and is written again', async () => {
    const world = await SwapWorld.boot('2MiB');
    const { ops } = await world.area({ sizeBytes: 8 * MIB, trusted: false });
    const buffer = await filled(world, 0.25 * MIB);
    world.kernel.reclaim.shrink(64, true, false);
    await world.time.advance(1.5); // the writes have ended, the flush has not
    ops.isSilent = true;
    const { swapFree } = world.kernel.meminfo();
    expect(world.kernel.meminfo().swapWriteback).toBeGreaterThan(0);
    await world.run(buffer.write(0, pattern(buffer.sizeBytes, 2)));
    expect(world.kernel.meminfo().swapFree).toBe(swapFree);
    ops.resume();
    await pushOut(world);
    expect(world.kernel.meminfo().anonPages).toBe(0);
    expect(await differs(world, buffer, 2)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('what the device does wrong', () => {
  it('shows as EIO when a checksum does not match, and is never a wrong byte', async () => {
    const world = await SwapWorld.boot('1MiB');
    const { ops } = await world.area({ sizeBytes: 8 * MIB }, { checksum: true });
    const buffer = await filled(world, 2 * MIB);
    await pushOut(world);
    for (let slot = 1; slot < 600; slot += 7) ops.corrupt(slot * PAGE_SIZE + ((slot * 13) % PAGE_SIZE));
    const seen = new Uint8Array(PAGE_SIZE);
    const codes = new Set<string>();
    const data = pattern(2 * MIB, 1);
    for (let index = 0; index < 512; index++) {
      const code = await codeOf(() => world.run(buffer.read(index * PAGE_SIZE, seen)));
      codes.add(code);
      if (code === 'none') expect(firstDifference(seen, data.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE))).toBe(-1);
    }
    expect([...codes].sort()).toEqual(['EIO', 'none']);
    checkKernel(world.kernel);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('never ends in an endless loop: flushes that always lose, writes that always fail', async () => {
    for (const isSync of [true, false]) {
      for (const [op, errno] of [
        [BioOp.FLUSH, WRITE_AGAIN],
        [BioOp.FLUSH, -Errno.EIO],
        [BioOp.WRITE, -Errno.EIO],
      ]) {
        let isBroken = false;
        const world = await SwapWorld.boot('1MiB');
        await world.area({ sizeBytes: 32 * MIB, isSync, trusted: false, status: (of) => (isBroken && of === op ? errno : 0) });
        const buffer = await filled(world, 2 * MIB);
        isBroken = true;
        const second = await PagedBuffer.create(world.kernel, { sizeBytes: 4 * MIB });
        const error = await errorOf(() => world.run(second.write(0, pattern(4 * MIB, 2)), 3_600_000));
        expect(['EIO', 'ENOMEM', 'ENOSPC']).toContain(error.code);
        second.close();
        expect(await differs(world, buffer)).toBe(-1); // what was stored is still there
        const report = await world.shutdown();
        expect(report.leakedFrames).toBe(0);
      }
    }
  });

  it('marks the slots that cannot be written bad, and keeps the pages', async () => {
    let n = 0;
    const world = await SwapWorld.boot('1MiB');
    await world.area({
      sizeBytes: 8 * MIB,
      status: (op, _nth, bio) =>
        op === BioOp.WRITE && bio.offsetBytes > 0 && bio.lengthBytes === PAGE_SIZE && ++n % 3 === 0 ? -Errno.EIO : 0,
      maxTransferPages: 1,
    });
    const buffer = await filled(world, 2 * MIB);
    await pushOut(world);
    const [area] = world.kernel.swap?.areas() ?? [];
    expect(area.nrBad).toBeGreaterThan(50);
    expect(area.nrSlots + area.nrBad).toBe(2047);
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('full swap', () => {
  it.each([true, false])('is ENOSPC to the writer, and everything stored is still there (sync %s)', async (isSync) => {
    const world = await SwapWorld.boot('1MiB');
    await world.area({ sizeBytes: 2 * MIB, isSync });
    const ballast = await filled(world, 40 * PAGE_SIZE, 2);
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 16 * MIB });
    const data = pattern(16 * MIB, 4);
    let stored = 0;
    let code = 'none';
    for (; stored < 16 * MIB; stored += PAGE_SIZE) {
      code = await codeOf(() => world.run(buffer.write(stored, data.subarray(stored, stored + PAGE_SIZE))));
      if (code !== 'none') break;
    }
    expect(code).toBe('ENOSPC');
    expect(stored).toBeGreaterThan(2 * MIB);
    checkKernel(world.kernel);
    const seen = new Uint8Array(stored);
    await world.run(buffer.read(0, seen));
    expect(firstDifference(seen, data.subarray(0, stored))).toBe(-1);
    // What is there can be changed, too, in place.
    await world.run(buffer.write(5000, Uint8Array.of(1, 2, 3)));
    await world.run(buffer.read(0, seen));
    expect([...seen.subarray(5000, 5003)]).toEqual([1, 2, 3]);
    expect(await differs(world, ballast, 2)).toBe(-1);
    // Room for another area's tables is all it takes to go on.
    ballast.close();
    await world.area({ sizeBytes: 16 * MIB, isSync });
    expect(await codeOf(() => world.run(buffer.write(stored, data.subarray(stored))))).toBe('none');
    expect(await world.shutdown()).toEqual(CLEAN);
    checkNothingHeld(world.kernel);
  });

  it('without any area is ENOMEM', async () => {
    const world = await SwapWorld.boot('1MiB');
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 4 * MIB });
    expect(await codeOf(() => world.run(buffer.write(0, pattern(4 * MIB, 4))))).toBe('ENOMEM');
    buffer.close();
    expect(world.kernel.meminfo().anonPages).toBe(0);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('swap off', () => {
  it('brings every page back under load, or fails and leaves everything', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.boolean(), async (seed, isSync) => {
        const random = seeded(seed);
        const world = await SwapWorld.boot('1MiB');
        const { kernel } = world;
        const first = await world.area({ sizeBytes: 4 * MIB, isSync, delayMs: () => random() * 10, trusted: random() < 0.5 });
        await world.area({ sizeBytes: 8 * MIB, isSync, delayMs: () => random() * 10 }, { priority: -5 });
        const size = 2 * MIB;
        const buffer = await filled(world, size);
        const doomed = await filled(world, MIB, 2);
        const data = pattern(size, 1);
        let isOver = false;
        const load = async (): Promise<void> => {
          const page = new Uint8Array(PAGE_SIZE);
          while (!isOver) {
            const at = Math.floor((random() * size) / PAGE_SIZE) * PAGE_SIZE;
            if (random() < 0.5) await buffer.read(at, page);
            else await buffer.write(at, data.subarray(at, at + PAGE_SIZE));
            if (random() < 0.02) doomed.close();
            if (random() < 0.3) kernel.reclaim.shrink(20, true, false);
            await new Promise<void>((resolve) => world.time.after(1, resolve));
          }
        };
        const loads = [load(), load(), load()];
        await world.run(kernel.swapOff(first.device));
        expect(kernel.swap?.areas().length).toBe(1);
        expect(first.device.holder).toBe(null);
        isOver = true;
        await world.run(Promise.all(loads));
        checkKernel(kernel);
        expect(await differs(world, buffer)).toBe(-1);
        expect(await world.shutdown()).toEqual(CLEAN);
        checkNothingHeld(kernel);
      }),
      { numRuns: 12 },
    );
  });

  it('that fails on EIO or for want of memory leaves the area on, with nothing lost', async () => {
    let isBroken = false;
    const world = await SwapWorld.boot('1MiB');
    const { device } = await world.area({ sizeBytes: 8 * MIB, status: (op) => (isBroken && op === BioOp.READ ? -Errno.EIO : 0) });
    const buffer = await filled(world, 3 * MIB);
    expect((await errorOf(() => world.run(world.kernel.swapOff(device)))).code).toBe('ENOMEM');
    const other = await world.area({ sizeBytes: 8 * MIB }, { priority: -1 });
    isBroken = true;
    expect((await errorOf(() => world.run(world.kernel.swapOff(device)))).code).toBe('EIO');
    isBroken = false;
    expect(world.kernel.swap?.areas().length).toBe(2);
    expect(await differs(world, buffer)).toBe(-1);
    const [one, two] = await world.run(Promise.all([1, 2].map(() => codeOf(() => world.kernel.swapOff(device)))));
    expect([one, two].sort()).toEqual(['EBUSY', 'none']);
    expect(await differs(world, buffer)).toBe(-1);
    expect(other.device.holder).toBe('swap');
    expect(await world.shutdown()).toEqual(CLEAN);
    checkNothingHeld(world.kernel);
  });

  it('of a failed area brings its pages back', async () => {
    let isBroken = false;
    const world = await SwapWorld.boot('1MiB');
    const { device } = await world.area({
      sizeBytes: 8 * MIB,
      trusted: false,
      status: (op) => (isBroken && op === BioOp.FLUSH ? -Errno.EIO : 0),
    });
    const buffer = await filled(world, 2 * MIB);
    isBroken = true;
    const second = await PagedBuffer.create(world.kernel, { sizeBytes: 4 * MIB });
    await errorOf(() => world.run(second.write(0, pattern(4 * MIB, 2))));
    second.close();
    await world.area({ sizeBytes: 8 * MIB });
    await world.run(world.kernel.swapOff(device));
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('memory (M1, M9)', () => {
  it('with every frame allocation failing from the moment reclaim starts, swap-out to a raw device still frees pages', async () => {
    const world = await SwapWorld.boot('1MiB');
    await world.area({ sizeBytes: 8 * MIB, trusted: false });
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 0.5 * MIB });
    await world.run(buffer.write(0, pattern(0.5 * MIB, 1)));
    const { allocator } = world.kernel.memory;
    const free = allocator.nrFree;
    const denied = (): never => {
      throw new Error('nobody may allocate now');
    };
    const saved = { allocPage: allocator.allocPage, allocPageSlow: allocator.allocPageSlow, allocBlock: allocator.allocBlock };
    Object.assign(allocator, { allocPage: denied, allocPageSlow: denied, allocBlock: denied });
    await pushOut(world, 10);
    Object.assign(allocator, saved);
    expect(allocator.nrFree).toBe(free + 128);
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('is not out while a device is silent for 30 s', async () => {
    const world = await SwapWorld.boot('1MiB');
    const { ops } = await world.area({ sizeBytes: 16 * MIB });
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 8 * MIB });
    const second = await PagedBuffer.create(world.kernel, { sizeBytes: MIB });
    ops.isSilent = true;
    let isOver = false;
    const write = Promise.resolve(buffer.write(0, pattern(8 * MIB, 1))).then(() => {
      isOver = true;
    });
    const other = Promise.resolve(second.write(0, pattern(MIB, 2)));
    await world.time.advance(30_000);
    expect(isOver).toBe(false);
    ops.resume();
    await world.run(Promise.all([write, other]));
    expect(await differs(world, buffer)).toBe(-1);
    expect(await differs(world, second, 2)).toBe(-1);
    expect(world.kernel.vmstat().oom).toBe(0);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('is found in clean pages although a device is silent', async () => {
    const world = await SwapWorld.boot('1MiB');
    const { ops } = await world.area({ sizeBytes: 16 * MIB });
    const file = world.device({ sizeBytes: 4 * MIB, name: 'file' });
    const cache = world.kernel.cacheDevice(file.device);
    const buffer = await filled(world, 100 * PAGE_SIZE);
    await world.run(cache.read(0, new Uint8Array(90 * PAGE_SIZE)));
    ops.isSilent = true;
    world.kernel.reclaim.shrink(40, true, false);
    await world.time.advance(10);
    const page = new Uint8Array(PAGE_SIZE);
    for (let index = 200; index < 500; index++) await world.run(cache.read(index * PAGE_SIZE, page), 1000);
    ops.resume();
    expect(await differs(world, buffer)).toBe(-1);
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('shutdown', () => {
  it('with everything in flight ends in time and leaves nothing, whatever the devices do', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.boolean(), fc.boolean(), async (seed, goesSilent, trusted) => {
        const random = seeded(seed);
        const world = await SwapWorld.boot('1MiB');
        const { kernel } = world;
        const { ops } = await world.area({ sizeBytes: 8 * MIB, trusted, delayMs: () => random() * 30 });
        const file = world.device({ sizeBytes: MIB, name: 'file', delayMs: () => random() * 30 });
        const cache = kernel.cacheDevice(file.device);
        const buffer = await filled(world, 3 * MIB);
        const calls: Promise<string>[] = [];
        for (let n = 0; n < 60; n++) {
          const bytes = new Uint8Array(5000);
          const at = Math.floor(random() * 2.9 * MIB);
          if (random() < 0.5) calls.push(codeOf(() => (random() < 0.5 ? buffer.read(at, bytes) : buffer.write(at, bytes))));
          else calls.push(codeOf(() => (random() < 0.5 ? cache.read(at >> 2, bytes) : cache.write(at >> 2, bytes))));
        }
        calls.push(codeOf(() => cache.sync()));
        calls.push(codeOf(() => kernel.swapOff(world.kernel.swap?.areas()[0].name ?? '')));
        await world.time.advance(random() * 20);
        if (goesSilent) ops.isSilent = file.ops.isSilent = true;
        const start = world.time.nowMs();
        const report = await world.shutdown(1000);
        expect(world.time.nowMs() - start).toBeLessThanOrEqual(1100);
        expect(report.leakedFrames).toBe(0);
        expect(report.leakedTimers).toBe(0);
        if (!goesSilent) expect(report.problems).toEqual([]);
        for (const code of await world.run(Promise.all(calls))) expect(['none', 'EBADF', 'EIO', 'EINVAL', 'ENOMEM']).toContain(code);
        expect(ops.inFlight.size + file.ops.inFlight.size).toBe(0);
        checkNothingHeld(kernel);
      }),
      { numRuns: 40, examples: [[2147483636, true, false]] },
    );
  });

  it('without swap plugin, swap and buffers are refused with ENOSYS', async () => {
    const time = new VirtualTime();
    const kernel = await Kernel.boot({ memory: '1MiB', plugins: [virtualHost(time)] });
    const device = await kernel.openBlockDevice('mem:1MiB');
    expect(await codeOf(() => kernel.swapOn(device, { format: true }))).toBe('ENOSYS');
    expect(await codeOf(() => PagedBuffer.create(kernel, { sizeBytes: 4096 }))).toBe('ENOSYS');
    expect(await kernel.shutdown()).toEqual(CLEAN);
  });
});
