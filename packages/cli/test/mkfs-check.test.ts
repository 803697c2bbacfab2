/** `mkfs ext3` and `check`: against e2fsck, and on what is broken. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runHere } from './here.js';

const hasE2fsck = spawnSync('e2fsck', ['-V']).status === 0;
let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const command = (line: string) => runHere(...line.split(' ').map((word) => word.replaceAll('@', `${folder}/`)));

describe('mkfs ext3', () => {
  it
    .skipIf(!hasE2fsck)
    .each([
      '--size 100KiB',
      '--size 64MiB --label data',
      '--size 600MiB',
      '--size 33MiB --block-size 2048 --inode-size 128 --bytes-per-inode 64KiB',
      '--size 33MiB --block-size 4096 --journal-size 4MiB --reserved-percent 0',
      '--size 16MiB --journal-size 0',
    ])('%s: e2fsck has nothing to say', async (options) => {
    const file = path.join(folder, 'made.img');
    expect(await command(`mkfs ext3 @made.img ${options}`)).toMatchObject({ code: 0, stderr: '' });
    const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', file], { encoding: 'utf8' });
    expect(status, `${stdout}${stderr}`).toBe(0);
    fs.rmSync(file);
  });

  it('says what it made, in words and as an object', async () => {
    const uuid = '01234567-89ab-cdef-0123-456789abcdef';
    const made = await command(`mkfs ext3 @words.img --size 64MiB --label tide --uuid ${uuid} --json`);
    expect(JSON.parse(made.stdout)).toEqual({
      device: `${folder}/words.img`,
      label: 'tide',
      uuid,
      sizeBytes: 64 * 2 ** 20,
      blockSize: 1024,
      nrBlocks: 65_536,
      nrFreeBlocks: expect.any(Number),
      nrGroups: 8,
      inodeSize: 256,
      nrInodes: 16_384,
      journalBytes: 4 * 2 ** 20,
    });
    const again = await command('mkfs ext3 @words.img --force');
    expect(again.stdout).toMatch(/^size +64 MiB, 65536 blocks of 1024 bytes in 8 groups$/m);
    expect(again.stdout).toMatch(/^journal +4 MiB$/m);
  });

  it('leaves nothing of what was there, on a device full of rubbish', async () => {
    fs.writeFileSync(path.join(folder, 'rubbish.img'), Buffer.alloc(9 * 2 ** 20 + 512, 0xa5));
    expect((await command('mkfs ext3 @rubbish.img')).code).toBe(0);
    const { code, stdout } = await command('check ext3:@rubbish.img');
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/rubbish\.img: clean; 11 of \d+ inodes/) });
    if (hasE2fsck) expect(spawnSync('e2fsck', ['-fn', path.join(folder, 'rubbish.img')]).status).toBe(0);
  });

  it.each<[string, RegExp]>([
    ['mkfs ext3 @missing.img', /ENOENT: cannot open .*missing\.img/],
    ['mkfs ext3 @new.img --size 1MiB --block-size 3000', /EINVAL: .*blocks of 3000 bytes/],
    ['mkfs ext3 @new.img --size 1MiB --journal-size 900KiB', /journal of 900 blocks of 1024 bytes; want 1024/],
    ['mkfs ext3 @new.img --size 1MiB --label seventeen-letters', /EINVAL: .*label of 17 bytes/],
    ['mkfs ext3 @new.img --size 1MiB --uuid 12', /--uuid "12" is no uuid/],
    ['mkfs ext3 @new.img --size 16KiB', /ENOSPC/],
    ['mkfs ext3 @new.img --size 1001', /EINVAL: .*no multiple of 512/],
    ['mkfs ext3 mem:1MiB --size 1MiB', /--size is for files/],
    ['mkfs', /no verb; see tidemark mkfs --help/],
    ['check memfs:1MiB', /cannot be checked; want ext3:DEVICE/],
    ['check ext3:@a.img::/x', /is a file; check wants the tree/],
    ['check ext3:@zeroes.img', /EINVAL: .*no magic at byte 1080/],
  ])('%s: refused, and nothing is made', async (line, reason) => {
    fs.writeFileSync(path.join(folder, 'zeroes.img'), Buffer.alloc(2 ** 20));
    const { code, stdout, stderr } = await command(line);
    expect(stderr).toMatch(/^tidemark: [^\n]+\n$/);
    expect(stderr).toMatch(reason);
    expect({ stdout, code: code === 1 ? stderr.includes('ENOSPC') : code === 2 }).toEqual({ stdout: '', code: true });
    expect(fs.existsSync(path.join(folder, 'new.img'))).toBe(false);
  });

  it('what is in use is made over only by force', async () => {
    fs.writeFileSync(path.join(folder, 'swap.img'), Buffer.alloc(2 ** 20));
    expect((await command('swap init @swap.img')).code).toBe(0);
    const refused = await command('mkfs ext3 @swap.img');
    expect({ code: refused.code, stderr: refused.stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/EEXIST: .*a swap area/) });
    expect((await command('mkfs ext3 @swap.img --force')).code).toBe(0);
    expect((await command('mkfs ext3 @swap.img')).stderr).toMatch(/EEXIST: .*holds a filesystem/);
  });
});

describe('check', () => {
  it('lists what is wrong, and ends with 1', async () => {
    expect((await command('mkfs ext3 @broken.img --size 8MiB')).code).toBe(0);
    const file = fs.openSync(path.join(folder, 'broken.img'), 'r+');
    const block = Buffer.alloc(1024);
    fs.readSync(file, block, 0, 1024, 2048); // descriptors
    const bitmap = block.readUInt32LE(0) * 1024;
    fs.readSync(file, block, 0, 1, bitmap + 100);
    fs.writeSync(file, Buffer.from([block[0] ^ 1]), 0, 1, bitmap + 100);
    fs.closeSync(file);
    const before = fs.readFileSync(path.join(folder, 'broken.img'));
    const { code, stdout, stderr } = await command('check ext3:@broken.img');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^5 {2}.+\n/);
    expect(stdout).toMatch(/broken\.img: not clean;/);
    expect(stderr).toMatch(/^tidemark: .*broken\.img is not clean: \d+ findings?\n$/);
    const report = JSON.parse((await command('check ext3:@broken.img --json')).stdout);
    expect(report.isClean).toBe(false);
    expect(report.findings[0]).toEqual({ pass: 5, message: expect.any(String) });
    expect(fs.readFileSync(path.join(folder, 'broken.img')).equals(before)).toBe(true);
    if (hasE2fsck) expect(spawnSync('e2fsck', ['-fn', path.join(folder, 'broken.img')]).status).not.toBe(0);
  });

  it('says how much memory it takes when there is too little', async () => {
    expect((await command('mkfs ext3 @large.img --size 4GiB')).code).toBe(0);
    const { code, stderr } = await command('check ext3:@large.img --memory 512KiB');
    expect(code).toBe(1);
    expect(stderr).toMatch(/ENOMEM: checking .*smallest memory budget that has room is \d+ MiB.*--memory/);
    expect((await command('check ext3:@large.img')).code).toBe(0);
  });
});
