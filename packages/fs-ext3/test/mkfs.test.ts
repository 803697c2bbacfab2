/** mkfs against e2fsck and dumpe2fs. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeSuperblock } from '../src/format/superblock.js';
import { type MkfsTarget, mkfs } from '../src/mkfs/mkfs.js';
import { type MkfsOptions, planMkfs } from '../src/mkfs/options.js';

const MIB = 2 ** 20;
let folder = '';
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-mkfs-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function fileTarget(file: string, sizeBytes: number): MkfsTarget {
  fs.writeFileSync(file, '');
  fs.truncateSync(file, sizeBytes);
  const fd = fs.openSync(file, 'r+');
  return {
    name: path.basename(file),
    sizeBytes,
    write: async (offsetBytes, bytes) => void fs.writeSync(fd, bytes, 0, bytes.length, offsetBytes),
    zero: async () => {}, // it is new
    flush: async () => fs.fsyncSync(fd),
  };
}

async function make(file: string, sizeBytes: number, options: Partial<MkfsOptions> = {}) {
  const target = fileTarget(file, sizeBytes);
  const fixed = { nowSeconds: 1_700_000_000, hashSeed: new Uint8Array(16).fill(7), uuid: new Uint8Array(16).fill(9) };
  return mkfs(target, planMkfs(target.name, sizeBytes, { ...fixed, ...options }));
}

function readAt(file: string, offsetBytes: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const fd = fs.openSync(file, 'r');
  fs.readSync(fd, bytes, 0, length, offsetBytes);
  fs.closeSync(fd);
  return bytes;
}

const hasE2fsck = spawnSync('e2fsck', ['-V']).status === 0;

describe.skipIf(!hasE2fsck)('e2fsck has nothing to say about', () => {
  const rows: [name: string, sizeBytes: number, options: Partial<MkfsOptions>][] = [
    ['the smallest', 256 * 1024, {}],
    ['8 MiB', 8 * MIB, {}],
    ['8 MiB of blocks of 4 KiB', 8 * MIB, { blockSize: 4096, journalSize: '4MiB' }],
    ['33 MiB, whose last group is short', 33 * MIB + 1024, { blockSize: 1024 }],
    ['a last group that is left out', 16 * MIB + 40 * 1024, { blockSize: 2048, inodeSize: 128 }],
    ['an ext2', 20 * MIB, { journalSize: 0, dirIndex: false }],
    ['backups in every group', 50 * MIB, { sparseSuper: false, label: 'tide' }],
    ['a journal with two levels of indirect blocks', 128 * MIB, { blockSize: 1024, journalSize: '20MiB' }],
    ['4 GiB', 4096 * MIB, {}],
    ['few inodes', 64 * MIB, { bytesPerInode: 65_536, reservedPercent: 0 }],
  ];
  it.each(rows)('%s', async (name, sizeBytes, options) => {
    const file = path.join(folder, `${name}.img`);
    const { superblock } = await make(file, sizeBytes, options);
    const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', file], { encoding: 'utf8' });
    expect(`${stdout}${stderr}`).toMatch(/Pass 5/);
    expect(status, `${stdout}${stderr}`).toBe(0);
    const read = decodeSuperblock(name, readAt(file, 1024, 1024), sizeBytes);
    expect(read).toEqual(superblock);
    fs.rmSync(file);
  });

  it('what it says of itself, read by dumpe2fs', async () => {
    const file = path.join(folder, 'words.img');
    await make(file, 64 * MIB, { label: 'tide mark', blockSize: 2048, inodeSize: 128 });
    const words = execFileSync('dumpe2fs', ['-h', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    expect(words).toMatch(/Filesystem volume name: +tide mark\n/);
    expect(words).toMatch(/Filesystem features: +has_journal ext_attr dir_index filetype sparse_super large_file\n/);
    expect(words).toMatch(/Block size: +2048\n/);
    expect(words).toMatch(/Inode size:\t +128\n/);
    expect(words).toMatch(/Default directory hash: +half_md4\n/);
    expect(words).toMatch(/Filesystem UUID: +09090909-0909-0909-0909-090909090909\n/);
  });
});
