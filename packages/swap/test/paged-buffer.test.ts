/** PagedBuffer against a model, in memories barely large enough, on devices that do everything a device may do. */
import { BioOp, Errno, PAGE_SIZE, type SwapOnOptions, WRITE_AGAIN } from '@tidemark/core';
import { PagedBuffer } from '@tidemark/swap';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteModel, rounds } from '../../core/test/support/byte-model.js';
import { checkKernel, checkNothingHeld } from '../../core/test/support/check-kernel.js';
import { firstDifference, pattern } from '../../core/test/support/pattern.js';
import { seeded } from '../../core/test/support/virtual-time.js';
import { type AreaOptions, CLEAN, codeOf, MIB, SwapWorld } from './support/swap-world.js';

interface Kind {
  readonly name: string;
  area(random: () => number): AreaOptions;
  readonly on?: SwapOnOptions;
  readonly mayFail?: readonly string[];
}

const KINDS: Kind[] = [
  { name: 'a device that ends within submit', area: () => ({ isSync: true }) },
  { name: 'a device that is late and out of order', area: (random) => ({ delayMs: () => random() * 30 }) },
  { name: 'one page a request', area: (random) => ({ delayMs: () => random() * 5, maxTransferPages: 1 }) },
  { name: 'an untrusted device that must be flushed', area: (random) => ({ trusted: false, delayMs: () => random() * 30 }) },
  { name: 'an untrusted device that ends within submit', area: () => ({ trusted: false, isSync: true }) },
  {
    name: 'a server that restarts and loses what was not flushed',
    area: (random) => ({
      trusted: false,
      delayMs: () => random() * 10,
      status: (op) => (op === BioOp.FLUSH && random() < 0.3 ? WRITE_AGAIN : 0),
    }),
    on: { checksum: true },
  },
  {
    name: 'a device whose writes fail now and then',
    area: (random) => ({ delayMs: () => random() * 10, status: (op) => (op === BioOp.WRITE && random() < 0.05 ? -Errno.EIO : 0) }),
  },
  {
    name: 'a device that fails within submit now and then',
    area: (random) => ({ isSync: true, status: (op) => (op !== BioOp.FLUSH && random() < 0.04 ? -Errno.EIO : 0) }),
    mayFail: ['EIO'],
  },
  {
    name: 'a device whose reads fail now and then',
    area: (random) => ({ delayMs: () => random() * 10, status: (op) => (op === BioOp.READ && random() < 0.05 ? -Errno.EIO : 0) }),
    mayFail: ['EIO'],
  },
  {
    name: 'a device whose flushes fail now and then',
    area: (random) => {
      let failed = 0;
      return {
        trusted: false,
        delayMs: () => random() * 10,
        // Never often enough in a row for the area to be given up.
        status: (op) => {
          if (op !== BioOp.FLUSH) return 0;
          failed = random() < 0.3 && failed < 2 ? failed + 1 : 0;
          return failed > 0 ? -Errno.EIO : 0;
        },
      };
    },
    on: { checksum: true },
  },
];

