/**
 * Our client when the server dies: killed without a warning, and started again at the same address, under load. What was acknowledged
 * and not flushed may be gone then; nbdkit's `cache` filter really does lose it.
 */
import { WRITE_AGAIN } from '@tidemark/core';
import type { NbdOpenOptions } from '@tidemark/nbd/host';
import { expect, it } from 'vitest';
import { fileDifference, firstDifference, MIB, PAGE_BYTES, patternBytes, randomFrom } from './support/bytes.js';
import { exerciseByBios } from './support/exercise.js';
import { RawDisk, withKernel } from './support/kernels.js';
import { describeWith } from './support/peers.js';
import { type Address, freshFile } from './support/sandbox.js';
import { type Server, startNbdkit } from './support/servers.js';
import { WorkingSet } from './support/swapping.js';

/** An nbdkit that can be killed and started again where it was. */
class Mortal {
  nrDeaths = 0;

  private constructor(
    private readonly words: readonly string[],
    public server: Server,
  ) {}

  static async start(kind: Address['kind'], ...words: string[]): Promise<Mortal> {
    return new Mortal(words, await startNbdkit(kind, ...words));
  }

  async restart(): Promise<void> {
    const { process, address } = this.server;
    await process.kill();
    this.nrDeaths++;
    this.server = await startNbdkit(address, ...this.words);
  }

  /** Kills and restarts it `times`, with `pauseMs` in between, while `work` is repeated. */
  async restartDuring(times: number, pauseMs: number, work: () => Promise<void>): Promise<void> {
    let isOver = false;
    const killing = async (): Promise<void> => {
      for (let i = 0; i < times && !isOver; i++) {
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        await this.restart();
      }
    };
    const working = async (): Promise<void> => {
      try {
        while (this.nrDeaths < times) await work();
      } finally {
        isOver = true;
      }
    };
    await Promise.all([killing(), working()]);
  }
}

/** Gives a server up soon. */
const IMPATIENT: NbdOpenOptions = { reconnectTimeoutMs: 400 };

const losesUnflushed = (store: string) => ['--filter=cache', 'file', store, 'cache=writeback'];

