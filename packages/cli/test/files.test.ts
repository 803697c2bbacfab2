/** The verbs on files at work: on images, on a server, on the host; what they leave behind. As processes where signals and pipes matter. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run, start } from './command.js';
import { type Answered, runHere } from './here.js';

const hasE2fsck = spawnSync('e2fsck', ['-V']).status === 0;
let folder: string;
let disk: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-'));
  disk = path.join(folder, 'disk.img');
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Runs a command line; `@` is the folder, `#` the image. */
function command(line: string): Promise<Answered> {
  return runHere(...line.split(' ').map((word) => word.replaceAll('@', `${folder}/`).replaceAll('#', `ext3:${disk}`)));
}

/** Runs it; it must be done. */
async function done(line: string): Promise<string> {
  const { code, stdout, stderr } = await command(line);
  expect({ line, code, stderr: code === 0 ? '' : stderr }).toEqual({ line, code: 0, stderr: '' });
  return stdout;
}

async function json(line: string) {
  return JSON.parse(await done(`${line} --json`));
}

/** Nothing is wrong with the image, for two who look. */
async function expectClean(image = disk): Promise<void> {
  expect((await json(`check ext3:${image}`)).findings).toEqual([]);
  if (!hasE2fsck) return;
  const { status, stdout } = spawnSync('e2fsck', ['-fn', image], { encoding: 'utf8' });
  expect(status, stdout).toBe(0);
}

/** Everything below a directory of the host: types, modes, times, contents. */
function listing(root: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const visit = (at: string): void => {
    for (const name of fs.readdirSync(path.join(root, at)).sort()) {
      const file = path.join(at, name);
      const stats = fs.lstatSync(path.join(root, file));
      const { mode, mtimeMs } = stats;
      if (stats.isSymbolicLink()) found[file] = { mode, target: fs.readlinkSync(path.join(root, file)) };
      else if (stats.isDirectory()) {
        found[file] = { mode, mtime: Math.round(mtimeMs) };
        visit(file);
      } else {
        const sha256 = createHash('sha256')
          .update(fs.readFileSync(path.join(root, file)))
          .digest('hex');
        found[file] = { mode, mtime: Math.round(mtimeMs), size: stats.size, sha256 };
      }
    }
  };
  visit('');
  return found;
}

function write(file: string, content: string | Buffer, mode = 0o644): void {
  fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
  fs.writeFileSync(path.join(folder, file), content);
  fs.chmodSync(path.join(folder, file), mode);
}

