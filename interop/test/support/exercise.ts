/**
 * Random work on a device, against a model of what it must hold: the oracle of the client's tests. Workers run side by side, each on a
 * part of its own, so that the model is exact.
 */
import { WRITE_AGAIN, type BlockDevice, type DeviceCache, type Kernel } from '@tidemark/core';
import { expect } from 'vitest';
import { firstDifference, patternBytes, type Random, randomFrom } from './bytes.js';
import { RawDisk } from './kernels.js';

const NR_WORKERS = 4;
const EIO = -5;

/** What may happen: with errors, a request may end with EIO; with a server that is restarted, a flush may ask to write again. */
export interface Weather {
  readonly errors?: boolean;
  readonly restarts?: boolean;
}

/** What the work did. */
export interface Tally {
  nrErrors: number;
  nrWriteAgain: number;
}

/**
 * Reads, writes, flushes, discards and zeroes at random, by bios, then reads everything.
 * @returns what the device holds now, and what happened.
 */
export async function exerciseByBios(
  kernel: Kernel,
  device: BlockDevice,
  seed: number,
  nrOperations: number,
  weather: Weather = {},
): Promise<{ model: Uint8Array; tally: Tally }> {
  const model = new Uint8Array(device.sizeBytes);
  const tally: Tally = { nrErrors: 0, nrWriteAgain: 0 };
  const partBytes = Math.floor(device.sizeBytes / NR_WORKERS / 65_536) * 65_536;
  const workers = Array.from({ length: NR_WORKERS }, async (_, i) => {
    const disk = await RawDisk.on(kernel, device);
    const part = model.subarray(i * partBytes, i === NR_WORKERS - 1 ? undefined : (i + 1) * partBytes);
    await new Worker(disk, part, i * partBytes, randomFrom(seed * 100 + i), weather, tally).run(nrOperations);
    disk.dispose();
  });
  await Promise.all(workers);
  return { model, tally };
}

class Worker {
  readonly #blockBytes: number;

  constructor(
    private readonly disk: RawDisk,
    /** What the part of this worker holds. */
    private readonly part: Uint8Array,
    private readonly startBytes: number,
    private readonly random: Random,
    private readonly weather: Weather,
    private readonly tally: Tally,
  ) {
    this.#blockBytes = disk.device.blockSizeBytes;
  }

  async run(nrOperations: number): Promise<void> {
    await this.#write(0, this.part.length, false); // now every byte is known
    for (let i = 0; i < nrOperations; i++) await this.#step();
    while (!(await this.#flush()));
    await this.#check(0, this.part.length);
  }

  async #step(): Promise<void> {
    const { random, part } = this;
    const { can, maxTransferBytes } = this.disk.device;
    const nrBlocks = part.length / this.#blockBytes;
    const at = random(nrBlocks);
    const most = Math.min(nrBlocks - at, (random(4) === 0 ? maxTransferBytes : 8192) / this.#blockBytes);
    const offset = at * this.#blockBytes;
    const length = (1 + random(most)) * this.#blockBytes;
    const kind = random(20);
    if (kind < 8) await this.#check(offset, length);
    else if (kind < 16) await this.#write(offset, length, can.fua && random(4) === 0);
    else if (kind === 16) await this.#flush();
    else if (kind === 17 && can.writeZeroes) {
      await this.#until(() => this.disk.writeZeroes(this.startBytes + offset, length, random(2) === 0));
      part.fill(0, offset, offset + length);
    } else if (kind === 18 && can.discard) {
      await this.#until(() => this.disk.discard(this.startBytes + offset, length));
      await this.#write(offset, length, false); // what a discarded block holds is not told
    }
  }

  /** Repeats what may fail until it does not. */
  async #until<T>(work: () => Promise<T>): Promise<Exclude<T, number>> {
    for (;;) {
      const result = await work();
      if (typeof result !== 'number' || result === 0) return result as Exclude<T, number>;
      expect(result).toBe(this.weather.errors ? EIO : 0);
      this.tally.nrErrors++;
    }
  }

  async #write(offset: number, length: number, fua: boolean): Promise<void> {
    const { disk, part, startBytes } = this;
    const bytes = patternBytes(length, this.random(2 ** 31));
    const step = disk.device.maxTransferBytes;
    for (let at = 0; at < length; at += step) {
      await this.#until(() => disk.write(startBytes + offset + at, bytes.subarray(at, at + step), fua));
    }
    part.set(bytes, offset);
  }

  async #check(offset: number, length: number): Promise<void> {
    const { disk, part, startBytes } = this;
    const step = disk.device.maxTransferBytes;
    for (let at = 0; at < length; at += step) {
      const want = part.subarray(offset + at, offset + Math.min(at + step, length));
      const got = await this.#until(() => disk.read(startBytes + offset + at, want.length));
      const difference = firstDifference(got as Uint8Array, want);
      if (difference >= 0) throw new Error(`${disk.device.name} reads a wrong byte at ${startBytes + offset + at + difference}`);
    }
  }

  /** @returns true if what was acknowledged is durable; false if the device may have lost it (these servers never do). */
  async #flush(): Promise<boolean> {
    const status = await this.disk.flush();
    if (status !== 0) expect(status).toBe(this.weather.restarts ? WRITE_AGAIN : 0);
    this.tally.nrWriteAgain += status === 0 ? 0 : 1;
    return status === 0;
  }
}

/** Reads and writes bytes at any offset through the page cache, then syncs. @returns what the device must hold. */
export async function exerciseByCache(cache: DeviceCache, seed: number, nrOperations: number): Promise<Uint8Array> {
  const random = randomFrom(seed);
  const model = patternBytes(cache.sizeBytes, seed);
  for (let at = 0; at < model.length; at += 65_536) await cache.write(at, model.subarray(at, at + 65_536));
  const target = new Uint8Array(40_000);
  for (let i = 0; i < nrOperations; i++) {
    const offset = random(model.length);
    const length = 1 + random(Math.min(random(3) === 0 ? 40_000 : 100, model.length - offset));
    if (random(2) === 0) {
      const bytes = patternBytes(length, random(2 ** 31));
      expect(await cache.write(offset, bytes)).toBe(length);
      model.set(bytes, offset);
    } else {
      expect(await cache.read(offset, target.subarray(0, length))).toBe(length);
      const difference = firstDifference(target.subarray(0, length), model.subarray(offset, offset + length));
      if (difference >= 0) throw new Error(`the cache reads a wrong byte at ${offset + difference}`);
    }
    if (random(100) === 0) await cache.sync();
  }
  await cache.sync();
  return model;
}