describe('a PagedBuffer is an array of bytes', () => {
  it.each(KINDS)('on $name', async ({ area, on, mayFail }) => {
    await fc.assert(
      fc.asyncProperty(rounds(10, 10), fc.integer(), fc.constantFrom(4, 6.5, 3.9), async (all, seed, sizeMib) => {
        const random = seeded(seed);
        const world = await SwapWorld.boot(MIB);
        const { kernel } = world;
        const quiet = { on: false };
        const options = area(() => (quiet.on ? 0.999 : random()));
        quiet.on = true; // while it is made
        await world.area({ sizeBytes: 8 * MIB, ...options, delayMs: options.delayMs && (() => random() * 20) }, { format: true, ...on });
        quiet.on = false;
        const buffer = await PagedBuffer.create(kernel, { sizeBytes: Math.floor(sizeMib * MIB) - 100 });
        const model = new ByteModel(buffer, buffer.sizeBytes, (code) => mayFail?.includes(code) ?? false);
        // More than memory to begin with, so that everything that follows meets pages that are out.
        for (let at = 0; at < 2 * MIB; at += 256 * 1024) {
          const bytes = pattern(256 * 1024, at);
          while ((await codeOf(() => world.run(buffer.write(at, bytes)))) !== 'none');
          model.bytes.set(bytes, at);
        }
        for (const ops of all) {
          await world.run(
            model.round(ops, () => {
              if (random() < 0.3) kernel.reclaim.shrink(60, true, false);
              if (random() < 0.2) kernel.reclaim.cleanPass(20);
            }),
          );
          checkKernel(kernel);
        }
        await world.run(model.verify());
        if (random() < 0.5) buffer.close();
        expect(await world.shutdown()).toEqual(CLEAN);
        checkNothingHeld(kernel);
      }),
      { numRuns: 12 },
    );
  });

  it('of any size is made of zeroes, and ends where it ends', async () => {
    const world = await SwapWorld.boot(MIB);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 20_000 }), fc.nat(25_000), fc.nat(9000), async (sizeBytes, offset, length) => {
        const buffer = await PagedBuffer.create(world.kernel, { sizeBytes });
        const target = new Uint8Array(length).fill(9);
        const want = Math.max(0, Math.min(length, sizeBytes - offset));
        expect(await buffer.read(offset, target)).toBe(want);
        expect(target.subarray(0, want).every((byte) => byte === 0)).toBe(true);
        expect(target.subarray(want).every((byte) => byte === 9)).toBe(true);
        const fits = offset + length <= sizeBytes || length === 0;
        expect(await codeOf(() => buffer.write(offset, target))).toBe(fits ? 'none' : 'EINVAL');
        for (const bad of [-1, 0.5, Number.NaN]) expect(await codeOf(() => buffer.read(bad, target))).toBe('EINVAL');
        buffer.close();
        buffer.close();
        expect(await codeOf(() => buffer.read(0, target))).toBe('EBADF');
        expect(await codeOf(() => buffer.write(0, target))).toBe('EBADF');
      }),
    );
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('never shows what a frame held before, whenever it is read while a page of it is written', async () => {
    const world = await SwapWorld.boot(MIB);
    const BATCH = 64;
    let look = (): void => {};
    const burst = async (): Promise<void> => {
      for (let hop = 0; hop < 20; hop++) await Promise.resolve(look());
    };
    await world.area({ sizeBytes: 8 * MIB, onEnded: () => void burst() });
    const secret = await PagedBuffer.create(world.kernel, { sizeBytes: 3 * MIB });
    await world.run(secret.write(0, new Uint8Array(3 * MIB).fill(0x55)));
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 2 * MIB });
    const shown = new Set<number>();
    const page = new Uint8Array(PAGE_SIZE).fill(3);
    for (let first = 0; first < 512; first += BATCH) {
      look = () => {
        const seen = new Uint8Array(1);
        for (let i = first; i < first + BATCH; i++) if (typeof buffer.read(i * PAGE_SIZE, seen) === 'number') shown.add(seen[0]);
      };
      await world.run(Promise.all(Array.from({ length: BATCH }, (_, i) => buffer.write((first + i) * PAGE_SIZE, page))));
    }
    look = () => {};
    expect([...shown].sort()).toEqual([0, 3]);
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('survives the failure of each single request', async () => {
    const SIZE = 700_000;
    const data = pattern(SIZE, 3);
    for (const isSync of [true, false]) {
      for (let n = 1, hasFailed = true; hasFailed; n += n < 40 ? 1 : 11) {
        hasFailed = false;
        let nth = -1; // not counting while the area is made
        const status = (): number => {
          if (nth < 0 || ++nth !== n) return 0;
          hasFailed = true;
          return -Errno.EIO;
        };
        const world = await SwapWorld.boot('400KiB');
        await world.area({ sizeBytes: 2 * MIB, isSync, status, trusted: false });
        nth = 0;
        const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: SIZE });
        const errors: string[] = [];
        const insist = async (work: () => unknown): Promise<void> => {
          for (let code = ''; code !== 'none'; errors.push(code)) code = await codeOf(() => world.run((async () => work())()));
        };
        const seen = new Uint8Array(SIZE);
        await insist(() => buffer.write(0, data));
        await insist(() => buffer.read(0, seen));
        expect(firstDifference(seen, data)).toBe(-1);
        expect(errors.filter((code) => code !== 'none').length).toBeLessThanOrEqual(1);
        expect(errors.every((code) => code === 'none' || code === 'EIO')).toBe(true);
        expect(world.kernel.swap?.areas()[0].nrBad).toBeLessThanOrEqual(1);
        expect(await world.shutdown()).toEqual(CLEAN);
        checkNothingHeld(world.kernel);
      }
    }
  });
});

