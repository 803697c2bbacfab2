/**
 * What can meet what in the page cache: each pair of the matrix in `page-cache.ts`, under random schedules.
 *
 * A few calls of both kinds run at once over a few pages; delays and the order of steps come from a seed. Whatever the schedule:
 *
 *     a byte that is read is one that some call made, or was there before    never rubbish of a frame, nor of a page that has gone
 *     at the end memory, the blocks and what is durable agree               no write is lost, no page left behind
 *     nothing is held, all invariants hold
 *
 * `TIDEMARK_NR_SEEDS` schedules a pair; default 20. A failure says its seed; `TIDEMARK_SEED` runs that one alone.
 */
import { Errno, PAGE_SIZE, PG, type TaskContext } from '@tidemark/core';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import { bootFile, type FileWorld } from './support/file-world.js';
import { firstDifference } from './support/pattern.js';
import { seeded } from './support/virtual-time.js';

const NR_PAGES = 6;
const SIZE = NR_PAGES * PAGE_SIZE;
const NR_SEEDS = Number(process.env.TIDEMARK_NR_SEEDS ?? 20);

const KINDS = ['read', 'write', 'truncate', 'punch', 'writeback', 'sync', 'reclaim', 'invalidate', 'direct'] as const;
type Kind = (typeof KINDS)[number];

/** What bytes may hold: every value that any call of the run puts there. There are few: a bit each. */
class Possible {
  readonly #bits = new Uint32Array(SIZE * 2);
  /** Bit of each value of a byte; 0 for one that nobody writes. */
  readonly #bitOf = new Uint32Array(256);
  #nrValues = 0;

  constructor(before: Uint8Array) {
    this.#bit(0);
    for (let at = 0; at < SIZE * 2; at++) this.#bits[at] = this.#bit(at < SIZE ? before[at] : 0);
  }

  #bit(value: number): number {
    if (this.#bitOf[value] === 0) this.#bitOf[value] = 1 << this.#nrValues++;
    return this.#bitOf[value];
  }

  add(from: number, to: number, value: number): void {
    const bit = this.#bit(value);
    for (let at = from; at < to; at++) this.#bits[at] |= bit;
  }