describeWith(['nbdkit'], 'a server killed and restarted', () => {
  it.each(['unix', 'tcp'] as const)('under bios, over %s: each is answered once, as if nothing had been', async (kind) => {
    const store = freshFile('store', 12 * MIB);
    const mortal = await Mortal.start(kind, 'file', store);
    await withKernel('8MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(mortal.server.uri);
      let seed = 20;
      await mortal.restartDuring(8, 100, async () => {
        const { model, tally } = await exerciseByBios(kernel, device, seed++, 300, { restarts: true });
        expect(tally.nrErrors).toBe(0);
        expect(fileDifference(store, model)).toBe(-1);
      });
    });
    await mortal.server.process.stop();
  });

  it('loses what was not flushed: the flush says so, and what is written again is there', async () => {
    const store = freshFile('store', MIB);
    const mortal = await Mortal.start('unix', ...losesUnflushed(store));
    await withKernel('4MiB', async (kernel) => {
      const disk = await RawDisk.on(kernel, await kernel.openBlockDevice(mortal.server.uri));
      const [first, second] = [patternBytes(PAGE_BYTES, 1), patternBytes(PAGE_BYTES, 2)];
      expect(await disk.write(0, first)).toBe(0);
      expect(await disk.flush()).toBe(0);
      expect(await disk.write(PAGE_BYTES, second)).toBe(0);
      await mortal.restart();
      expect(await disk.read(PAGE_BYTES, PAGE_BYTES)).toEqual(new Uint8Array(PAGE_BYTES)); // gone indeed
      expect(await disk.flush()).toBe(WRITE_AGAIN);
      expect(await disk.flush()).toBe(0); // told once
      expect(await disk.write(PAGE_BYTES, second)).toBe(0);
      expect(await disk.flush()).toBe(0);
      await mortal.restart();
      expect(await disk.flush()).toBe(0);
      expect(firstDifference((await disk.read(0, PAGE_BYTES)) as Uint8Array, first)).toBe(-1);
      expect(firstDifference((await disk.read(PAGE_BYTES, PAGE_BYTES)) as Uint8Array, second)).toBe(-1);
      disk.dispose();
    });
    await mortal.server.process.stop();
  });

  it('under a device cache: sync says that something was lost, instead of success', async () => {
    const store = freshFile('store', MIB);
    const mortal = await Mortal.start('unix', ...losesUnflushed(store));
    await withKernel('4MiB', async (kernel) => {
      const cache = kernel.cacheDevice(await kernel.openBlockDevice(mortal.server.uri));
      const bytes = patternBytes(MIB, 4);
      await cache.write(0, bytes); // more than may be dirty: some of it is written out, and not flushed
      expect(kernel.vmstat().nr_written).toBeGreaterThan(0);
      await mortal.restart();
      await expect(cache.sync()).rejects.toMatchObject({ code: 'ESTALE' });
      await cache.write(0, bytes);
      await cache.sync();
      await mortal.restart();
      expect(fileDifference(store, bytes)).toBe(-1);
    });
    await mortal.server.process.stop();
  });

  it.each([
    ['that keeps its store', (store: string) => ['file', store], 'tcp'],
    ['that loses what was not flushed', losesUnflushed, 'unix'],
  ] as const)('under swap, %s: every page reads back', async (_, words, kind) => {
    const mortal = await Mortal.start(kind, ...words(freshFile('store', 24 * MIB)));
    await withKernel('4MiB', async (kernel) => {
      await kernel.swapOn(await kernel.openBlockDevice(mortal.server.uri), { format: true });
      const set = await WorkingSet.create(kernel, 12 * MIB);
      const random = randomFrom(21);
      await mortal.restartDuring(16, 80, async () => {
        await set.writeAll();
        for (let i = 0; i < 3000; i++) {
          const page = random(set.nrPages);
          if (random(2) === 0) await set.write(page);
          else expect(await set.reads(page), `page ${page} could not be read`).toBe(true);
        }
      });
      expect(await set.countLost()).toBe(0);
      set.close();
    });
    await mortal.server.process.stop();
  });

  it('under swap with checksums, with everything lost: a read is right or EIO, never wrong', async () => {
    const mortal = await Mortal.start('tcp', 'memory', '24M');
    await withKernel('4MiB', async (kernel) => {
      await kernel.swapOn(await kernel.openBlockDevice(mortal.server.uri), { format: true, checksum: true });
      const set = await WorkingSet.create(kernel, 12 * MIB);
      await set.writeAll();
      expect(await set.countLost()).toBe(0);
      await mortal.restart();
      const nrLost = await set.countLost();
      expect(nrLost).toBeGreaterThan(set.nrPages / 2);
      expect(nrLost).toBeLessThan(set.nrPages); // what was in memory is there
      await set.writeAll(); // and what is written again can be read again
      expect(await set.countLost()).toBe(0);
      set.close();
    });
    await mortal.server.process.stop();
  });

  it('that stays away: what is in flight ends with EIO within the limit, and a later request finds it again', async () => {
    const mortal = await Mortal.start('unix', 'file', freshFile('store', MIB));
    await withKernel('4MiB', async (kernel) => {
      const disk = await RawDisk.on(kernel, await kernel.openBlockDevice(mortal.server.uri, IMPATIENT));
      const bytes = patternBytes(PAGE_BYTES, 5);
      expect(await disk.write(0, bytes)).toBe(0);
      expect(await disk.flush()).toBe(0);
      await mortal.server.process.kill();
      expect(await disk.read(0, PAGE_BYTES)).toBe(-5);
      expect(await disk.write(PAGE_BYTES, bytes)).toBe(-5);
      expect(await disk.flush()).toBe(-5);
      await mortal.restart();
      expect(firstDifference((await disk.read(0, PAGE_BYTES)) as Uint8Array, bytes)).toBe(-1);
      expect(await disk.write(PAGE_BYTES, bytes)).toBe(0);
      expect(await disk.flush()).toBe(0);
      disk.dispose();
    });
    await mortal.server.process.stop();
  });

  it('that stays away under swap: a read is right or EIO, and what is in memory stays', async () => {
    const mortal = await Mortal.start('unix', 'file', freshFile('store', 24 * MIB));
    await withKernel('4MiB', async (kernel) => {
      await kernel.swapOn(await kernel.openBlockDevice(mortal.server.uri, IMPATIENT), { format: true });
      const set = await WorkingSet.create(kernel, 12 * MIB);
      await set.writeAll();
      await mortal.server.process.kill();
      const nrLost = await set.countLost();
      expect(nrLost).toBeGreaterThan(set.nrPages / 2);
      expect(nrLost).toBeLessThan(set.nrPages);
      await mortal.restart();
      expect(await set.countLost()).toBeLessThanOrEqual(nrLost); // none is wrong
      set.close();
    });
    await mortal.server.process.stop();
  });
});
