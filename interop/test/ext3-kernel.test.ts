/**
 * ext3 and the Linux kernel, both ways over loop mounts: what either writes the other reads to the byte, and a journal that the kernel left behind is
 * replayed to what e2fsck makes of it. Needs root, a kernel that knows ext3, and loop devices.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { ext3 } from '@tidemark/fs-ext3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const MIB = 2 ** 20;
let folder = '';
let nr = 0;

function command(name: string, ...args: string[]): { readonly status: number | null; readonly text: string } {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  const { status, stdout, stderr } = spawnSync(name, args, { encoding: 'utf8', env, timeout: 120_000 });
  return { status, text: `${stdout}${stderr}` };
}

/** Why it cannot be, or null. */
function whyNot(): string | null {
  if (process.getuid?.() !== 0) return 'no root';
  if (command('mke2fs', '-V').status !== 0) return 'no e2fsprogs';
  const trial = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-loop-trial-'));
  try {
    const image = path.join(trial, 'image');
    command('mke2fs', '-q', '-t', 'ext3', image, '4096');
    const at = path.join(trial, 'at');
    fs.mkdirSync(at);
    const mounted = command('mount', '-o', 'loop', '-t', 'ext3', image, at);
    if (mounted.status !== 0) return `no loop mounts of ext3 (${mounted.text.trim()})`;
    command('umount', at);
    return null;
  } finally {
    fs.rmSync(trial, { recursive: true, force: true });
  }
}

const reason = whyNot();
if (reason !== null) console.log(`skipped: ext3 and the Linux kernel: ${reason}`);

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir(), 'tidemark-ext3-kernel-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function newImage(blockSize: number, sizeBytes = 16 * MIB): string {
  const image = path.join(folder, `${nr++}.img`);
  const { status, text } = command('mke2fs', '-q', '-t', 'ext3', '-b', String(blockSize), image, String(sizeBytes / blockSize));
  expect(status, text).toBe(0);
  return image;
}

/** Does something with what the kernel has mounted. */
async function byKernel<T>(image: string, options: string, work: (at: string) => Promise<T>): Promise<T> {
  const at = path.join(folder, `at${nr++}`);
  fs.mkdirSync(at);
  const mounted = command('mount', '-o', `loop,${options}`, '-t', 'ext3', image, at);
  expect(mounted.status, mounted.text).toBe(0);
  try {
    return await work(at);
  } finally {
    const { status, text } = command('umount', at);
    expect(status, text).toBe(0);
  }
}

async function byUs<T>(image: string, options: { readOnly?: boolean }, work: (fsOfKernel: NodeFs) => Promise<T>): Promise<T> {
  const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, ext3] });
  try {
    await kernel.mount(`ext3:${image}`, '/', options);
    return await work(kernel.fs as NodeFs);
  } finally {
    expect(await kernel.shutdown()).toMatchObject({ leakedFrames: 0, problems: [] });
  }
}

function isWell(image: string): void {
  const { status, text } = command('e2fsck', '-fn', image);
  expect(status, text).toBe(0);
}

/** What both faces have. */
type Face = Pick<typeof fs.promises, 'readdir' | 'lstat' | 'readFile' | 'readlink'>;

/** Every file as a line: type, mode, owner, links, size, modification time, a digest of what it holds. */
async function describeTree(face: Face, root: string): Promise<string[]> {
  const lines: string[] = [];
  const walk = async (dir: string): Promise<void> => {
    for (const name of (await face.readdir(dir)) as string[]) {
      const at = path.posix.join(dir, name);
      const stats = await face.lstat(at);
      const content = stats.isFile()
        ? createHash('sha256')
            .update(await face.readFile(at))
            .digest('hex')
        : stats.isSymbolicLink()
          ? await face.readlink(at)
          : '';
      const size = stats.isDirectory() ? '' : stats.size;
      const words = [
        stats.mode.toString(8),
        stats.uid,
        stats.gid,
        stats.nlink,
        size,
        Math.floor(stats.mtimeMs / 1000),
        stats.rdev,
        content,
      ];
      lines.push(`${path.posix.relative(root, at)} ${words.join(' ')}`);
      if (stats.isDirectory()) await walk(at);
    }
  };
  await walk(root);
  return lines.sort();
}

type Writer = Pick<
  typeof fs.promises,
  'mkdir' | 'writeFile' | 'symlink' | 'link' | 'truncate' | 'chmod' | 'chown' | 'utimes' | 'unlink' | 'rename' | 'open' | 'lchown'
>;

