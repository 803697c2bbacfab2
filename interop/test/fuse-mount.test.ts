/**
 * Real programs on trees that are mounted through /dev/fuse: on ext3 in a file, and on ext3 over NBD. What they leave behind is judged by
 * e2fsck. `TIDEMARK_RUNS=n` runs the checker of random operations n times as long.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { describeMounting, HostMount, TIDEMARK, tidemark } from './support/mounts.js';
import { RunningProcess, run, succeed, until } from './support/processes.js';
import { freshPath } from './support/sandbox.js';

const RUNS = Number(process.env.TIDEMARK_RUNS ?? 1);
const CHECKER = path.join(path.dirname(fileURLToPath(import.meta.url)), 'support/exercise-file.mjs');
const LONG_MS = 400_000;

function freshDisk(size = '64MiB'): string {
  const file = freshPath('disk.img');
  tidemark('mkfs', 'ext3', file, '--size', size);
  return file;
}

/** The judge: a filesystem that was unmounted has nothing to repair. */
function expectClean(file: string): void {
  const { status, stdout } = spawnSync('e2fsck', ['-fn', file], { encoding: 'utf8' });
  expect(status, stdout).toBe(0);
}

/** A tree with everything in it: directories, links of both kinds, holes, modes, times, attributes. */
function makeTree(root: string): void {
  fs.mkdirSync(path.join(root, 'a/b/c'), { recursive: true });
  for (let i = 0; i < 120; i++) fs.writeFileSync(path.join(root, 'a', `file ${i}`), Buffer.alloc(i * 137, i));
  fs.writeFileSync(path.join(root, 'big'), Buffer.alloc(3_000_001, 'tidemark'));
  fs.linkSync(path.join(root, 'big'), path.join(root, 'a/b/same'));
  fs.symlinkSync('../a/file 7', path.join(root, 'a/link'));
  fs.symlinkSync('nowhere', path.join(root, 'dangling'));
  const holes = fs.openSync(path.join(root, 'holes'), 'w');
  fs.writeSync(holes, 'end', 5_000_000);
  fs.closeSync(holes);
  fs.chmodSync(path.join(root, 'a/file 3'), 0o4751);
  fs.chownSync(path.join(root, 'a/file 4'), 1234, 5678);
  fs.utimesSync(path.join(root, 'a/file 5'), 1e9, 1.1e9);
  spawnSync('mkfifo', [path.join(root, 'fifo')]);
}

describeMounting(['e2fsck'], 'programs on a mounted ext3', () => {
  it.each([
    ['as it is', []],
    ['with the writeback cache', ['-o', 'writeback_cache']],
    ['in little memory', ['--memory', '4MiB']],
  ])('random operations on a file, %s', { timeout: LONG_MS }, async (_how, words) => {
    const disk = freshDisk();
    const mount = await HostMount.open(`ext3:${disk}`, ...words);
    for (let seed = 1; seed <= 2 * RUNS; seed++)
      await succeed(process.execPath, [CHECKER, mount.at('file'), `${seed}`, '600'], { timeoutMs: LONG_MS });
    expect(await mount.unmount()).toBe(0);
    expectClean(disk);
  });

  it('the mount point, times, names of all kinds', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const mount = await HostMount.open(`ext3:${disk}`);
    const odd = ['ä', ' ', '日本', '-rf', 'x'.repeat(255), '\u{1f30a}'];
    for (const name of odd) fs.writeFileSync(mount.at(name), name);
    expect(fs.readdirSync(mount.directory).sort()).toEqual([...odd, 'lost+found'].sort());
    for (const name of odd) expect(fs.readFileSync(mount.at(name), 'utf8')).toBe(name);
    expect(() => fs.writeFileSync(mount.at('x'.repeat(256)), '')).toThrow('ENAMETOOLONG');
    expect(() => fs.rmdirSync(mount.at('lost+found', '..'))).toThrow();
    fs.utimesSync(mount.at('ä'), 1234.5, 5678.25);
    expect(fs.statSync(mount.at('ä'))).toMatchObject({ atimeMs: 1_234_500, mtimeMs: 5_678_250, uid: 0 });
    fs.mkdirSync(mount.at('d'), { mode: 0o2775 });
    fs.chmodSync(mount.at('d'), 0o2775);
    expect(fs.statSync(mount.at('d')).mode & 0o7777).toBe(0o2775);
    const room = fs.statfsSync(mount.directory);
    expect(room.blocks * room.bsize).toBeGreaterThan(50 << 20);
    expect(await mount.unmount()).toBe(0);
    expectClean(disk);
  });

  it('locks bind processes', { timeout: LONG_MS }, async () => {
    const mount = await HostMount.open('memfs:8MiB', '--memory', '32MiB');
    const holder = new RunningProcess('flock', [mount.at('lock'), '-c', 'echo held; sleep 60']);
    await until('the lock to be held', () => holder.stdout.includes('held'));
    expect((await run('flock', ['-n', mount.at('lock'), '-c', 'true'])).code).toBe(1);
    const waiter = new RunningProcess('flock', [mount.at('lock'), '-c', 'echo mine']);
    await holder.kill();
    expect((await waiter.ended).stdout).toBe('mine\n');
    expect(await mount.unmount()).toBe(0);
  });
});

