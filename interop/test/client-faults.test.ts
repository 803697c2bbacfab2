/** Our client on a server that fails and dawdles: nbdkit's filters `error` and `delay`. An error is told; wrong bytes are never given. */
import fs from 'node:fs';
import type { DeviceCache } from '@tidemark/core';
import type { NbdOpenOptions } from '@tidemark/nbd/host';
import { expect, it } from 'vitest';
import { firstDifference, MIB, PAGE_BYTES, patternBytes, randomFrom } from './support/bytes.js';
import { exerciseByBios, exerciseByCache } from './support/exercise.js';
import { RawDisk, withKernel } from './support/kernels.js';
import { describeWith } from './support/peers.js';
import { freshPath } from './support/sandbox.js';
import { startNbdkit } from './support/servers.js';
import { WorkingSet } from './support/swapping.js';

/** A switch for errors: they happen while its file exists. */
function errorSwitch(): { readonly file: string; turn(on: boolean): void } {
  const file = freshPath('errors');
  return { file, turn: (on) => (on ? fs.writeFileSync(file, '') : fs.rmSync(file)) };
}

/** Syncs when the errors are over: those of writes that had begun before are told first, once each. */
async function syncAfterErrors(cache: DeviceCache): Promise<void> {
  for (let nrLeft = 20; nrLeft > 0; nrLeft--) {
    try {
      await cache.sync();
      return;
    } catch (error) {
      expect(error).toMatchObject({ code: 'EIO' });
    }
  }
  await cache.sync();
}