/** A tree with something of everything. */
async function populate(face: Writer, root: string): Promise<void> {
  const at = (name: string): string => path.posix.join(root, name);
  await face.mkdir(at('deep'));
  await face.mkdir(at('deep/er'));
  await face.writeFile(at('deep/er/empty'), '');
  const pattern = Buffer.alloc(3 * MIB);
  for (let i = 0; i < pattern.length; i += 4) pattern.writeUInt32LE(i ^ 0x5bd1e995, i);
  await face.writeFile(at('large'), pattern);
  const sparse = await face.open(at('sparse'), 'w');
  for (const offset of [0, 70_000, 300_000, 70 * MIB]) await sparse.write(pattern, offset % 1000, 5000, offset);
  await sparse.close();
  await face.mkdir(at('many'));
  for (let i = 0; i < 400; i++) await face.writeFile(at(`many/${i}-${'n'.repeat(i % 60)}`), `content ${i}`);
  for (let i = 0; i < 400; i += 3) await face.unlink(at(`many/${i}-${'n'.repeat(i % 60)}`));
  await face.symlink('deep/er', at('short link'));
  await face.symlink(`/${'x'.repeat(200)}`, at('long link'));
  await face.link(at('large'), at('deep/hard link'));
  await face.writeFile(at('späße\u{1f30a}'), 'not ASCII');
  await face.chmod(at('deep/er/empty'), 0o4711);
  await face.chown(at('deep/er/empty'), 1234, 70_000);
  await face.utimes(at('large'), 1_000_000, 1_234_567_890);
  await face.truncate(at('large'), 2_500_001);
  await face.rename(at('deep/er'), at('moved'));
}

describe.skipIf(reason !== null)('ext3 and the Linux kernel', () => {
  it.each([1024, 2048, 4096])('what we write the kernel reads; blocks of %i bytes', { timeout: 240_000 }, async (blockSize) => {
    const image = newImage(blockSize);
    const ours = await byUs(image, {}, async ({ promises }) => {
      await populate(promises as never, '/');
      return describeTree(promises as never, '/');
    });
    isWell(image);
    expect(ours.length).toBeGreaterThan(270);
    const theirs = await byKernel(image, 'ro', (at) => describeTree(fs.promises, at));
    expect(theirs).toEqual(ours);
  });

  it.each([1024, 2048, 4096])(
    'what the kernel writes we read, change, and it reads again; blocks of %i bytes',
    { timeout: 240_000 },
    async (blockSize) => {
      const image = newImage(blockSize);
      const theirs = await byKernel(image, 'rw', async (at) => {
        await populate(fs.promises, at);
        return describeTree(fs.promises, at);
      });
      expect(await byUs(image, { readOnly: true }, ({ promises }) => describeTree(promises as never, '/'))).toEqual(theirs);
      const changed = await byUs(image, {}, async ({ promises }) => {
        for (let i = 1; i < 400; i += 3) await promises.unlink(`/many/${i}-${'n'.repeat(i % 60)}`);
        await promises.appendFile('/large', Buffer.alloc(200_000, 7));
        await promises.rename('/moved', '/deep/back');
        await promises.truncate('/sparse', 71_000);
        return describeTree(promises as never, '/');
      });
      isWell(image);
      expect(await byKernel(image, 'ro', (at) => describeTree(fs.promises, at))).toEqual(changed);
    },
  );

  it.each(['ordered', 'journal', 'writeback'])(
    'a journal the kernel left, data=%s, is replayed to what e2fsck makes of it',
    { timeout: 240_000 },
    async (mode) => {
      const image = newImage(1024);
      const left = [path.join(folder, `left-${mode}-a.img`), path.join(folder, `left-${mode}-b.img`)];
      await byKernel(image, `rw,data=${mode},commit=300`, async (at) => {
        for (let round = 0; round < 4; round++) {
          fs.mkdirSync(path.join(at, `dir${round}`));
          for (let i = 0; i < 120; i++) fs.writeFileSync(path.join(at, `dir${round}`, `file${i}`), Buffer.alloc(1 + ((i * 977) % 9000), i));
          if (round > 0) fs.rmSync(path.join(at, `dir${round - 1}`), { recursive: true }); // freed metadata: revokes
          const handle = fs.openSync(path.join(at, `dir${round}`, 'file0'), 'r+');
          fs.fsyncSync(handle); // a commit, and no checkpoint
          fs.closeSync(handle);
        }
        command('sync', '-d', image);
        for (const copy of left) fs.copyFileSync(image, copy);
      });
      const replayed = command('e2fsck', '-fy', left[1]);
      expect(replayed.status ?? 8, replayed.text).toBeLessThan(2);
      expect(replayed.text).toMatch(/recovering journal/);
      const ours = await byUs(left[0], {}, ({ promises }) => describeTree(promises as never, '/'));
      isWell(left[0]);
      expect(ours.length).toBeGreaterThan(100);
      expect(ours).toEqual(await byUs(left[1], { readOnly: true }, ({ promises }) => describeTree(promises as never, '/')));
    },
  );
});
