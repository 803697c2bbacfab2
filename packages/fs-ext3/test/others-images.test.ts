/** Images that others made: read as they are, refused by name, and, damaged, never the end of the process. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { isKernelError, Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { Random } from '@tidemark/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ext3 } from '../src/index.js';
import { e2fsck, hasPeers, makeFolder } from './support/image.js';
import { describeFile, describeHost } from './support/model-tree.js';

const NR_DAMAGED = Number(process.env.TIDEMARK_RUNS ?? 0.5) * 40;
let folder = '';
let tree = '';
beforeAll(() => {
  folder = makeFolder('others');
  tree = path.join(folder, 'tree');
  fs.mkdirSync(path.join(tree, 'deep/er/still'), { recursive: true });
  fs.mkdirSync(path.join(tree, 'many'));
  for (let i = 0; i < 700; i++) fs.writeFileSync(path.join(tree, 'many', `a-file-with-a-name-${i}`), i % 7 === 0 ? 'x'.repeat(i) : '');
  fs.writeFileSync(path.join(tree, 'large'), Buffer.alloc(700_000, 'large and larger '));
  const sparse = fs.openSync(path.join(tree, 'sparse'), 'w');
  fs.writeSync(sparse, 'middle', 3_000_000);
  fs.writeSync(sparse, 'end', 12_000_000);
  fs.closeSync(sparse);
  fs.symlinkSync('short', path.join(tree, 'deep/short-link'));
  fs.symlinkSync('l'.repeat(300), path.join(tree, 'deep/long-link'));
  fs.linkSync(path.join(tree, 'large'), path.join(tree, 'deep/large-too'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function make(name: string, type: string, args: readonly string[]): string {
  const file = path.join(folder, name);
  const made = spawnSync('mke2fs', ['-q', '-F', '-t', type, ...args, '-d', tree, file, '24M'], { encoding: 'utf8' });
  expect(made.status, made.stderr).toBe(0);
  return file;
}

async function boot(): Promise<{ kernel: Kernel; promises: NodeFs['promises'] }> {
  const kernel = await Kernel.boot({ memory: '6MiB', plugins: [host, ext3] });
  return { kernel, promises: (kernel.fs as NodeFs).promises };
}

/** The tree of a mount, as `describeHost` has that of the host. */
async function describeMount(promises: NodeFs['promises']): Promise<string[]> {
  const lines: string[] = [];
  const walk = async (at: string): Promise<void> => {
    for (const name of (await promises.readdir(at === '' ? '/' : at)) as string[]) {
      const where = `${at}/${name}`;
      if (where === '/lost+found') continue;
      const stats = await promises.lstat(where);
      if (stats.isDirectory()) {
        lines.push(`${where} directory`);
        await walk(where);
      } else if (stats.isSymbolicLink()) lines.push(`${where} link ${await promises.readlink(where)}`);
      else lines.push(`${where} ${describeFile((await promises.readFile(where)) as Uint8Array)}`);
    }
  };
  await walk('');
  return lines.sort();
}

/** Bytes in use of blocks that are no text: superblock, descriptors, bitmaps, inodes, indirect blocks, directories. */
function metadataBytes(bytes: Uint8Array, blockSize: number): number[] {
  const places: number[] = [];
  for (let block = 1; block * blockSize < bytes.length; block++) {
    const content = bytes.subarray(block * blockSize, (block + 1) * blockSize);
    if (content.filter((byte) => byte > 0 && byte < 0x20).length < 4) continue;
    for (let i = 0; i < blockSize; i++) if (content[i] !== 0 && content[i] !== 0xff) places.push(block * blockSize + i);
  }
  return places;
}

const KINDS: readonly (readonly [name: string, type: string, args: readonly string[]])[] = [
  ['1 KiB blocks, inodes of 128 bytes', 'ext3', ['-b', '1024', '-I', '128']],
  ['1 KiB blocks', 'ext3', ['-b', '1024', '-I', '256']],
  ['2 KiB blocks, no indexes', 'ext3', ['-b', '2048', '-O', '^dir_index']],
  ['4 KiB blocks', 'ext3', ['-b', '4096', '-O', '^resize_inode']],
  ['no file types, backups everywhere', 'ext3', ['-b', '1024', '-O', '^filetype,^sparse_super,^resize_inode']],
  ['ext2', 'ext2', ['-b', '1024']],
];