describeWith(['nbdkit'], 'errors', () => {
  it('reach the submitter, whatever the request, and change nothing', async () => {
    const server = await startNbdkit('unix', '--filter=error', 'memory', '6M', 'error-rate=20%');
    await withKernel('8MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(server.uri);
      const { tally } = await exerciseByBios(kernel, device, 6, 200, { errors: true });
      expect(tally.nrErrors).toBeGreaterThan(100);
    });
    await server.process.stop();
  });

  it.each(['EPERM', 'ENOMEM', 'EINVAL', 'ENOSPC'])('arrive as what they are: %s', async (name) => {
    const server = await startNbdkit('unix', '--filter=error', 'memory', '1M', 'error-pwrite-rate=1', `error-pwrite=${name}`);
    await withKernel('4MiB', async (kernel) => {
      const cache = kernel.cacheDevice(await kernel.openBlockDevice(server.uri));
      await cache.write(0, Uint8Array.of(1));
      await expect(cache.sync()).rejects.toMatchObject({ code: name });
      await expect(cache.close()).rejects.toMatchObject({ code: name });
    });
    await server.process.stop();
  });

  it('of a server that says it is shutting down: the client comes back and asks again', async () => {
    const server = await startNbdkit('unix', '--filter=error', 'memory', '6M', 'error-rate=1%', 'error=ESHUTDOWN');
    await withKernel('8MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(server.uri);
      const { tally } = await exerciseByBios(kernel, device, 7, 100, { restarts: true });
      expect(tally.nrErrors).toBe(0);
      expect(tally.nrWriteAgain).toBeGreaterThan(0);
    });
    await server.process.stop();
  });

  it('in a device cache: a read throws or is right, a page that cannot be written is kept', async () => {
    const reads = errorSwitch();
    const writes = errorSwitch();
    const server = await startNbdkit(
      'unix',
      ...['--filter=error', 'memory', '12M'],
      ...['error-pread-rate=30%', `error-pread-file=${reads.file}`, 'error-pwrite-rate=100%', `error-pwrite-file=${writes.file}`],
    );
    await withKernel('4MiB', async (kernel) => {
      const cache = kernel.cacheDevice(await kernel.openBlockDevice(server.uri));
      const model = await exerciseByCache(cache, 8, 200);
      const random = randomFrom(8);
      const target = new Uint8Array(10_000);
      reads.turn(true);
      let nrErrors = 0;
      for (let i = 0; i < 300; i++) {
        const offset = random(model.length - target.length);
        target.fill(0xee);
        try {
          await cache.read(offset, target);
          expect(firstDifference(target, model.subarray(offset, offset + target.length))).toBe(-1);
        } catch (error) {
          expect(error).toMatchObject({ code: 'EIO' });
          nrErrors++;
        }
      }
      expect(nrErrors).toBeGreaterThan(10);
      expect(nrErrors).toBeLessThan(300);
      reads.turn(false);

      writes.turn(true);
      const bytes = patternBytes(30 * PAGE_BYTES, 9);
      await cache.write(5000, bytes);
      model.set(bytes, 5000);
      await expect(cache.sync()).rejects.toMatchObject({ code: 'EIO' });
      for (let at = 0; at < model.length; at += MIB) {
        const part = new Uint8Array(MIB); // more than memory: the dirty pages are pressed, and must stay
        await cache.read(at, part);
        expect(firstDifference(part, model.subarray(at, at + MIB))).toBe(-1);
      }
      writes.turn(false);
      await syncAfterErrors(cache);
      const disk = await RawDisk.on(kernel, await kernel.openBlockDevice(server.uri)); // past the cache
      for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
        const got = await disk.read(at + PAGE_BYTES, PAGE_BYTES);
        expect(firstDifference(got as Uint8Array, model.subarray(at + PAGE_BYTES, at + 2 * PAGE_BYTES))).toBe(-1);
      }
      disk.dispose();
    });
    await server.process.stop();
  });

  it('of every write: who dirties more than may be dirty is told, and does not wait for ever', async () => {
    const writes = errorSwitch();
    const server = await startNbdkit(
      'unix',
      '--filter=error',
      'memory',
      '12M',
      'error-pwrite-rate=100%',
      `error-pwrite-file=${writes.file}`,
    );
    await withKernel('4MiB', async (kernel) => {
      const cache = kernel.cacheDevice(await kernel.openBlockDevice(server.uri));
      writes.turn(true);
      const writeAll = async (): Promise<void> => {
        for (let at = 0; at < cache.sizeBytes; at += PAGE_BYTES) await cache.write(at, patternBytes(PAGE_BYTES, at));
      };
      await expect(writeAll()).rejects.toMatchObject({ code: 'EIO' });
      writes.turn(false);
      await syncAfterErrors(cache);
      await writeAll();
      await cache.sync();
    });
    await server.process.stop();
  }, 20_000);

  it('of swap-out: the pages stay, get other slots, and all come back', async () => {
    const writes = errorSwitch();
    const server = await startNbdkit(
      'unix',
      '--filter=error',
      'memory',
      '48M',
      'error-pwrite-rate=10%',
      `error-pwrite-file=${writes.file}`,
    );
    await withKernel('4MiB', async (kernel) => {
      const area = await kernel.swapOn(await kernel.openBlockDevice(server.uri), { format: true });
      const set = await WorkingSet.create(kernel, 12 * MIB);
      writes.turn(true);
      await set.writeAll();
      expect(await set.countLost()).toBe(0);
      expect(kernel.vmstat().swpout_error).toBeGreaterThan(10);
      expect(kernel.swap?.areas()[0].nrBad).toBeGreaterThan(10);
      expect(area.nrBad).toBe(0);
      writes.turn(false);
      await set.writeAll();
      expect(await set.countLost()).toBe(0);
      set.close();
    });
    await server.process.stop();
  });

  it('of swap-in: a read throws or is right, and what it could not get is not lost', async () => {
    const reads = errorSwitch();
    const server = await startNbdkit('unix', '--filter=error', 'memory', '24M', 'error-pread-rate=30%', `error-pread-file=${reads.file}`);
    await withKernel('4MiB', async (kernel) => {
      await kernel.swapOn(await kernel.openBlockDevice(server.uri), { format: true });
      const set = await WorkingSet.create(kernel, 12 * MIB);
      await set.writeAll();
      reads.turn(true);
      const nrLost = await set.countLost();
      expect(nrLost).toBeGreaterThan(20);
      expect(nrLost).toBeLessThan(set.nrPages);
      expect(kernel.vmstat().swpin_error).toBe(nrLost);
      reads.turn(false);
      expect(await set.countLost()).toBe(0);
      set.close();
    });
    await server.process.stop();
  });
});

describeWith(['nbdkit'], 'delays', () => {
  it('of every request: swapping goes on', async () => {
    const server = await startNbdkit('unix', '--filter=delay', 'memory', '8M', 'rdelay=2ms', 'wdelay=2ms');
    await withKernel('4MiB', async (kernel) => {
      const device = await kernel.openBlockDevice(server.uri);
      await exerciseByBios(kernel, device, 10, 20);
      await kernel.swapOn(device, { format: true });
      const set = await WorkingSet.create(kernel, 6 * MIB);
      await set.writeAll();
      expect(await set.countLost()).toBe(0);
      set.close();
    });
    await server.process.stop();
  });

  it('longer than the limits end with EIO, and the device serves again when the server does', async () => {
    const server = await startNbdkit('unix', '--filter=delay', 'memory', '1M', 'delay-read=3');
    await withKernel('4MiB', async (kernel) => {
      const options: NbdOpenOptions = { requestTimeoutMs: 200, reconnectTimeoutMs: 500 };
      const device = await kernel.openBlockDevice(server.uri, options);
      const disk = await RawDisk.on(kernel, device);
      expect(await disk.write(0, patternBytes(PAGE_BYTES, 1))).toBe(0);
      expect(await disk.read(0, PAGE_BYTES)).toBe(-5);
      expect(await disk.write(0, patternBytes(PAGE_BYTES, 2))).toBe(0);
      disk.dispose();
    });
    await server.process.stop();
  });
});
