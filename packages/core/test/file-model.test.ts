/** Files that grow, shrink and have holes, through the page cache, against an array of bytes: the checker of the kind of fsx. */
import { Errno, PAGE_SIZE, type PageCache } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import { bootFile } from './support/file-world.js';
import { firstDifference, pattern } from './support/pattern.js';
import { seeded } from './support/virtual-time.js';

const SIZE_MAX = 40 * PAGE_SIZE;

interface Step {
  readonly kind: 'write' | 'append' | 'read' | 'truncate' | 'punch' | 'sync' | 'shrink' | 'cleanPass' | 'invalidate' | 'flush' | 'wait';
  readonly at: number;
  readonly length: number;
  readonly isAligned: boolean;
}

const steps = fc.array(
  fc.record({
    kind: fc.constantFrom(
      'write',
      'write',
      'write',
      'append',
      'read',
      'read',
      'truncate',
      'punch',
      'sync',
      'shrink',
      'cleanPass',
      'invalidate',
      'flush',
      'wait',
    ),
    at: fc.nat(SIZE_MAX - 1),
    length: fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constant(PAGE_SIZE), fc.integer({ min: 1, max: 50_000 })),
    isAligned: fc.boolean(),
  }) as fc.Arbitrary<Step>,
  { minLength: 1, maxLength: 60 },
);