describe.skipIf(!hasPeers)('an image that mke2fs made', () => {
  it.each(KINDS)('is read as it is, and can be written: %s', { timeout: 60_000 }, async (name, type, args) => {
    const isSecond = KINDS.findIndex((kind) => kind[0] === name) % 2 === 1;
    for (const hasIndexes of process.env.TIDEMARK_RUNS === undefined ? [isSecond] : [false, true]) {
      const file = make(`${name}.img`, type, args);
      if (hasIndexes) spawnSync('e2fsck', ['-fyD', file]);
      const { kernel, promises } = await boot();
      await kernel.mount(`ext3:${file}`, '/');
      expect(await describeMount(promises)).toEqual(describeHost(tree));
      for (let i = 0; i < 300; i++) await promises.writeFile(`/many/another-${i}`, String(i));
      for (let i = 0; i < 300; i += 2) await promises.unlink(`/many/a-file-with-a-name-${i}`);
      await promises.truncate('/large', 300_001);
      await promises.rename('/deep/er', '/many/er');
      const expected = await describeMount(promises);
      expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
      const { status, text } = e2fsck(file);
      expect(status, text).toBe(0);
      const again = await boot();
      await again.kernel.mount(`ext3:${file}`, '/', { readOnly: true });
      expect(await describeMount(again.promises)).toEqual(expected);
      await expect(again.promises.writeFile('/x', 'x')).rejects.toMatchObject({ code: 'EROFS' });
      expect(await again.kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
    }
  });

  it('is refused by name if it is of ext4, and only read if that is enough', async () => {
    const { kernel, promises } = await boot();
    const ext4 = make('ext4.img', 'ext4', []);
    await expect(kernel.mount(`ext3:${ext4}`, '/')).rejects.toThrow(/extents.*64bit.*flex_bg/);
    const later = make('later.img', 'ext3', []);
    spawnSync('debugfs', ['-w', '-R', 'feature extra_isize', later]);
    await kernel.mount(`ext3:${later}`, '/');
    await expect(promises.mkdir('/x')).rejects.toMatchObject({ code: 'EROFS' });
    expect(await promises.readFile('/sparse')).toHaveLength(12_000_003);
    await kernel.unmount('/');
    await expect(kernel.mount(`ext3:${tree}/large`, '/')).rejects.toMatchObject({ code: 'EINVAL' });
    const held = make('held.img', 'ext3', []);
    await kernel.mount(`ext3:${held}`, '/');
    await expect(kernel.mount(`ext3:${held}`, '/deep')).rejects.toThrow(/EBUSY/);
    expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  });

  it('damaged anywhere, gives a typed error or what it can', { timeout: 240_000 }, async () => {
    const whole = fs.readFileSync(make('whole.img', 'ext3', ['-b', '1024', '-I', '256']));
    const places = metadataBytes(whole, 1024);
    const random = new Random(99);
    const file = path.join(folder, 'damaged.img');
    let nrErrors = 0;
    let nrRefused = 0;
    for (let run = 0; run < NR_DAMAGED; run++) {
      const bytes = Buffer.from(whole);
      for (let i = 1 + random.below(12); i > 0; i--) {
        const at = random.pick(places);
        if (random.chance(0.5)) bytes[at] = random.below(256);
        else bytes.writeUInt32LE(random.pick([0, 1, 0xffffffff, random.below(30_000), random.nextUint32()]), at & ~3);
      }
      fs.writeFileSync(file, bytes);
      const { kernel, promises } = await boot();
      const attempt = async (work: () => Promise<unknown>): Promise<void> => {
        try {
          await work();
        } catch (error) {
          nrErrors++;
          const { code } = error as { code?: unknown };
          if (!isKernelError(error) && typeof code !== 'string') throw error;
        }
      };
      try {
        await kernel.mount(`ext3:${file}`, '/');
      } catch (error) {
        if (!isKernelError(error)) throw error;
        nrRefused++;
      }
      if (kernel.vfs.mounts.list().length > 0) {
        for (const where of ['/', '/many', '/deep', '/deep/er', '/lost+found']) await attempt(() => promises.readdir(where));
        for (let i = 0; i < 30; i++) await attempt(() => promises.readFile(`/many/a-file-with-a-name-${i * 7}`));
        for (const where of ['/large', '/sparse']) await attempt(() => promises.readFile(where));
        await attempt(() => promises.readlink('/deep/long-link'));
        await attempt(() => promises.writeFile('/many/new', 'x'.repeat(9000)));
        await attempt(() => promises.unlink('/large'));
        await attempt(() => promises.truncate('/sparse', 5_000_000));
        await attempt(() => promises.rename('/deep/er', '/er'));
        await attempt(() => promises.rm('/many', { recursive: true }));
      }
      const { leakedFrames, leakedTimers } = await kernel.shutdown();
      expect({ leakedFrames, leakedTimers, run }).toEqual({ leakedFrames: 0, leakedTimers: 0, run });
    }
    expect(nrRefused).toBeGreaterThan(0);
    expect(nrErrors).toBeGreaterThan(NR_DAMAGED);
  });
});
