/**
 * Pins that cross the local edge (M14, M16): a mount, its server and the ext3 behind it in one kernel, on a real connection. What is pinned on the
 * mount is pinned on the ext3, and its pages need nothing that is not there.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Kernel, type OpenFile, OpenFlag, PAGE_SIZE, type PinnedFile, run } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { hostTransports } from '@tidemark/net/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { injectAllocationFaults } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { e2fsck, hasPeers, makeFolder, makeImage, MIB } from '../../fs-ext3/test/support/image.js';
import { nfs, NfsServer } from '../src/index.js';

const FILE_BYTES = 4 * MIB;
let folder = '';
let nr = 0;
beforeAll(() => {
  folder = makeFolder('pinned-behind');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Chain {
  readonly kernel: Kernel;
  readonly server: NfsServer;
  readonly image: string;
}

/** An ext3 at `/`, its `/export` served, and that mounted at `/mnt`; `/export/file` is there, without a hole. */
async function chain(memory = '4MiB'): Promise<Chain> {
  const image = path.join(folder, `${nr++}.img`);
  await makeImage(image, 16 * MIB, { blockSize: 4096, journalSize: 4 * MIB });
  const kernel = await Kernel.boot({ memory, plugins: [host, hostTransports, ext3, nfs, swap] });
  await kernel.mount(`ext3:${image}`, '/');
  const { promises } = kernel.fs;
  await promises.mkdir('/export');
  await promises.mkdir('/mnt');
  const who = kernel.vfs.caller();
  const file = await open(kernel, '/export/file', OpenFlag.CREATE);
  expect(await run(kernel.vfs.data.allocate(who, file, 0, 0, FILE_BYTES))).toBe(0);
  expect(await run(kernel.vfs.data.sync(who.task, file, false))).toBe(0);
  file.release();
  const server = await NfsServer.listen(kernel, { address: '127.0.0.1:0', exports: { '/export': { tree: '/export', squash: 'none' } } });
  const { address } = server;
  const port = address.kind === 'tcp' ? address.port : 0;
  await kernel.mount(`nfs://127.0.0.1/export?nfsport=${port}&mountport=${port}`, '/mnt');
  return { kernel, server, image };
}

async function end({ kernel, image }: Chain): Promise<void> {
  const { reserve_unfunded, reserve_overspent } = kernel.vmstat();
  expect([reserve_unfunded, reserve_overspent]).toEqual([0, 0]);
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  if (!hasPeers) return;
  const { status, text } = e2fsck(image);
  expect(status, text).toBe(0);
}

async function open(kernel: Kernel, name: string, more = 0): Promise<OpenFile> {
  const file = await run(kernel.vfs.open(kernel.vfs.caller(), name, OpenFlag.READ_WRITE | more, 0o600));
  if (typeof file === 'number') throw new Error(`open ${name}: ${file}`);
  return file;
}

const codeOf = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: { code?: string }) => error.code,
  );

async function pin(kernel: Kernel): Promise<PinnedFile> {
  const file = await open(kernel, '/mnt/file');
  const pinned = await kernel.swapHooksOf(file, 'file').swapActivate(kernel.task, file, { user: 'test', nrUnits: 8 });
  file.release();
  return pinned;
}

describe('a file on a mount whose server is of the same kernel', () => {
  it('keeps its place on both sides as long as it is pinned, and changes again after', async () => {
    const world = await chain();
    const { kernel, server } = world;
    const { promises } = kernel.fs;
    const pinned = await pin(kernel);
    for (const name of ['/mnt/file', '/export/file']) {
      expect(await codeOf(promises.truncate(name, 0))).toBe('ETXTBSY');
      expect(await codeOf(promises.writeFile(name, 'x', { flag: 'r+' }))).toBe('ETXTBSY');
    }
    const message = /pinned is inode \d+ of ext3:.* for test by way of nfs:\/\/127\.0\.0\.1\/export/;
    await expect(server.close()).rejects.toMatchObject({ code: 'EBUSY', message: expect.stringMatching(message) });
    await promises.writeFile('/mnt/other', 'is not pinned');
    await pinned.release();
    await promises.truncate('/export/file', 1000);
    await promises.writeFile('/mnt/other', 'still is not');
    expect(await promises.readFile('/export/other', 'utf8')).toBe('still is not');
    await end(world);
  });

  it('is written and read with every allocation failing, and is what the ext3 has', async () => {
    const world = await chain();
    const { kernel } = world;
    const pinned = await pin(kernel);
    const frames = await kernel.memory.allocStanding(kernel.task, 'test', 8);
    const pfns = Uint32Array.from({ length: 8 }, (_, i) => frames.pfn + i);
    const injector = injectAllocationFaults(kernel, { mode: 'deny-reserve', nth: 1 });
    for (let index = 0; index < 64; index += 8) {
      for (let i = 0; i < 8; i++) frames.bytes.fill(index + i + 1, i * PAGE_SIZE, (i + 1) * PAGE_SIZE);
      expect(await pinned.swapOut(kernel.task, index, pfns, 0, 8)).toBe(0);
    }
    expect(await pinned.flush(kernel.task)).toBe(0);
    for (let index = 56; index >= 0; index -= 8) {
      frames.bytes.fill(0);
      expect(await pinned.swapIn(kernel.task, index, pfns, 0, 8)).toBe(0);
      for (let i = 0; i < 8; i++)
        expect(frames.bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE).every((byte) => byte === index + i + 1)).toBe(true);
    }
    injector.remove();
    frames.free();
    await pinned.release();
    const there = await kernel.fs.promises.readFile('/export/file');
    for (let index = 0; index < 64; index++) expect(there[index * PAGE_SIZE + 17]).toBe(index + 1);
    await end(world);
  });

  it('is swapped on: every page comes back, while the same mount is written to', async () => {
    const world = await chain('2MiB');
    const { kernel } = world;
    const { promises } = kernel.fs;
    await kernel.swapOn('/mnt/file', { format: true });
    const nrPages = 768;
    const buffer = await PagedBuffer.create(kernel, { sizeBytes: nrPages * PAGE_SIZE });
    const page = new Uint8Array(PAGE_SIZE);
    const plain = Buffer.alloc(1 * MIB, 7);
    const beside = (async () => {
      const handle = await promises.open('/mnt/plain', 'w+');
      for (let at = 0; at < plain.length; at += 65_536) await handle.write(plain, at, 65_536, at);
      await handle.sync();
      await handle.close();
    })();
    for (let index = 0; index < nrPages; index++) await buffer.write(index * PAGE_SIZE, page.fill(index & 0xff));
    for (let index = 0; index < nrPages; index++) {
      await buffer.read(index * PAGE_SIZE, page);
      expect(page.every((byte) => byte === (index & 0xff))).toBe(true);
    }
    await beside;
    expect(kernel.vmstat().pswpout).toBeGreaterThan(nrPages - 512);
    expect(Buffer.compare((await promises.readFile('/export/plain')) as Buffer, plain)).toBe(0);
    buffer.close();
    await end(world);
  });
});