describeMounting(['fio', 'e2fsck'], 'fio', () => {
  it('finds every block as it wrote it', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const mount = await HostMount.open(`ext3:${disk}`);
    const words = ['--name=verify', `--directory=${mount.directory}`, '--rw=randrw', '--bsrange=512-128k', '--size=12m', '--numjobs=2'];
    await succeed('fio', [...words, '--verify=crc32c', '--verify_fatal=1', '--ioengine=psync', '--fsync=64', '--randseed=7'], {
      timeoutMs: LONG_MS,
    });
    expect(await mount.unmount()).toBe(0);
    expectClean(disk);
  });
});

describeMounting(['git', 'e2fsck'], 'git', () => {
  it('clones, checks, commits, and checks again', { timeout: LONG_MS }, async () => {
    const origin = freshPath('origin');
    fs.mkdirSync(origin);
    const git = (at: string, ...words: string[]): Promise<string> =>
      succeed('git', ['-C', at, '-c', 'user.name=t', '-c', 'user.email=t@example.org', ...words], { timeoutMs: LONG_MS });
    await git(origin, 'init', '-q');
    makeTree(origin);
    fs.unlinkSync(path.join(origin, 'fifo'));
    await git(origin, 'add', '-A');
    await git(origin, 'commit', '-qm', 'first');
    const disk = freshDisk('96MiB');
    const mount = await HostMount.open(`ext3:${disk}`);
    await succeed('git', ['clone', '-q', '--no-local', origin, mount.at('clone')], { timeoutMs: LONG_MS });
    await git(mount.at('clone'), 'fsck', '--full', '--strict');
    fs.writeFileSync(mount.at('clone/a/new'), 'new');
    await git(mount.at('clone'), 'add', '-A');
    await git(mount.at('clone'), 'commit', '-qm', 'second');
    await git(mount.at('clone'), 'gc', '-q');
    await git(mount.at('clone'), 'fsck', '--full', '--strict');
    expect(await git(mount.at('clone'), 'status', '--porcelain')).toBe('');
    expect(await mount.unmount()).toBe(0);
    expectClean(disk);
  });
});

describeMounting(['rsync', 'e2fsck'], 'cp and rsync', () => {
  it('ext3 in a file: what was copied is what was there', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const mount = await HostMount.open(`ext3:${disk}`);
    await copyAndCompare(mount);
    expect(await mount.unmount()).toBe(0);
    expectClean(disk);
  });

  it('ext3 over NBD likewise, and the server of the disk goes last', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const server = new RunningProcess(process.execPath, [TIDEMARK, 'serve', 'nbd', disk, '--listen', '127.0.0.1:0']);
    await until('the server to listen', () => server.stdout.includes('listening'), 60_000);
    const uri = server.stdout.trim().replace('listening ', '');
    const mount = await HostMount.open(`ext3:${uri}`);
    await copyAndCompare(mount);
    await succeed(process.execPath, [CHECKER, mount.at('file'), '5', '300'], { timeoutMs: LONG_MS });
    expect(await mount.unmount()).toBe(0);
    expect((await server.stop()).code).toBe(0);
    expectClean(disk);
  });

  async function copyAndCompare(mount: HostMount): Promise<void> {
    const source = freshPath('source');
    fs.mkdirSync(source);
    makeTree(source);
    await succeed('cp', ['-a', `${source}/.`, mount.at('copy')], { timeoutMs: LONG_MS });
    const differences = ['-aHcn', '--itemize-changes', '--delete', `${source}/`, `${mount.at('copy')}/`];
    expect(await succeed('rsync', differences, { timeoutMs: LONG_MS })).toBe('');
    await succeed('rsync', ['-aH', '--inplace', `${source}/`, mount.at('again')], { timeoutMs: LONG_MS });
    expect(await succeed('rsync', [...differences.slice(0, 4), `${mount.at('again')}/`], { timeoutMs: LONG_MS })).toBe('');
  }
});

