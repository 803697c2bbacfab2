/** Space set aside in a file, and files as block devices: one filesystem in a file of another, with the edge in the graph (T12). */
import fs from 'node:fs';
import path from 'node:path';
import { AllocateMode, Errno, Kernel, OpenFlag, type OpenFile, PAGE_SIZE, run } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ext3, mkfs, planMkfs } from '../src/index.js';
import { debugfs, e2fsck, hasPeers, makeFolder, makeImage, MIB } from './support/image.js';

let folder = '';
let nr = 0;
beforeAll(() => {
  folder = makeFolder('loop');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function mounted(blockSize: number, memory = '8MiB'): Promise<{ image: string; kernel: Kernel }> {
  const image = path.join(folder, `${nr++}.img`);
  await makeImage(image, 16 * MIB, { blockSize, journalSize: 1024 * blockSize });
  const kernel = await Kernel.boot({ memory, plugins: [host, swap, ext3] });
  await kernel.mount(`ext3:${image}`, '/');
  return { image, kernel };
}

/** A file of that size without holes. */
async function fileOf(kernel: Kernel, name: string, sizeBytes: number): Promise<OpenFile> {
  const file = await run(kernel.vfs.open(kernel.vfs.caller(), name, OpenFlag.READ_WRITE | OpenFlag.CREATE, 0o600));
  if (typeof file === 'number') throw new Error(`open ${name}: ${file}`);
  expect(await run(kernel.vfs.data.allocate(kernel.vfs.caller(), file, AllocateMode.RESERVE, 0, sizeBytes))).toBe(0);
  return file;
}

const codeOf = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: { code?: string }) => error.code,
  );

function check(image: string): void {
  if (!hasPeers) return;
  const { status, text } = e2fsck(image);
  expect(status, text).toBe(0);
}

it.each([1024, 4096])('space is set aside: holes become zeroes, data stays, the file grows; blocks of %i bytes', async (blockSize) => {
  const { image, kernel } = await mounted(blockSize);
  const caller = kernel.vfs.caller();
  const handle = await kernel.fs.promises.open('/f', 'w+');
  await handle.write(new Uint8Array(3000).fill(7), 0, 3000, 50_000);
  await handle.write(new Uint8Array(3000).fill(8), 0, 3000, 400_000);
  const file = (await run(kernel.vfs.open(caller, '/f', OpenFlag.READ_WRITE, 0))) as OpenFile;
  const allocate = (mode: number, from: number, length: number) => run(kernel.vfs.data.allocate(caller, file, mode, from, length));
  expect(await allocate(AllocateMode.KEEP_SIZE, 10_000, 100_000)).toBe(0);
  expect((await handle.stat()).size).toBe(403_000);
  expect(await run(kernel.vfs.data.seek(caller, file, 10_000, false))).toBeGreaterThanOrEqual(110_000);
  expect(await allocate(AllocateMode.KEEP_SIZE, 400_000, 100_000)).toBe(-Errno.EOPNOTSUPP);
  expect(await allocate(AllocateMode.RESERVE, 0, 600_001)).toBe(0);
  const expected = new Uint8Array(600_001).fill(7, 50_000, 53_000).fill(8, 400_000, 403_000);
  expect(Buffer.compare(await handle.readFile(), expected)).toBe(0);
  expect(await run(kernel.vfs.data.seek(caller, file, 0, false))).toBe(600_001); // no hole before the end
  expect((await handle.stat()).blocks * 512).toBeGreaterThanOrEqual(600_001);
  expect(await allocate(AllocateMode.RESERVE, 0, 100 * MIB)).toBe(-Errno.ENOSPC);
  await handle.close();
  expect((await kernel.shutdown()).problems).toEqual([]);
  check(image);
});