describe('overlapping calls', () => {
  it.each([true, false])('on one page, with faults, writes and closes in between (sync %s)', async (isSync) => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const random = seeded(seed);
        const world = await SwapWorld.boot(MIB);
        await world.area({ sizeBytes: 8 * MIB, isSync, delayMs: () => random() * 10 });
        const buffers: PagedBuffer[] = [];
        for (let i = 0; i < 3; i++) buffers.push(await PagedBuffer.create(world.kernel, { sizeBytes: MIB }));
        for (const buffer of buffers) await world.run(buffer.write(0, new Uint8Array(MIB).fill(1)));
        const work: Promise<unknown>[] = [];
        for (let n = 0; n < 150; n++) {
          const buffer = buffers[Math.floor(random() * 3)];
          const offset = Math.floor(random() * 250) * PAGE_SIZE;
          const kind = random();
          const bytes = new Uint8Array(kind < 0.3 ? PAGE_SIZE : 100).fill(1);
          work.push(codeOf(() => (kind < 0.6 ? buffer.write(offset, bytes) : buffer.read(offset, bytes))));
          if (random() < 0.01) buffer.close();
          if (random() < 0.1) await Promise.resolve();
          if (random() < 0.02) await world.time.advance(random() * 10);
          if (random() < 0.1) world.kernel.reclaim.shrink(20, true, false);
        }
        for (const code of await world.run(Promise.all(work))) expect(['none', 'EBADF']).toContain(code);
        checkKernel(world.kernel);
        const page = new Uint8Array(MIB);
        for (const buffer of buffers) {
          if (buffer.isClosed) continue;
          await world.run(buffer.read(0, page));
          expect(page.every((byte) => byte === 1)).toBe(true);
        }
        expect(await world.shutdown()).toEqual(CLEAN);
        checkNothingHeld(world.kernel);
      }),
      { numRuns: 25 },
    );
  });

  it('of more readers than there are frames all end well', async () => {
    const world = await SwapWorld.boot(MIB);
    await world.area({ sizeBytes: 8 * MIB, delayMs: () => 5 });
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 4 * MIB });
    await world.run(buffer.write(0, pattern(4 * MIB, 1)));
    const reads = Array.from({ length: 900 }, async (_, i) => {
      const seen = new Uint8Array(64);
      await buffer.read(((i * 641) % 1024) * PAGE_SIZE, seen);
    });
    await world.run(Promise.all(reads));
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});

describe('iteration and views', () => {
  it('give the bytes in order', async () => {
    const world = await SwapWorld.boot(MIB);
    await world.area({ sizeBytes: 8 * MIB });
    for (const sizeBytes of [1, 65_536, 3 * MIB + 17]) {
      const data = pattern(sizeBytes, 5);
      const buffer = await PagedBuffer.create(world.kernel, { sizeBytes });
      await world.run(buffer.write(0, data));
      const seen: number[] = [];
      const whole = new Uint8Array(sizeBytes);
      const all = (async () => {
        for await (const chunk of buffer) {
          whole.set(chunk, seen.at(-1) ?? 0);
          seen.push((seen.at(-1) ?? 0) + chunk.length);
          expect(chunk.length).toBeLessThanOrEqual(65_536);
        }
      })();
      await world.run(all);
      expect(firstDifference(whole, data)).toBe(-1);
      buffer.close();
    }
    expect(await world.shutdown()).toEqual(CLEAN);
  });

  it('are typed arrays, in memory or not', async () => {
    const world = await SwapWorld.boot(MIB);
    await world.area({ sizeBytes: 8 * MIB });
    const buffer = await PagedBuffer.create(world.kernel, { sizeBytes: 2 * MIB });
    const view = buffer.view('f64', 4096 - 16, 1000);
    const mirror = new Float64Array(1000);
    const fill = (async () => {
      for (let i = 0; i < 1000; i++) {
        mirror[i] = i * 1.5 - 7;
        await view.set(i, mirror[i]);
      }
      await buffer.write(16_384, pattern(2 * MIB - 16_384, 1));
      const got = await Promise.all(Array.from({ length: 1000 }, (_, i) => view.get(i)));
      expect(Float64Array.from(got)).toEqual(mirror);
      const part = new Float64Array(10);
      expect(await view.read(990, part)).toBe(10);
      expect(part).toEqual(mirror.subarray(990));
    })();
    await world.run(fill);
    for (const bad of [() => view.get(1000), () => view.get(-1), () => view.get(0.5), () => view.read(991, new Float64Array(10))])
      expect(await codeOf(bad)).toBe('EINVAL');
    for (const bad of [() => buffer.view('u32', 2), () => buffer.view('u8', 0, 2 * MIB + 1), () => buffer.view('u8', -4)])
      expect(await codeOf(bad)).toBe('EINVAL');
    // An array of other elements would reach past the view.
    expect(await codeOf(() => buffer.view('u8', 0, 8).read(0, new Float64Array(8)))).toBe('EINVAL');
    expect(await codeOf(() => buffer.view('u8', 0, 8).write(0, new Float64Array(8)))).toBe('EINVAL');
    expect(await world.shutdown()).toEqual(CLEAN);
  });
});