describe('a file behind the page cache', () => {
  it('is an array of bytes, whatever is written, cut, punched, synced, reclaimed and delayed', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer(), fc.boolean(), async (all, seed, isSync) => {
        const random = seeded(seed);
        const { time, kernel, file, cache } = await bootFile('512KiB', { delayMs: () => Math.floor(random() * 12) - 1 }, isSync);
        let model = new Uint8Array(0);
        let tag = 0;
        const resize = (sizeBytes: number): void => {
          const next = new Uint8Array(sizeBytes);
          next.set(model.subarray(0, sizeBytes));
          model = next;
        };
        const write = async (at: number, length: number): Promise<void> => {
          const bytes = pattern(length, ++tag);
          if (at + length > model.length) resize(at + length);
          model.set(bytes, at);
          expect(await time.run(cache.write(kernel.task, at, bytes))).toBe(length);
        };
        for (const { kind, at: anywhere, length: wanted, isAligned } of all) {
          const at = isAligned ? anywhere - (anywhere % PAGE_SIZE) : anywhere;
          const length = Math.min(wanted, SIZE_MAX - at);
          if (kind === 'write') await write(at, length);
          else if (kind === 'append') await write(model.length, Math.max(1, Math.min(length, SIZE_MAX - model.length)));
          else if (kind === 'truncate') {
            resize(at);
            expect(await time.run(cache.truncate(kernel.task, at))).toBe(0);
            file.free(Math.ceil(at / PAGE_SIZE));
          } else if (kind === 'punch') {
            model.fill(0, at, at + length);
            expect(await time.run(cache.punch(kernel.task, at, length, (first, last) => file.free(first, last)))).toBe(0);
          } else if (kind === 'sync') {
            expect(await time.run(cache.sync(kernel.task))).toBe(0);
            expect(firstDifference(file.content(true), model)).toBe(-1);
          } else if (kind === 'shrink') kernel.reclaim.shrink(40, true, false);
          else if (kind === 'cleanPass') kernel.reclaim.cleanPass(100);
          else if (kind === 'flush') cache.startWriteback(20);
          else if (kind === 'wait') await time.advance(random() * 40_000);
          else if (kind === 'invalidate') expect([0, -Errno.EBUSY]).toContain(await time.run(cache.invalidate(kernel.task, at, length)));
          else await readBack(time.run.bind(time), cache, kernel.task, model, at, length);
          expect(cache.sizeBytes).toBe(model.length);
          checkKernel(kernel);
        }
        await readBack(time.run.bind(time), cache, kernel.task, model, 0, model.length + 100);
        expect(await time.run(kernel.shutdown())).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
        expect(firstDifference(file.content(true), model)).toBe(-1);
        checkNothingHeld(kernel);
      }),
      { numRuns: 150 },
    );
  });

  it('far past 4 GiB: at the edges of 32 bits and at the last byte that can be', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    const edges = [2 ** 31, 2 ** 32, 2 ** 32 + 2 ** 31, 2 ** 40, 2 ** 44 - 3000];
    for (const edge of edges) expect(await time.run(cache.write(kernel.task, edge - 3000, pattern(6000, edge % 1000)))).toBe(6000);
    expect(await time.run(cache.write(kernel.task, 2 ** 44 - 10, pattern(20, 1)))).toBe(10);
    expect(await time.run(cache.write(kernel.task, 2 ** 44, pattern(20, 1)))).toBe(-Errno.EFBIG);
    expect(cache.sizeBytes).toBe(2 ** 44);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(await time.run(cache.invalidate(kernel.task))).toBe(0);
    expect(cache.nrPages).toBe(0);
    for (const edge of edges.slice(0, -1)) {
      const seen = new Uint8Array(6000);
      expect(await time.run(cache.read(kernel.task, edge - 3000, seen))).toBe(6000);
      expect(firstDifference(seen, pattern(6000, edge % 1000))).toBe(-1);
    }
    expect(await time.run(cache.truncate(kernel.task, 2 ** 32 + 5))).toBe(0);
    file.free(2 ** 20 + 1);
    const tail = new Uint8Array(100);
    expect(await time.run(cache.read(kernel.task, 2 ** 32, tail))).toBe(5);
    expect(await time.run(kernel.shutdown())).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    checkNothingHeld(kernel);
  });

  it('keeps what others wrote into a page that was behind the end when a write of it began', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB');
    file.isSilent = 'dirty';
    const late = (async () => cache.write(kernel.task, 100, new Uint8Array(100).fill(1)))();
    await time.advance(10);
    file.isSilent = false;
    expect(await time.run(cache.write(kernel.task, 0, new Uint8Array(PAGE_SIZE).fill(2)))).toBe(PAGE_SIZE);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(await time.run(cache.invalidate(kernel.task))).toBe(0);
    expect(cache.nrPages).toBe(0);
    file.resume();
    expect(await time.run(late)).toBe(100);
    const want = new Uint8Array(PAGE_SIZE).fill(2).fill(1, 100, 200);
    const seen = new Uint8Array(PAGE_SIZE);
    expect(await time.run(cache.read(kernel.task, 0, seen))).toBe(PAGE_SIZE);
    expect(firstDifference(seen, want)).toBe(-1);
    await time.run(kernel.shutdown());
  });

  it('of a full disk: ENOSPC comes from the write, with what fitted written, and never from a later sync', async () => {
    const { time, kernel, file, cache } = await bootFile('1MiB', { nrBlocks: 5 });
    expect(await time.run(cache.write(kernel.task, 100, pattern(8 * PAGE_SIZE, 1)))).toBe(5 * PAGE_SIZE - 100);
    expect(await time.run(cache.write(kernel.task, 5 * PAGE_SIZE, pattern(10, 1)))).toBe(-Errno.ENOSPC);
    expect(cache.sizeBytes).toBe(5 * PAGE_SIZE);
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(firstDifference(file.content(true).subarray(100), pattern(5 * PAGE_SIZE - 100, 1))).toBe(-1);
    await time.run(kernel.shutdown());
  });
});

async function readBack(
  run: <T>(work: Promise<T> | T) => Promise<T>,
  cache: PageCache,
  task: Parameters<PageCache['read']>[0],
  model: Uint8Array,
  at: number,
  length: number,
): Promise<void> {
  const target = new Uint8Array(length).fill(0xaa);
  const want = model.subarray(Math.min(at, model.length), at + length);
  expect(await run(cache.read(task, at, target))).toBe(want.length);
  const difference = firstDifference(target.subarray(0, want.length), want);
  if (difference >= 0) throw new Error(`byte ${at + difference} reads ${target[difference]}, not ${want[difference]}`);
}
