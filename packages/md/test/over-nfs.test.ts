/** A bitmap in a file on NFS, under swap in little memory, over the host's sockets; the server is a kernel of its own. */
import { Kernel, PAGE_SIZE } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { NfsServer, nfs } from '@tidemark/fs-nfs';
import { createArray, decodeBitmapSuperblock, md, raid1Of } from '@tidemark/md';
import { hostTransports } from '@tidemark/net/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { memfs } from '@tidemark/testkit';
import { expect, it } from 'vitest';

const CLEAN = { leakedFrames: 0, leakedTimers: 0, problems: [] };

it('is written while memory is full, and is a bitmap on the server', { timeout: 120_000 }, async () => {
  const far = await Kernel.boot({ memory: '16MiB', plugins: [host, hostTransports, memfs] });
  await far.mount('memfs:4MiB', '/');
  await far.fs.promises.writeFile('/bitmap', new Uint8Array(2 * PAGE_SIZE).fill(1));
  await far.fs.promises.chmod('/bitmap', 0o666); // the server takes root for nobody
  const server = await NfsServer.listen(far, { address: '127.0.0.1:0', exports: { '/': '/' } });
  const { port } = server.address as { port: number };

  const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, hostTransports, swap, md, nfs] });
  await kernel.mount(`nfs://127.0.0.1/?nfsport=${port}&mountport=${port}`, '/mnt');
  const disks = [await kernel.openBlockDevice('mem:32MiB'), await kernel.openBlockDevice('mem:32MiB')];
  const array = await createArray(kernel, disks, { assumeEqual: true });
  const raid = raid1Of(kernel, array);
  await raid.addBitmap({ file: '/mnt/bitmap' }, { chunkBytes: 16_384, daemonSeconds: 1 });
  await kernel.swapOn(array, { format: true });
  const buffer = await PagedBuffer.create(kernel, { sizeBytes: '16MiB' });
  const page = new Uint8Array(PAGE_SIZE);
  for (let i = 0; i < 4096; i++) await buffer.write(i * PAGE_SIZE, page.fill(i));
  for (let i = 0; i < 4096; i++) {
    await buffer.read(i * PAGE_SIZE, page);
    if (page.some((byte) => byte !== (i & 0xff))) throw new Error(`page ${i} is not what was written`);
  }
  expect(kernel.vmstat()).toMatchObject({ reserve_unfunded: 0 });
  expect(raid.info()).toMatchObject({ isDegraded: false, bitmap: { isFailed: false } });
  expect(raid.info().bitmap?.nrDirty).toBeGreaterThan(100);
  const stored = await far.fs.promises.readFile('/bitmap');
  expect(decodeBitmapSuperblock(stored, stored.length, 'the file')).toMatchObject({ chunkBytes: 16_384 });
  buffer.close();
  await kernel.swapOff(array);
  expect((await raid.scrub('check')).nrMismatchSectors).toBe(0);
  await array.close();
  expect(await kernel.shutdown()).toEqual(CLEAN);
  await server.close();
  expect(await far.shutdown()).toEqual(CLEAN);
});
