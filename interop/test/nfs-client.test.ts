/** Our NFS client against nfs-ganesha: real handles, cookies of 64 bits, the portmapper; and what becomes of it when the server is killed. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nfs } from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { PagedBuffer, swap } from '@tidemark/swap';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { patternBytes } from './support/bytes.js';
import { Ganesha, ganeshaObstacle } from './support/ganesha.js';
import { describeWith } from './support/peers.js';

const obstacle = ganeshaObstacle();

/** Has a kernel mount ganesha's export while `use` runs; nothing may be left. */
async function mounted(source: string, use: (kernel: Kernel) => Promise<void>, memory = '32MiB'): Promise<void> {
  const kernel = await Kernel.boot({ memory, plugins: [host, hostTransports, nfs] });
  try {
    await kernel.mount(source, '/');
    await use(kernel);
  } finally {
    expect(await kernel.shutdown({ timeoutMs: 20_000 })).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  }
}

describeWith(['ganesha.nfsd', 'rpcbind'], obstacle === null ? 'nfs-ganesha' : `nfs-ganesha (${obstacle})`, () => {
  let ganesha: Ganesha;
  beforeAll(async () => {
    if (obstacle === null) ganesha = await Ganesha.start();
  }, 90_000);
  afterAll(() => ganesha?.kill());
  const test = it.skipIf(obstacle !== null);

  test('files go in and out, whatever their size', async () => {
    await mounted(ganesha.source, async (kernel) => {
      const tree = kernel.fs.promises;
      for (const size of [0, 1, 4_095, 4_096, 131_073, 1_000_003, 9 << 20]) {
        const data = patternBytes(size, size);
        await tree.writeFile(`/in-${size}`, data);
        expect(Buffer.compare(fs.readFileSync(path.join(ganesha.folder, `in-${size}`)), data)).toBe(0);
        fs.writeFileSync(path.join(ganesha.folder, `out-${size}`), data);
        expect(Buffer.compare(await tree.readFile(`/out-${size}`), data)).toBe(0);
      }
    });
  });

  test('ports are asked of the portmapper', async () => {
    fs.writeFileSync(path.join(ganesha.folder, 'by-portmap'), 'found');
    await mounted(`nfs://127.0.0.1${ganesha.folder}`, async (kernel) => {
      expect(await kernel.fs.promises.readFile('/by-portmap', 'utf8')).toBe('found');
    });
  });

  test('names, links, attributes, room', async () => {
    const at = (name: string): string => path.join(ganesha.folder, 'tree', name);
    await mounted(ganesha.source, async (kernel) => {
      const tree = kernel.fs.promises;
      await tree.mkdir('/tree/deep/er', { recursive: true });
      await tree.writeFile('/tree/a', 'hello', { mode: 0o640 });
      await tree.link('/tree/a', '/tree/b');
      await tree.symlink('deep/er', '/tree/l');
      await tree.rename('/tree/a', '/tree/deep/er/ä');
      await tree.chmod('/tree/b', 0o604);
      await tree.utimes('/tree/b', 1_000, 2_000);
      expect(fs.readdirSync(at('')).sort()).toEqual(['b', 'deep', 'l']);
      expect(fs.readlinkSync(at('l'))).toBe('deep/er');
      const stats = fs.statSync(at('b'));
      expect([stats.mode & 0o7777, stats.nlink, stats.atimeMs, stats.mtimeMs, stats.size]).toEqual([0o604, 2, 1e6, 2e6, 5]);
      expect(await tree.readFile('/tree/l/ä', 'utf8')).toBe('hello');
      const open = await tree.open('/tree/b', 'r+');
      await tree.unlink('/tree/b');
      await tree.unlink('/tree/deep/er/ä');
      expect((await open.read(Buffer.alloc(9), 0, 9, 0)).bytesRead).toBe(5);
      await open.close();
      await expect(tree.rmdir('/tree')).rejects.toMatchObject({ code: 'ENOTEMPTY' });
      await tree.rm('/tree', { recursive: true });
      expect(fs.existsSync(at(''))).toBe(false);
      expect((await tree.statfs('/')).blocks).toBeGreaterThan(0);
    });
  });

  test('a directory of 3,000 entries, deleted while it is read', async () => {
    const many = path.join(ganesha.folder, 'many');
    fs.mkdirSync(many);
    const names = Array.from({ length: 3_000 }, (_, i) => `entry number ${i}`);
    for (const name of names) fs.writeFileSync(path.join(many, name), '');
    await mounted(ganesha.source, async (kernel) => {
      const tree = kernel.fs.promises;
      const found = await tree.readdir('/many');
      expect(found).toHaveLength(names.length);
      expect(new Set(found)).toEqual(new Set(names));
      for await (const entry of await tree.opendir('/many')) await tree.unlink(`/many/${entry.name}`);
      expect(fs.readdirSync(many)).toEqual([]);
    });
  });

  test('killed and started again in the middle of writing and reading: every byte is there', async () => {
    const data = patternBytes(24 << 20, 5);
    await mounted(ganesha.source, async (kernel) => {
      const tree = kernel.fs.promises;
      const writing = tree.writeFile('/survivor', data);
      let isWritten = false;
      void writing.finally(() => {
        isWritten = true;
      });
      const target = path.join(ganesha.folder, 'survivor');
      let nrKills = 0;
      while (!isWritten && nrKills < 3) {
        const before = fs.existsSync(target) ? fs.statSync(target).size : 0;
        while (!isWritten && (!fs.existsSync(target) || fs.statSync(target).size < before + (2 << 20)))
          await new Promise((resolve) => setTimeout(resolve, 5));
        await ganesha.kill();
        nrKills++;
        await ganesha.run();
      }
      await writing;
      expect(nrKills).toBeGreaterThan(0);
      const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
      expect(sha(fs.readFileSync(target))).toBe(sha(data));
      const reading = tree.readFile('/survivor');
      await ganesha.kill();
      await ganesha.run();
      expect(sha(await reading)).toBe(sha(data));
    });
  });

  test('swap in a file of its export, while it is killed and started again: every byte comes back', async () => {
    const pages = 3_000;
    fs.writeFileSync(path.join(ganesha.folder, 'swapfile'), Buffer.alloc((pages + 500) * 4_096, 1));
    const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, hostTransports, nfs, swap] });
    try {
      await kernel.mount(ganesha.source, '/');
      await kernel.swapOn('/swapfile', { format: true });
      const buffer = await PagedBuffer.create(kernel, { sizeBytes: pages * 4_096 });
      const page = new Uint8Array(4_096);
      const view = new DataView(page.buffer);
      const fill = (index: number): Uint8Array => {
        for (let at = 0; at < page.length; at += 4) view.setUint32(at, (index * 2_654_435_761 + at) >>> 0);
        return page;
      };
      let killing: Promise<void> = Promise.resolve();
      const killOnce = async (): Promise<void> => {
        await ganesha.kill();
        await ganesha.run();
      };
      for (let index = 0; index < pages; index++) {
        await buffer.write(index * 4_096, fill(index));
        if (index === 1_500 || index === 2_500) killing = killing.then(killOnce);
      }
      const got = new Uint8Array(4_096);
      for (let index = 0; index < pages; index++) {
        if (index === 1_000) killing = killing.then(killOnce);
        await buffer.read(index * 4_096, got);
        expect(Buffer.compare(got, fill(index)), `page ${index}`).toBe(0);
      }
      await killing;
      expect(kernel.vmstat().pswpout).toBeGreaterThan(1_500);
      buffer.close();
      await kernel.swapOff('/swapfile');
    } finally {
      expect(await kernel.shutdown({ timeoutMs: 20_000 })).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    }
  });
});
