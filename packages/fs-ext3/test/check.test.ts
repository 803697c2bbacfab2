/** Our check beside e2fsck: on images that mke2fs made of trees, whole and damaged. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkExt3 } from '../src/check/check.js';
import type { Words } from '../src/check/tables.js';

let folder = '';
const images: string[] = [];
const hasPeers = spawnSync('e2fsck', ['-V']).status === 0;

function makeTree(tree: string): void {
  fs.mkdirSync(path.join(tree, 'deep/er/still'), { recursive: true });
  fs.mkdirSync(path.join(tree, 'many'));
  for (let i = 0; i < 900; i++)
    fs.writeFileSync(path.join(tree, 'many', `a-file-with-a-name-of-some-length-${i}`), i % 7 === 0 ? 'x'.repeat(i) : '');
  fs.writeFileSync(path.join(tree, 'large'), Buffer.alloc(700_000, 'l'));
  const sparse = fs.openSync(path.join(tree, 'sparse'), 'w');
  fs.writeSync(sparse, 'end', 40_000_000);
  fs.closeSync(sparse);
  fs.symlinkSync('short', path.join(tree, 'deep/short-link'));
  fs.symlinkSync('l'.repeat(300), path.join(tree, 'deep/long-link'));
  fs.linkSync(path.join(tree, 'large'), path.join(tree, 'deep/large-too'));
}

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-check-'));
  if (!hasPeers) return;
  const tree = path.join(folder, 'tree');
  makeTree(tree);
  for (const [blockSize, more] of [
    [1024, ['-I', '128']],
    [1024, ['-I', '256']],
    [4096, ['-I', '256', '-O', '^resize_inode']],
  ] as const) {
    const image = path.join(folder, `${images.length}.img`);
    const made = spawnSync('mke2fs', ['-q', '-t', 'ext3', '-b', String(blockSize), ...more, '-d', tree, image, '24M'], {
      encoding: 'utf8',
    });
    expect(made.status, made.stderr).toBe(0);
    spawnSync('e2fsck', ['-fyD', image]); // makes indexes
    images.push(image);
  }
}, 60_000);
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function allocate(_what: string, length: number): Words {
  const words = new Uint32Array(length);
  return { get: (i) => words[i], set: (i, value) => void words.fill(value, i, i + 1) };
}

const check = (bytes: Uint8Array) =>
  checkExt3(
    {
      name: 'image',
      sizeBytes: bytes.length,
      read: async (offsetBytes, into) => void into.set(bytes.subarray(offsetBytes, offsetBytes + into.length)),
    },
    allocate,
  );

describe.skipIf(!hasPeers)('a check', () => {
  it('finds nothing in what mke2fs made and e2fsck put in order', async () => {
    for (const image of images) {
      const report = await check(new Uint8Array(fs.readFileSync(image)));
      expect(report.findings).toEqual([]);
      expect(report).toMatchObject({ isClean: true, needsRecovery: false });
    }
  }, 60_000);

  it('says so whenever e2fsck does, whatever word of the metadata is changed', async () => {
    const used = new Map<string, number[]>();
    let nrDamaged = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(images.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, seed, change) => {
        const image = images[which];
        const whole = fs.readFileSync(image);
        const places = used.get(image) ?? metadataBytes(image);
        used.set(image, places);
        const at = places[seed % places.length];
        whole[at] ^= change;
        const damaged = path.join(folder, 'damaged.img');
        fs.writeFileSync(damaged, whole);
        const theirs = spawnSync('e2fsck', ['-fn', damaged], { encoding: 'utf8' });
        const ours = await check(new Uint8Array(whole)).then(
          ({ isClean }) => isClean,
          () => false,
        );
        const isClean = theirs.status === 0;
        if (!isClean) nrDamaged++;
        if (!isClean) expect(ours, `byte ${at}: e2fsck says ${theirs.stdout}`).toBe(false);
      }),
      { numRuns: 60 },
    );
    expect(nrDamaged).toBeGreaterThan(10);
  }, 240_000);
});

/** Bytes of group descriptors, bitmaps, inodes in use and directory blocks, as debugfs and dumpe2fs name them. */
function metadataBytes(image: string): number[] {
  const run = (command: string, args: string[]): string => spawnSync(command, args, { encoding: 'utf8' }).stdout;
  const words = run('dumpe2fs', [image]);
  const blockSize = Number(/Block size: +(\d+)/.exec(words)?.[1]);
  const inodeSize = Number(/Inode size:\s+(\d+)/.exec(words)?.[1]);
  const table = Number(/Inode table at (\d+)-/.exec(words)?.[1]);
  const bytes: number[] = [];
  const add = (from: number, length: number): void => {
    for (let at = from; at < from + length; at++) bytes.push(at);
  };
  for (const [, bitmap] of words.matchAll(/(?:Block|Inode) bitmap at (\d+)/g)) add(Number(bitmap) * blockSize, 64);
  add(table * blockSize + inodeSize, inodeSize);
  add(table * blockSize + 10 * inodeSize, 40 * inodeSize);
  for (const directory of ['/', '/deep', '/many']) {
    const blocks = run('debugfs', ['-R', `blocks ${directory}`, image])
      .trim()
      .split(/\s+/)
      .map(Number);
    for (const block of blocks.slice(0, 6)) add(block * blockSize, 200);
  }
  return bytes;
}