it.each([1024, 4096])('an ext3 in a file of an ext3, written by us, read by e2fsprogs; inner blocks of %i bytes', async (blockSize) => {
  const sizeBytes = blockSize === 1024 ? 4 * MIB : 8 * MIB;
  const { image, kernel } = await mounted(1024);
  const file = await fileOf(kernel, '/inner.img', sizeBytes);
  file.release();
  const made = await kernel.openBlockDevice('loop:/inner.img');
  expect(made).toMatchObject({ name: 'loop:/inner.img', sizeBytes: sizeBytes, blockSizeBytes: 512 });
  const cache = kernel.cacheDevice(made);
  const target = {
    name: made.name,
    sizeBytes: made.sizeBytes,
    write: async (offsetBytes: number, bytes: Uint8Array) => void (await cache.write(offsetBytes, bytes)),
    zero: async (offsetBytes: number, length: number) => void (await cache.write(offsetBytes, new Uint8Array(length))),
    flush: () => cache.sync(),
  };
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(3) };
  await mkfs(target, planMkfs('inner', made.sizeBytes, { ...fixed, blockSize, journalSize: 1024 * blockSize }));
  await cache.close();
  await made.close();
  const { promises } = kernel.fs;
  await promises.mkdir('/in');
  await kernel.mount('ext3:loop:/inner.img', '/in');
  expect(kernel.graph().edges).toEqual(
    expect.arrayContaining([
      ['ext3:loop:/inner.img data', 'loop:/inner.img'],
      ['loop:/inner.img', `ext3:file:${image} data`],
    ]),
  );
  const level = (name: string): number => kernel.graph().nodes.find((node) => node.name === name)?.level ?? -1;
  expect(level('ext3:loop:/inner.img data')).toBeGreaterThan(level(`ext3:file:${image} data`));
  const content = new Uint8Array(200_000).map((_, i) => (i * 7) >>> 3);
  for (let i = 0; i < 8; i++) await promises.writeFile(`/in/${i}`, content.subarray(i));
  await promises.writeFile('/outer', content);
  await promises.rm('/in/3');
  for (const i of [0, 5]) expect(Buffer.compare(await promises.readFile(`/in/${i}`), content.subarray(i))).toBe(0);
  expect(await codeOf(kernel.unmount('/'))).toBe('EBUSY');
  expect(await codeOf(promises.truncate('/inner.img', 0))).toBe('ETXTBSY');
  await kernel.unmount('/in');
  expect(await codeOf(promises.truncate('/inner.img', sizeBytes))).toBe('done'); // nobody has it any more
  expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, problems: [] });
  check(image);
  if (!hasPeers) return;
  const inner = path.join(folder, `${nr++}.img`);
  debugfs(image, `dump /inner.img ${inner}`);
  check(inner);
  expect(Buffer.compare(Buffer.from(debugfs(inner, 'cat /7'), 'latin1'), content.subarray(7))).toBe(0);
});

it('swap on a loop device; everything left open is taken down in order', async () => {
  const { image, kernel } = await mounted(4096, '2MiB');
  (await fileOf(kernel, '/area', 8 * MIB)).release();
  const device = await kernel.openBlockDevice('loop:/area');
  await kernel.swapOn(device, { format: true });
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: 6 * MIB });
  const page = new Uint8Array(PAGE_SIZE);
  for (let i = 0; i < 6 * 256; i++) await buffer.write(i * PAGE_SIZE, page.fill(i));
  for (let i = 0; i < 6 * 256; i += 7) {
    await buffer.read(i * PAGE_SIZE, page);
    expect(page[5]).toBe(i & 0xff);
  }
  expect(kernel.vmstat()).toMatchObject({ reserve_unfunded: 0, reserve_overspent: 0 });
  (await fileOf(kernel, '/idle', 64 * 1024)).release();
  await kernel.openBlockDevice('loop:/idle'); // held by nobody but the kernel
  expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, problems: [] });
  check(image);
});

it('what is no file without holes is refused', async () => {
  const { kernel } = await mounted(4096);
  await kernel.fs.promises.writeFile('/f', new Uint8Array(MIB));
  await kernel.fs.promises.truncate('/f', 2 * MIB);
  expect(await codeOf(kernel.openBlockDevice('loop:/f'))).toBe('EINVAL');
  expect(await codeOf(kernel.openBlockDevice('loop:f'))).toBe('EINVAL');
  expect(await codeOf(kernel.openBlockDevice('loop:/none'))).toBe('ENOENT');
  expect(await codeOf(kernel.openBlockDevice('loop:/'))).toBe('EISDIR');
  (await fileOf(kernel, '/g', MIB)).release();
  const device = await kernel.openBlockDevice('loop:/g');
  expect(await codeOf(kernel.openBlockDevice('loop:/g'))).toBe('EBUSY');
  await device.close();
  await (await kernel.openBlockDevice('loop:/g', { readOnly: true })).close();
  expect((await kernel.shutdown()).problems).toEqual([]);
});
