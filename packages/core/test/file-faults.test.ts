/**
 * Files behind the page cache when things fail: each single operation of the backing, each single allocation, a device that fails for a while.
 * No byte that a sync has said is safe is lost, whatever fails afterwards; each failure is a typed error; nothing leaks.
 *
 * `TIDEMARK_EVERY=1` fails each operation and each allocation, not only some.
 */
import { Errno, PAGE_SIZE } from '@tidemark/core';
import { describe, expect, it } from 'vitest';
import { checkKernel, checkNothingHeld } from './support/check-kernel.js';
import type { BackingOp } from './support/file-backing.js';
import { bootFile, type FileWorld } from './support/file-world.js';
import { pattern } from './support/pattern.js';
import { seeded } from './support/virtual-time.js';

const NR_PAGES = 30;
const MAY_FAIL = [-Errno.EIO, -Errno.ENOMEM, -Errno.ENOSPC];

/** A workload of writes, cuts, holes and syncs; what may be read of each byte is kept beside it. */
class Load {
  /** What each byte holds; where a cut failed it may be zero instead. */
  readonly #bytes = new Uint8Array(NR_PAGES * PAGE_SIZE);
  readonly #mayBeZero = new Uint8Array(NR_PAGES * PAGE_SIZE);
  readonly errors: number[] = [];
  #size = 0;

  constructor(
    readonly world: FileWorld,
    readonly random: () => number,
  ) {}

  #note(status: number): boolean {
    if (status >= 0) return true;
    expect(MAY_FAIL).toContain(status);
    this.errors.push(status);
    return false;
  }

  async run(nrSteps: number): Promise<void> {
    const { cache, kernel, file, time } = this.world;
    const { random } = this;
    for (let step = 0; step < nrSteps; step++) {
      const at = Math.floor(random() * (NR_PAGES - 4) * PAGE_SIZE);
      const dice = random();
      if (dice < 0.6) {
        const bytes = pattern(1 + Math.floor(random() * 3 * PAGE_SIZE), step);
        const before = this.#size;
        const done = await time.run(cache.write(kernel.task, at, bytes));
        this.#note(done);
        if (done > 0) {
          this.#bytes.set(bytes.subarray(0, done), at);
          this.#mayBeZero.fill(0, at, at + done);
          this.#size = Math.max(before, at + done);
        }
      } else if (dice < 0.68) {
        const status = await time.run(cache.truncate(kernel.task, at, () => file.free(Math.ceil(at / PAGE_SIZE))));
        if (this.#note(status)) {
          this.#bytes.fill(0, at);
          this.#mayBeZero.fill(0, at);
          this.#size = at;
        } else this.#mayBeZero.fill(1, at, Math.ceil(at / PAGE_SIZE) * PAGE_SIZE); // the rest of its page may be zero already
        this.#size = cache.sizeBytes;
      } else if (dice < 0.75) kernel.reclaim.shrink(30, true, false);
      else if (dice < 0.85) {
        const target = new Uint8Array(2 * PAGE_SIZE);
        const got = await time.run(cache.read(kernel.task, at, target));
        if (this.#note(got)) this.#check(at, target.subarray(0, got));
      } else if (this.#note(await time.run(cache.sync(kernel.task)))) this.#check(0, file.content(true));
      expect(cache.sizeBytes).toBe(this.#size);
      checkKernel(kernel);
    }
  }

  #check(at: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const isRight = bytes[i] === this.#bytes[at + i] || (bytes[i] === 0 && this.#mayBeZero[at + i] === 1);
      if (!isRight) throw new Error(`byte ${at + i} is ${bytes[i]}, not ${this.#bytes[at + i]}`);
    }
  }

  /** Nothing fails any more: everything is there, in memory and behind it. */
  async settle(): Promise<void> {
    const { cache, kernel, file, time } = this.world;
    await time.run(cache.sync(kernel.task)); // may tell of what failed
    expect(await time.run(cache.sync(kernel.task))).toBe(0);
    const seen = new Uint8Array(cache.sizeBytes);
    expect(await time.run(cache.read(kernel.task, 0, seen))).toBe(seen.length);
    this.#check(0, seen);
    expect(Buffer.compare(file.content(true), seen)).toBe(0);
    expect(await time.run(kernel.shutdown())).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    checkNothingHeld(kernel);
  }
}

/** Every n-th thing, and every thing from the n-th on. By default some n only; `TIDEMARK_EVERY=1` tries each. */
const MODES = ['once', 'from there on'] as const;
const IS_EVERY = process.env.TIDEMARK_EVERY === '1';

/** The next n after a run in which something failed. */
function nextNth(nth: number, mode: (typeof MODES)[number], nrDense: number): number {
  if (IS_EVERY) return nth + 1;
  if (mode === 'once') return nth + (nth < nrDense ? 1 : 11);
  return nth + Math.ceil(nth / 3);
}

describe.each(MODES)('each failure, %s,', { timeout: 600_000 }, (mode) => {
  it.each([true, false])('of an operation of the backing loses nothing (answers at once: %s)', async (isSync) => {
    const NR_STEPS = 40;
    let nrRuns = 0;
    for (let nth = 1, hasFailed = true; hasFailed; nth = nextNth(nth, mode, 40), nrRuns++) {
      hasFailed = false;
      let isOver = false;
      let n = 0;
      const status = (op: BackingOp): number => {
        if (isOver || ++n < nth || (mode === 'once' && n > nth)) return 0;
        hasFailed = true;
        return op === 'dirty' ? -Errno.ENOSPC : -Errno.EIO;
      };
      const load = new Load(await bootFile('384KiB', { status, delayMs: () => 2 }, isSync), seeded(7));
      await load.run(NR_STEPS);
      isOver = true;
      if (mode === 'once') expect(load.errors.length).toBeLessThanOrEqual(2); // a write-back error may also end a writer who waits
      await load.settle();
    }
    expect(nrRuns).toBeGreaterThan(mode === 'once' ? 30 : 8);
  });
});

describe('each single failure of an allocation', () => {
  it('loses nothing, and the next call goes on', async () => {
    let nrRuns = 0;
    for (let nth = 1, hasFailed = true; hasFailed; nth = nextNth(nth, 'once', 60), nrRuns++) {
      hasFailed = false;
      const world = await bootFile('384KiB', { delayMs: () => 2 });
      const { allocator } = world.kernel.memory;
      let n = 0;
      const original = allocator.allocPage.bind(allocator);
      allocator.allocPage = (task, gfp) => {
        if (++n !== nth) return original(task, gfp);
        hasFailed = true;
        return -Errno.ENOMEM;
      };
      const load = new Load(world, seeded(11));
      await load.run(30);
      n = nth; // from here on nothing fails
      await load.settle();
    }
    expect(nrRuns).toBeGreaterThan(30);
  });
});

describe('a device that fails for a while', () => {
  it('loses nothing that was accepted, and is written when it works again', async () => {
    for (let seed = 1; seed <= 15; seed++) {
      const random = seeded(seed);
      let isBroken = false;
      const world = await bootFile('384KiB', {
        delayMs: () => Math.floor(random() * 8) - 1,
        status: () => (isBroken && random() < 0.8 ? -Errno.EIO : 0),
      });
      const load = new Load(world, random);
      await load.run(10);
      isBroken = true;
      await load.run(25);
      await world.time.advance(60_000); // the flusher tries, and gives up for the time being
      isBroken = false;
      await load.run(10);
      await load.settle();
    }
  });
});