describe('copies', () => {
  it('a tree goes to an image, to another, and comes back as it was', async () => {
    write('from/big', Buffer.from(Array.from({ length: 700_001 }, (_, i) => (i * 31 + (i >> 8)) & 255)), 0o600);
    write('from/empty', '');
    write('from/a/b/c/deep', 'deep\n', 0o755);
    write('from/ends-with-a-hole', Buffer.concat([Buffer.from('x'), Buffer.alloc(300_000)]));
    fs.symlinkSync('/a/b/../b/c/deep', path.join(folder, 'from/absolute'));
    fs.symlinkSync('nowhere', path.join(folder, 'from/dangling'));
    fs.utimesSync(path.join(folder, 'from/big'), 1_000_000_000, 1_234_567_890);
    fs.utimesSync(path.join(folder, 'from/a/b'), 1_000_000_000, 1_111_111_111);
    const other = path.join(folder, 'other.img');
    await done('mkfs ext3 @disk.img --size 8MiB');
    await done(`mkfs ext3 ${other} --size 16MiB --block-size 4096 --inode-size 256`);
    await done('cp -rp @from #');
    await done(`cp -rp #::/from ext3:${other}::/renamed`);
    const copied = await json(`cp -r -p ext3:${other}::/renamed @back`);
    expect(copied).toMatchObject({ files: 4, directories: 4, links: 2, leftOut: 0, bytes: 700_001 + 5 + 300_001 });
    expect(listing(path.join(folder, 'back'))).toEqual(listing(path.join(folder, 'from')));
    await expectClean();
    await expectClean(other);
    // An absolute link stays inside of its tree.
    expect(await done(`mkdir #::/a`)).toBe('');
    await done('cp -r #::/from/a #::/');
    expect(await done('cat #::/from/absolute')).toBe('deep\n');
  });

  it('any tree comes back as it was', async () => {
    type Made = { name: string; kind: 'file' | 'link' | 'directory'; mode: number; bytes: readonly [number, number][]; below: Made[] };
    const made = fc.letrec<{ any: Made[]; one: Made }>((tie) => ({
      any: fc.uniqueArray(tie('one'), { selector: ({ name }) => name, maxLength: 5, depthIdentifier: 'tree' }),
      one: fc.record({
        name: fc.string({ minLength: 1, maxLength: 40 }).filter((text) => !/[/\0]|^\.\.?$/.test(text)),
        kind: fc.constantFrom('file', 'link', 'directory'),
        mode: fc.integer({ min: 0, max: 0o777 }).map((bits) => bits | 0o600),
        bytes: fc.array(fc.tuple(fc.nat({ max: 400_000 }), fc.integer({ min: 1, max: 5000 })), { maxLength: 3 }),
        below: fc.oneof({ depthIdentifier: 'tree', maxDepth: 3 }, fc.constant<Made[]>([]), tie('any')),
      }),
    })).any;
    const make = (at: string, all: readonly Made[]): void => {
      fs.mkdirSync(at);
      for (const { name, kind, mode, bytes, below } of all) {
        const file = path.join(at, name);
        if (kind === 'link') fs.symlinkSync(`to ${name}`, file);
        else if (kind === 'directory') {
          make(file, below);
          fs.chmodSync(file, mode | 0o100);
        } else {
          const fd = fs.openSync(file, 'w', mode);
          for (const [offset, length] of bytes) fs.writeSync(fd, Buffer.alloc(length, 1 + (offset % 255)), 0, length, offset);
          fs.fchmodSync(fd, mode);
          fs.closeSync(fd);
        }
        if (kind !== 'link') fs.utimesSync(file, 1_500_000_000, 1_000_000_000 + mode);
      }
    };
    let n = 0;
    const roundTrip = async (all: Made[]): Promise<void> => {
      const [from, back] = [`from${++n}`, `back${n}`].map((name) => path.join(folder, name));
      make(from, all);
      await done(`mkfs ext3 @disk.img --size 16MiB --force --block-size ${[1024, 2048, 4096][n % 3]}`);
      await done(`cp -rp ${from} #::/copy --memory 4MiB`);
      await done(`cp -rp #::/copy ${back} --memory 4MiB`);
      expect(listing(back)).toEqual(listing(from));
      await expectClean();
    };
    await fc.assert(fc.asyncProperty(made, roundTrip), { numRuns: 12 });
  }, 120_000);

  it('64 MiB pass through 8 MiB of pages, and holes take no room', async () => {
    const chunk = Buffer.alloc(2 ** 20, 'tidemark ');
    const file = fs.openSync(path.join(folder, 'large'), 'w');
    for (let i = 0; i < 64; i++) fs.writeSync(file, chunk);
    fs.ftruncateSync(file, 96 * 2 ** 20);
    fs.closeSync(file);
    await done('mkfs ext3 @disk.img --size 128MiB');
    expect(fs.statSync(disk).blocks * 512).toBeLessThan(4 * 2 ** 20); // zeroes were not written
    const copied = await json('cp @large #::/ --memory 8MiB');
    expect(copied).toMatchObject({ files: 1, bytes: 96 * 2 ** 20, writtenBytes: 64 * 2 ** 20 });
    const [{ sizeBytes, allocatedBytes }] = (await json('stat #::/large')).files;
    expect(sizeBytes).toBe(96 * 2 ** 20);
    expect(allocatedBytes).toBeLessThan(65 * 2 ** 20);
    await done('cp #::/large @back --memory 8MiB');
    expect(fs.statSync(path.join(folder, 'back')).blocks * 512).toBeLessThan(66 * 2 ** 20);
    expect(spawnSync('cmp', [path.join(folder, 'large'), path.join(folder, 'back')]).status).toBe(0);
    await expectClean();
  });

  it('names that are no UTF-8 stay as they are', async () => {
    const name = Buffer.from('caf\xe9\x1b', 'latin1');
    fs.mkdirSync(path.join(folder, 'from'));
    fs.writeFileSync(Buffer.concat([Buffer.from(`${folder}/from/`), name]), 'x');
    await done('mkfs ext3 @disk.img --size 8MiB');
    await done('cp -r @from #');
    await done('cp -r #::/from @back');
    expect(fs.readdirSync(path.join(folder, 'back'), { encoding: 'buffer' })).toEqual([name]);
    expect((await json('ls #::/from')).listed[0].entries[0].name).toBe('caf\udce9\x1b');
  });

  it('what is neither file nor directory nor link is left out, and that is a failure', async () => {
    write('from/a', 'a');
    expect(spawnSync('mkfifo', [path.join(folder, 'from/fifo')]).status).toBe(0);
    await done('mkfs ext3 @disk.img --size 8MiB');
    const { code, stderr } = await command('cp -r @from #');
    expect(code).toBe(1);
    expect(stderr).toMatch(/left out: .*from\/fifo/);
    expect(await done('ls #::/from')).toBe('a\n');
  });

  it('a link that the copy meets below its target leads nowhere', async () => {
    write('from/sub/file', 'new');
    write('outside/file', 'old');
    fs.mkdirSync(path.join(folder, 'to/from'), { recursive: true });
    fs.symlinkSync('../../outside', path.join(folder, 'to/from/sub'));
    await done('mkfs ext3 @disk.img --size 8MiB');
    await done('cp -r @from #');
    expect((await command('cp -r #::/from @to')).stderr).toMatch(/ENOTDIR: cannot copy to .*to\/from\/sub/);
    fs.unlinkSync(path.join(folder, 'to/from/sub'));
    fs.mkdirSync(path.join(folder, 'to/from/sub'));
    fs.symlinkSync('../../../outside/file', path.join(folder, 'to/from/sub/file'));
    await done('cp -r #::/from @to');
    expect(fs.readFileSync(path.join(folder, 'outside/file'), 'utf8')).toBe('old');
    expect(fs.readFileSync(path.join(folder, 'to/from/sub/file'), 'utf8')).toBe('new');
  });

  it('a full disk: one line, 1, and the image is clean', async () => {
    write('large', Buffer.alloc(2 ** 20, 1));
    await done('mkfs ext3 @disk.img --size 512KiB');
    const { code, stderr } = await command('cp @large #::/large');
    expect({ code, line: stderr.split('\n').at(-2) }).toEqual({
      code: 1,
      line: `tidemark: ENOSPC: cannot write ext3:${disk}::/large: no space left on device`,
    });
    await expectClean();
  });

  it('a signal: what was copied is written out and unmounted, 128 + n', async () => {
    write('large', '');
    fs.truncateSync(path.join(folder, 'large'), 2 ** 42); // holes take their time, too
    await done('mkfs ext3 @disk.img --size 8MiB');
    const { child, ended } = start(['cp', path.join(folder, 'large'), `ext3:${disk}::/`]);
    const isMounted = (): boolean => (fs.readFileSync(disk).readUInt32LE(1024 + 96) & 4) !== 0;
    while (!isMounted() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGTERM');
    expect((await ended).code).toBe(143);
    expect(isMounted()).toBe(false);
    await expectClean();
  });

  it('what a crash left in a journal is replayed, by those who only read, too', async () => {
    await done('mkfs ext3 @disk.img --size 8MiB');
    for (const name of ['one', 'two']) write(`from/${name}`, name);
    fs.truncateSync(path.join(folder, 'from/two'), 2 ** 42);
    const { child, ended } = start(['cp', '-r', path.join(folder, 'from'), `ext3:${disk}::/`]);
    // A commit is in the log: its superblock, in the journal's first block, says where it begins.
    const hasCommitted = (): boolean => {
      const bytes = fs.readFileSync(disk);
      const at = bytes.indexOf(Buffer.from('c03b399800000004', 'hex'));
      return at > 0 && bytes.readUInt32BE(at + 28) !== 0;
    };
    while (!hasCommitted() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 100));
    child.kill('SIGKILL');
    await ended;
    expect((await json('check #')).needsRecovery).toBe(true);
    const listed = await command('ls #');
    expect(listed).toMatchObject({ code: 0, stderr: `ext3:${disk} was not unmounted: replaying its journal\n` });
    expect(listed.stdout).toContain('lost+found\n');
    await expectClean();
  }, 60_000);
});

