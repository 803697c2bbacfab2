/** Our NFS server under libnfs: listing, copying in and out, checked byte for byte, over memfs and ext3. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { promisify } from 'node:util';
import { Kernel, type Plugin } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { ext3, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { NfsServer } from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { memfs } from '@tidemark/testkit';
import { expect, it } from 'vitest';
import { patternBytes } from './support/bytes.js';
import { describeWith, programOf } from './support/peers.js';
import { freshFile, freshPath } from './support/sandbox.js';

const run = promisify(execFile);
const PLUGINS: Plugin[] = [host, hostTransports, memfs, ext3];
const DISK_BYTES = 24 << 20;

interface Exported {
  readonly kernel: Kernel;
  readonly server: NfsServer;
  /** URL of a path, for libnfs. */
  url(path: string): string;
}

/** Has a kernel with memfs, or what else is named, export it while `use` runs; nothing may be left. */
async function withExport(use: (exported: Exported) => Promise<void>, source = 'memfs:16MiB', memory = '32MiB'): Promise<void> {
  const kernel = await Kernel.boot({ memory, plugins: PLUGINS });
  await kernel.mount(source, '/');
  const server = await NfsServer.listen(kernel, { address: '127.0.0.1:0', exports: { '/tree': { tree: '/', squash: 'none' } } });
  const { address } = server;
  const port = address.kind === 'tcp' ? address.port : 0;
  try {
    await use({ kernel, server, url: (path) => `nfs://127.0.0.1/tree/${path}?nfsport=${port}&mountport=${port}` });
    expect(server.nrBugs).toBe(0);
  } finally {
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  }
}

/** A file with an empty ext3 on it. */
async function freshExt3(): Promise<string> {
  const file = freshFile('ext3.img', DISK_BYTES);
  const image = fs.openSync(file, 'r+');
  const target = {
    name: file,
    sizeBytes: DISK_BYTES,
    write: async (offsetBytes: number, bytes: Uint8Array) => void fs.writeSync(image, bytes, 0, bytes.length, offsetBytes),
    zero: async () => {},
    flush: async () => {},
  };
  const plan = planMkfs(file, DISK_BYTES, {
    nowSeconds: 1_700_000_000,
    hashSeed: new Uint8Array(16).fill(7),
    uuid: new Uint8Array(16).fill(9),
  });
  await mkfs(target, plan);
  fs.closeSync(image);
  return file;
}

async function tool(name: 'nfs-ls' | 'nfs-cp' | 'nfs-cat', ...args: string[]): Promise<Buffer> {
  const { stdout } = await run(programOf(name), args, { encoding: 'buffer', maxBuffer: 64 << 20, timeout: 60_000 });
  return stdout;
}

describeWith(['nfs-ls', 'nfs-cp', 'nfs-cat'], 'libnfs', () => {
  it('copies files in and out, whatever their size', async () => {
    await withExport(async ({ kernel, url }) => {
      for (const size of [0, 1, 4095, 4096, 32_769, 1_000_003, 5 << 20]) {
        const data = patternBytes(size, size);
        await tool('nfs-cp', freshFile('in', data), url(`file-${size}`));
        expect(Buffer.compare(await kernel.fs.promises.readFile(`/file-${size}`), data)).toBe(0);
        const out = freshPath('out');
        await tool('nfs-cp', url(`file-${size}`), out);
        expect(Buffer.compare(fs.readFileSync(out), data)).toBe(0);
        expect(Buffer.compare(await tool('nfs-cat', url(`file-${size}`)), Buffer.from(data))).toBe(0);
      }
    });
  });

  it('lists directories, deep and wide', async () => {
    await withExport(async ({ kernel, url }) => {
      const { promises } = kernel.fs;
      await promises.mkdir('/a/b/c', { recursive: true });
      const names = Array.from({ length: 1500 }, (_, i) => `entry with a name ${i}`);
      for (const name of names) await promises.writeFile(`/a/${name}`, name);
      const listed = (await tool('nfs-ls', url('a'))).toString().trim().split('\n');
      expect(listed.map((line) => line.replace(/^(\S+\s+){5}/, '')).sort()).toEqual([...names, 'b'].sort());
      expect((await tool('nfs-ls', '-R', url(''))).toString()).toContain('a/b/c');
    });
  });

  it('over ext3, in less memory than is copied: what was written is there after a restart', async () => {
    const image = await freshExt3();
    const data = patternBytes(9 << 20, 5);
    const file = freshFile('in', data);
    await withExport(
      async ({ url }) => {
        await Promise.all([0, 1].map((i) => tool('nfs-cp', file, url(`copy-${i}`))));
        expect(Buffer.compare(await tool('nfs-cat', url('copy-0')), Buffer.from(data))).toBe(0);
      },
      `ext3:${image}`,
      '8MiB',
    );
    await withExport(
      async ({ url }) => {
        for (const i of [0, 1]) expect(Buffer.compare(await tool('nfs-cat', url(`copy-${i}`)), Buffer.from(data))).toBe(0);
      },
      `ext3:${image}`,
      '8MiB',
    );
  });

  it('several at once', async () => {
    await withExport(async ({ url }) => {
      const data = patternBytes(3, 700_000);
      const file = freshFile('in', data);
      await Promise.all(Array.from({ length: 6 }, (_, i) => tool('nfs-cp', file, url(`copy-${i}`))));
      for (const got of await Promise.all(Array.from({ length: 6 }, (_, i) => tool('nfs-cat', url(`copy-${i}`)))))
        expect(Buffer.compare(got, Buffer.from(data))).toBe(0);
    });
  });

  it('what is not there, or not allowed, is told', async () => {
    await withExport(async ({ url }) => {
      await expect(tool('nfs-cat', url('none'))).rejects.toThrow(/NOENT|No such|open/i);
      await expect(tool('nfs-ls', url('').replace('/tree/', '/other/'))).rejects.toThrow(/mount|NOENT|ACCES/i);
    });
  });
});