describeMounting(['sqlite3', 'e2fsck'], 'a server that is killed', () => {
  it('loses nothing that SQLite had committed', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    let committed = 0;
    for (let round = 0; round < 3; round++) {
      const mount = await HostMount.open(`ext3:${disk}`);
      const database = mount.at('data.db');
      const count = Number(
        await succeed('sqlite3', [database, 'create table if not exists t (n integer, filler blob); select count(*) from t;']),
      );
      expect(count, `after ${round} kills`).toBeGreaterThanOrEqual(committed);
      expect((await succeed('sqlite3', [database, 'pragma integrity_check;'])).trim()).toBe('ok');
      const sqlite = new RunningProcess('sqlite3', ['-batch', database], null);
      sqlite.write('.output stdout\npragma synchronous=extra;\n');
      for (let n = 0; n < 4000; n++)
        sqlite.write(`begin; insert into t values (${n}, randomblob(3000)); commit; select 'committed ' || count(*) from t;\n`);
      const last = (): number => Number(/committed (\d+)\n(?!.*committed \d+\n)/s.exec(sqlite.stdout)?.[1] ?? 0);
      await until('some transactions', () => last() > committed + 10, 120_000);
      await mount.kill();
      committed = last();
      await sqlite.kill();
    }
    const { status, stdout } = spawnSync('e2fsck', ['-fy', disk], { encoding: 'utf8' }); // replays the journal first
    expect(status, stdout).toBeLessThanOrEqual(1);
    expectClean(disk);
  });

  it('leaves who was writing an error, and a filesystem that can be mounted again', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const mount = await HostMount.open(`ext3:${disk}`);
    const load = new RunningProcess('sh', [
      '-c',
      `while cp -r /usr/include/linux "${mount.at('copy')}" && rm -r "${mount.at('copy')}"; do echo; done`,
    ]);
    await until('some load', () => fs.existsSync(mount.at('copy')), 60_000);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await mount.kill();
    expect((await load.ended).code).toBe(0); // the loop ended by itself: its commands failed
    const again = await HostMount.open(`ext3:${disk}`);
    await succeed('rm', ['-rf', again.at('copy')]);
    expect(await again.unmount()).toBe(0);
    expectClean(disk);
  });
});

describeMounting(['e2fsck'], 'the end of a mount', () => {
  it('umount of what is in use is refused, and SIGTERM takes it off and gives its users time', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const mount = await HostMount.open(`ext3:${disk}`);
    const user = new RunningProcess('sh', ['-c', `exec 3>"${mount.at('log')}"; echo ready; read line; echo "$line" >&3`], null);
    await until('the file to be open', () => user.stdout.includes('ready'));
    await expect(mount.unmount()).rejects.toThrow('busy');
    process.kill(mount.server.pid, 'SIGTERM');
    await until('the mount to be off', () => !fs.readFileSync('/proc/mounts', 'utf8').includes(mount.directory), 60_000);
    user.write('written to the end\n');
    expect((await user.ended).code).toBe(0);
    const { code, stderr } = await mount.server.ended;
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('in use') });
    const again = await HostMount.open(`ext3:${disk}`);
    expect(fs.readFileSync(again.at('log'), 'utf8')).toBe('written to the end\n');
    expect(await again.unmount()).toBe(0);
    expectClean(disk);
  });

  it('a tree that is read-only stays as it is', { timeout: LONG_MS }, async () => {
    const disk = freshDisk();
    const before = fs.readFileSync(disk);
    const mount = await HostMount.open(`ext3:${disk}`, '-o', 'ro');
    expect(() => fs.writeFileSync(mount.at('x'), '')).toThrow('EROFS');
    expect(fs.readdirSync(mount.directory)).toEqual(['lost+found']);
    process.kill(mount.server.pid, 'SIGINT');
    expect((await mount.server.ended).code).toBe(0);
    expect(fs.readFileSync(disk).equals(before)).toBe(true);
  });

  it('says in one line why it cannot mount', async () => {
    for (const [words, code, text] of [
      [['memfs:1MiB', '/nowhere/at/all'], 2, 'no such directory'],
      [['memfs:1MiB', '/proc/self/exe'], 2, 'no directory'],
      [['ext3:/dev/null', '/mnt'], 2, 'regular file'],
      [['memfs:1MiB', '/mnt', '-o', 'no such option'], 2, 'option'],
    ] as const) {
      const ended = await run(process.execPath, [TIDEMARK, 'mount', ...words]);
      expect({ words, code: ended.code, lines: ended.stderr.trim().split('\n').length }).toEqual({ words, code, lines: 1 });
      expect(ended.stderr).toContain(text);
    }
  });
});