  check(at: number, bytes: Uint8Array, who: string): void {
    for (let i = 0; i < bytes.length; i++) {
      if ((this.#bits[at + i] & this.#bitOf[bytes[i]]) !== 0) continue;
      const may = [...this.#bitOf.keys()].filter((value) => (this.#bits[at + i] & this.#bitOf[value]) !== 0);
      throw new Error(`${who}: byte ${at + i} is ${bytes[i]}; it may be ${may.join(', ')}`);
    }
  }
}

class Run {
  readonly #random: () => number;
  readonly #possible: Possible;
  #nrWrites = 0;

  constructor(
    readonly world: FileWorld,
    before: Uint8Array,
    random: () => number,
  ) {
    this.#random = random;
    this.#possible = new Possible(before);
  }

  #dice(n: number): number {
    return Math.floor(this.#random() * n);
  }

  /** Lets others go first, as it comes. */
  async #hops(): Promise<void> {
    for (let hop = this.#dice(12); hop > 0; hop--) await Promise.resolve();
    if (this.#dice(3) === 0) await new Promise<void>((resolve) => this.world.time.after(this.#dice(4), resolve));
  }

  async #range(): Promise<{ at: number; length: number }> {
    await this.#hops();
    const isAligned = this.#dice(2) === 0;
    const at = isAligned ? this.#dice(NR_PAGES) * PAGE_SIZE : this.#dice(SIZE - 1);
    const length = isAligned ? PAGE_SIZE * (1 + this.#dice(2)) : 1 + this.#dice(2 * PAGE_SIZE);
    return { at, length: Math.min(length, SIZE - at) };
  }

  /** One call. What it puts there is possible from the beginning of the run. */
  plan(kind: Kind): () => Promise<void> {
    const { cache, kernel, file } = this.world;
    const task: TaskContext = kernel.task;
    const range = this.#range();
    switch (kind) {
      case 'read':
        return async () => {
          const { at, length } = await range;
          const target = new Uint8Array(length).fill(0xaa);
          const got = await cache.read(task, at, target);
          expect(got).toBeGreaterThanOrEqual(0);
          this.#possible.check(at, target.subarray(0, got), 'read');
        };
      case 'direct':
      case 'write': {
        const value = 1 + this.#nrWrites++;
        return async () => {
          let { at, length } = await range;
          if (kind === 'direct') {
            at -= at % PAGE_SIZE;
            length = PAGE_SIZE * Math.ceil(length / PAGE_SIZE);
          }
          this.#possible.add(at, at + length, value);
          const bytes = new Uint8Array(length).fill(value);
          expect(await (kind === 'direct' ? cache.writeDirect(task, at, bytes) : cache.write(task, at, bytes))).toBe(length);
        };
      }
      case 'truncate':
        return async () => {
          const { at } = await range;
          this.#possible.add(at, SIZE * 2, 0);
          expect(await cache.truncate(task, at, () => file.free(Math.ceil(at / PAGE_SIZE)))).toBe(0);
        };
      case 'punch':
        return async () => {
          const { at, length } = await range;
          this.#possible.add(at, at + length, 0);
          expect(await cache.punch(task, at, length, (from, to) => file.free(from, to))).toBe(0);
        };
      case 'writeback':
        return async () => {
          await this.#hops();
          cache.startWriteback(1 + this.#dice(NR_PAGES));
        };
      case 'sync':
        return async () => {
          await this.#hops();
          expect(await cache.sync(task)).toBe(0);
        };
      case 'reclaim':
        return async () => {
          await this.#hops();
          if (this.#dice(2) === 0) kernel.reclaim.cleanPass(NR_PAGES);
          else kernel.reclaim.shrink(NR_PAGES, true, false);
          this.#evictClean();
        };
      case 'invalidate':
        return async () => {
          const { at, length } = await range;
          expect([0, -Errno.EBUSY]).toContain(await cache.invalidate(task, at, length));
        };
    }
  }

  /** Drops every page that reclaim could, young or not. */
  #evictClean(): void {
    const { cache, kernel } = this.world;
    const { flags, refs } = kernel.memory.frames;
    for (let index = cache.nextPage(0); index >= 0; index = cache.nextPage(index + 1)) {
      const pfn = cache.lookup(index);
      if ((flags[pfn] & (PG.DIRTY | PG.WRITEBACK | PG.LOCKED)) !== 0 || refs[pfn] > 0 || this.#dice(3) === 0) continue;
      const shadow = kernel.reclaim.policy.evicted(pfn);
      kernel.reclaim.policy.remove(pfn);
      cache.evict(pfn, shadow);
      kernel.memory.allocator.freePage(pfn);
    }
  }

  /** Memory, blocks and what is durable agree. */
  async settle(): Promise<void> {
    const { cache, kernel, file, time } = this.world;
    const inMemory = new Uint8Array(cache.sizeBytes);
    expect(await time.run(cache.read(kernel.task, 0, inMemory))).toBe(inMemory.length);
    this.#possible.check(0, inMemory, 'at the end');
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    expect(await time.run(cache.invalidate(kernel.task))).toBe(0);
    expect(cache.nrPages).toBe(0);
    expect(cache.nrDirty).toBe(0);
    expect(kernel.meminfo().dirty).toBe(0);
    expect(firstDifference(file.content(true), inMemory)).toBe(-1);
    // What was cut off reads as zeroes when the file grows again, straight from what is stored.
    await time.run(cache.truncate(kernel.task, SIZE * 2));
    const grown = new Uint8Array(SIZE * 2);
    await time.run(cache.read(kernel.task, 0, grown));
    expect(firstDifference(grown.subarray(0, inMemory.length), inMemory)).toBe(-1);
    expect(firstDifference(grown.subarray(inMemory.length), new Uint8Array(SIZE * 2 - inMemory.length))).toBe(-1);
    checkKernel(kernel);
  }
}

async function runPair(a: Kind, b: Kind, seed: number): Promise<void> {
  const random = seeded(seed);
  const world = await bootFile('512KiB', { delayMs: () => Math.floor(random() * 6) - 1 });
  const { cache, kernel, time } = world;
  const before = new Uint8Array(SIZE);
  for (let index = 0; index < NR_PAGES; index++) before.fill(200 + index, index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
  expect(await time.run(cache.write(kernel.task, 0, before))).toBe(SIZE);
  if (random() < 0.7) await time.run(cache.sync(kernel.task));
  if (random() < 0.5) await time.run(cache.invalidate(kernel.task));
  if (random() < 0.5) await time.run(cache.write(kernel.task, PAGE_SIZE, before.subarray(PAGE_SIZE, 3 * PAGE_SIZE)));
  const run = new Run(world, before, random);
  const calls = [a, b, ...Array.from({ length: 1 + Math.floor(random() * 3) }, () => (random() < 0.5 ? a : b))].map((kind) =>
    run.plan(kind)(),
  );
  await time.run(Promise.all(calls));
  checkKernel(kernel);
  await run.settle();
  expect(await time.run(kernel.shutdown())).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  checkNothingHeld(kernel);
}

describe('the concurrency matrix of the page cache', () => {
  const only = process.env.TIDEMARK_SEED;
  const pairs = KINDS.flatMap((a, i) => KINDS.slice(i).map((b) => [a, b] as const));
  it.each(pairs)('%s × %s', { timeout: 600_000 }, async (a, b) => {
    const seeds = only === undefined ? Array.from({ length: NR_SEEDS }, (_, i) => i + 1) : [Number(only)];
    for (const seed of seeds) {
      try {
        await runPair(a, b, seed);
      } catch (cause) {
        throw new Error(`${a} × ${b}: TIDEMARK_SEED=${seed} fails: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
      }
    }
  });
});