describe('one tree', () => {
  beforeEach(async () => {
    await done('mkfs ext3 @disk.img --size 8MiB --label data');
  });

  it('mkdir, ln, mv, rm; ls, stat, tree, df', async () => {
    write('hello', 'hello\n', 0o640);
    await done('mkdir #::/a');
    expect(await json('mkdir -p #::/a #::/b/c')).toEqual({ made: [`ext3:${disk}::/a`, `ext3:${disk}::/b/c`] });
    await done('cp @hello #::/a');
    await done('ln #::/a/hello #::/b');
    await done('ln -s ../a/hello #::/b/soft');
    await done('mv #::/b/hello #::/b/c/moved');
    expect(await done('cat #::/b/soft #::/b/c/moved')).toBe('hello\nhello\n');
    expect(await run('cat', `ext3:${disk}::/a/hello`)).toEqual({ code: 0, signal: null, stdout: 'hello\n', stderr: '' });
    expect(await json('cat #::/a/hello')).toEqual({ files: [{ file: `ext3:${disk}::/a/hello`, base64: 'aGVsbG8K' }] });
    expect(await done('tree #')).toBe(
      [
        `ext3:${disk}::/`,
        '├── a',
        '│   └── hello',
        '├── b',
        '│   ├── c',
        '│   │   └── moved',
        '│   └── soft -> ../a/hello',
        '└── lost+found',
        '4 directories, 3 files',
        '',
      ].join('\n'),
    );
    expect(await done('tree #::/b --depth 1')).toBe(`ext3:${disk}::/b\n├── c\n└── soft -> ../a/hello\n1 directory, 1 file\n`);
    const tree = (await json('tree #')).trees[0];
    expect(tree.entries[1].entries[0].entries[0]).toMatchObject({ name: 'moved', type: 'file', mode: '0640', links: 2, sizeBytes: 6 });
    expect(await done('ls -l #::/b')).toMatch(
      /^drwxr-xr-x 2 0 0 \d+ [-0-9]+T[:0-9]+Z c\nlrwxrwxrwx 1 0 0 +10 [-0-9]+T[:0-9]+Z soft -> \.\.\/a\/hello\n$/,
    );
    const stat = (await json('stat #::/b/soft #::/a/hello')).files;
    expect(stat[0]).toMatchObject({ file: `ext3:${disk}::/b/soft`, name: 'soft', type: 'link', target: '../a/hello' });
    expect(Object.keys(stat[1])).toEqual([
      ...['file', 'name', 'type', 'mode', 'links', 'uid', 'gid', 'sizeBytes', 'allocatedBytes', 'inode'],
      ...['accessed', 'modified', 'changed'],
    ]);
    expect(await json('rm -r #::/a #::/b')).toEqual({ removed: [`ext3:${disk}::/a`, `ext3:${disk}::/b`] });
    expect(await done('ls #')).toBe('lost+found\n');
    expect(await json('rm -f #::/a')).toEqual({ removed: [] });
    const [room] = (await json('df #')).filesystems;
    const { nrFreeBlocks, nrFreeInodes } = await json('check #');
    expect(room).toMatchObject({ tree: `ext3:${disk}`, blockBytes: 1024, freeBytes: nrFreeBlocks * 1024, freeInodes: nrFreeInodes });
    expect(await done('df #')).toMatch(/^tree +size +used +available +use +inodes\next3:/);
    await expectClean();
  });

  it('mv between trees takes everything along', async () => {
    write('from/a/file', 'x');
    await done('mkfs ext3 @other.img --size 8MiB');
    await done('cp -r @from #');
    await done('mv #::/from ext3:@other.img::/to');
    expect(await done('ls #')).toBe('lost+found\n');
    expect(await done('cat ext3:@other.img::/to/a/file')).toBe('x');
  });

  it('over nbd', async () => {
    write('hello', 'hello\n');
    const server = start(['serve', 'nbd', disk, '--listen', `unix:${folder}/nbd.sock`]);
    const uri = (await server.firstLine).replace('listening ', '');
    const tree = `ext3:${uri}`;
    const made = await json(`mkfs ext3 ${uri} --force --block-size 2048 --journal-size 2MiB`);
    expect(made).toMatchObject({ device: uri, blockSize: 2048, nrBlocks: 4096, journalBytes: 2 * 2 ** 20 });
    await done(`cp @hello ${tree}::/`);
    expect(await done(`cat ${tree}::/hello`)).toBe('hello\n');
    expect(await json(`check ${tree}`)).toMatchObject({ isClean: true, needsRecovery: false });
    server.child.kill('SIGTERM');
    expect((await server.ended).code).toBe(0);
    await expectClean();
  });

  it.each<[string, RegExp]>([
    ['ls @disk.img', /is a path of the host, which only cp takes/],
    ['ls disk.img::/x', /says no filesystem: want ext3:disk\.img::\/x/],
    ['ls floppy:a', /ENODEV: no filesystem for "floppy:a": known schemes are/],
    ['ls ext3:@missing.img', /ENOENT: cannot open .*missing\.img/],
    ['ls #::/nope', /ENOENT: cannot look at ext3:.*::\/nope: no such file or directory/],
    ['cat #::/lost+found', /EISDIR: cannot read ext3:.*::\/lost\+found/],
    ['cp #::/lost+found @x', /lost\+found is a directory; -r copies it/],
    ['cp #::/a', /cp wants at least one source, and a target/],
    ['cp @disk.img @disk.img #::/none', /none is no directory, and there are 2 sources/],
    ['cp -r #::/lost+found #::/lost+found/x', /is inside of/],
    ['cp -r #::/lost+found #::/', /are the same file/],
    ['mkdir #::/lost+found', /EEXIST/],
    ['rm #::/lost+found', /is a directory; -r removes it/],
    ['rm -r #', /has no name to remove/],
    ['rm -r #::/lost+found/..', /has no name to remove/],
    ['mv # #::/x', /has no name to move/],
    ['mv #::/lost+found #::/lost+found/x', /EINVAL: cannot move/],
    ['ln #::/lost+found #::/x', /EPERM: cannot link/],
    ['ln #::/a memfs:1MiB::/a', /are in two trees/],
    ['ls # --memory 64KiB', /ENOMEM|EINVAL/],
  ])('%s: bad input', async (line, reason) => {
    const { code, stdout, stderr } = await command(line);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^tidemark: [^\n]+\n$/);
    expect(stderr).toMatch(reason);
  });
});
