/** The VFS: what no comparison with a host can show. Concurrency, cookies, handles, memory, mounts, permissions, what cannot wait. */
import { type Caller, type Inode, Kernel, KernelError, run, type Steps, type SuperblockOps } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { lateFileSystem, oddFileSystem, TREE_FANOUT, treeContent, treeFileSystem } from './support/file-systems.js';

const kernels: Kernel[] = [];

async function boot(options: Partial<Parameters<typeof Kernel.boot>[0]> = {}): Promise<Kernel> {
  const kernel = await Kernel.boot({ memory: '16MiB', ...options, plugins: [host, memfs, ...(options.plugins ?? [])] });
  kernels.push(kernel);
  return kernel;
}

async function bootWith(source = 'memfs:8MiB'): Promise<{ kernel: Kernel; fs: NodeFs; who: Caller }> {
  const kernel = await boot();
  await kernel.mount(source, '/');
  return { kernel, fs: kernel.fs, who: kernel.vfs.caller() };
}

/** Runs steps that must give an inode or the like. */
async function done<T>(steps: Steps<T | number>): Promise<T> {
  const result = await run(steps);
  if (typeof result === 'number') throw new Error(`errno ${result}`);
  return result;
}

afterEach(async () => {
  for (const kernel of kernels.splice(0)) {
    const { leakedFrames, leakedTimers, problems } = await kernel.shutdown();
    expect({ leakedFrames, leakedTimers, problems }).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
  }
});

describe('directories', () => {
  test('no entry is lost, whatever is made, moved and removed at once, and no two operations meet in one directory', async () => {
    const { plugin, seen } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await kernel.mount('late:8MiB', '/');
    const { promises } = kernel.fs;
    await Promise.all(['/a', '/b', '/c'].map((dir) => promises.mkdir(dir)));
    const names = Array.from({ length: 120 }, (_, i) => `file-${i}`);
    const listings: Promise<unknown>[] = [];
    await Promise.all(
      names.map(async (name, i) => {
        const dir = '/abc'[1 + (i % 3)];
        await promises.writeFile(`/${dir}/${name}`, name);
        if (i % 10 === 0) listings.push(promises.readdir('/a'), promises.stat(`/${dir}/${name}`));
        if (i % 4 === 1) await promises.rename(`/${dir}/${name}`, `/a/${name}-moved`);
        if (i % 4 === 2) await promises.link(`/${dir}/${name}`, `/b/${name}-linked`);
        if (i % 4 === 3) await promises.unlink(`/${dir}/${name}`);
      }),
    );
    await Promise.all(listings);
    const expected = { a: [] as string[], b: [] as string[], c: [] as string[] };
    for (const [i, name] of names.entries()) {
      const dir = 'abc'[i % 3] as 'a' | 'b' | 'c';
      if (i % 4 === 1) expected.a.push(`${name}-moved`);
      if (i % 4 === 2) expected.b.push(`${name}-linked`);
      if (i % 4 === 0 || i % 4 === 2) expected[dir].push(name);
    }
    for (const dir of ['a', 'b', 'c'] as const) expect(await promises.readdir(`/${dir}`)).toEqual(expected[dir].sort());
    expect(seen.overlaps).toEqual([]);
    expect(seen.calls.get('create')).toBe(123);
  });

  test('renames in opposite directions, up, down and in circles neither deadlock nor cut the tree', async () => {
    const { plugin, seen } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await kernel.mount('late:8MiB', '/');
    const { promises } = kernel.fs;
    await promises.mkdir('/x/1/2/3', { recursive: true });
    await promises.mkdir('/y/1/2/3', { recursive: true });
    const moves: [string, string][] = [];
    for (const a of ['/x', '/x/1', '/x/1/2', '/y', '/y/1', '/y/1/2'])
      for (const b of ['/x/m', '/x/1/m', '/y/m', '/y/1/2/m', '/m', '/x/1', '/y/1/2/3']) moves.push([a, b], [b, a]);
    const ends = await Promise.all(
      moves.map(([from, to]) =>
        promises.rename(from, to).then(
          () => 'moved',
          (error: KernelError) => error.code,
        ),
      ),
    );
    expect(new Set(ends)).not.toContain('EUCLEAN');
    expect(ends).toContain('moved');
    const everything = await promises.readdir('/', { recursive: true });
    expect(everything.length).toBeGreaterThan(0); // whatever is there can be reached…
    for (const path of everything) expect((await promises.stat(`/${path}`)).isDirectory()).toBe(true);
    await promises.rm('/x', { recursive: true, force: true });
    expect(seen.overlaps).toEqual([]);
  });

  test('a directory is locked after the one above it', { timeout: 10_000 }, async () => {
    const { plugin } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await kernel.mount('late:8MiB', '/');
    const { promises } = kernel.fs;
    for (let i = 0; i < 5; i++) {
      await promises.mkdir('/a/b', { recursive: true });
      await promises.writeFile('/a/b/z', '');
      await promises.stat('/a/b/z');
      // Both wait for /a, which is being written to; the one that gets it wants /a/b next.
      const ends = await Promise.all([
        promises.writeFile('/a/new', ''),
        promises.rmdir('/a/b').catch((error: KernelError) => error.code),
        promises.rename('/a/b/z', '/a/w'),
      ]);
      expect(ends[1]).toBe('ENOTEMPTY');
      await promises.rm('/a', { recursive: true });
    }
  });

  test('a reader of a directory meets what stays exactly once, whatever comes and goes', async () => {
    const { kernel, fs, who } = await bootWith();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(39), fc.boolean()), { maxLength: 60 }),
        fc.integer({ min: 1, max: 7 }),
        async (changes, size) => {
          fs.mkdirSync('/d');
          for (let i = 0; i < 40; i++) fs.writeFileSync(`/d/${i}`, '');
          const touched = new Set(changes.map(([i]) => String(i)));
          const dir = await done<Inode>(kernel.vfs.resolve(who, '/d'));
          const met: string[] = [];
          for (let cookie = 0, at = 0; ; ) {
            const batch = await done(kernel.vfs.readDirectory(who, dir, cookie, size));
            met.push(...batch.map(({ name }) => name));
            if (batch.length < size) break;
            cookie = batch[batch.length - 1].cookie;
            for (const [i, makes] of changes.slice(at, at + 4)) {
              fs.rmSync(`/d/${i}`, { force: true });
              if (makes) fs.writeFileSync(`/d/${i}`, '');
            }
            at += 4;
          }
          dir.superblock.put(dir);
          for (let i = 0; i < 40; i++) if (!touched.has(String(i))) expect(met.filter((name) => name === String(i))).toEqual([String(i)]);
          fs.rmSync('/d', { recursive: true });
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a name that does not exist is looked up once', async () => {
    const { plugin, seen } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await kernel.mount('late:8MiB', '/');
    const { promises } = kernel.fs;
    for (let i = 0; i < 5; i++) await expect(promises.stat('/nothing')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(seen.calls.get('lookup')).toBe(1);
    expect(kernel.vfs.names.nrNegative).toBe(1);
    await promises.writeFile('/nothing', 'something');
    expect(await promises.readFile('/nothing', 'utf8')).toBe('something');
    expect(seen.calls.get('lookup')).toBe(1);
  });
});

describe('files', () => {
  test('an unlinked file lives as long as somebody has it open, and its room comes back then', async () => {
    const { fs } = await bootWith();
    const before = fs.statfsSync('/').bfree;
    const fd = fs.openSync('/f', 'w+');
    fs.writeSync(fd, Buffer.alloc(100_000, 7));
    fs.unlinkSync('/f');
    expect(fs.existsSync('/f')).toBe(false);
    expect(fs.fstatSync(fd)).toMatchObject({ nlink: 0, size: 100_000 });
    expect(fs.readSync(fd, Buffer.alloc(10), 0, 10, 99_995)).toBe(5);
    expect(fs.statfsSync('/').bfree).toBe(before - 25);
    fs.writeFileSync('/f', 'another');
    expect(fs.fstatSync(fd).size).toBe(100_000);
    fs.closeSync(fd);
    fs.unlinkSync('/f');
    expect(fs.statfsSync('/').bfree).toBe(before);
  });

  test('a full filesystem says so, keeps what it has, and goes on when there is room', async () => {
    const { fs } = await bootWith('memfs:64KiB');
    expect(() => fs.writeFileSync('/f', Buffer.alloc(100_000))).toThrow('ENOSPC: no space left on device, write');
    expect(fs.statSync('/f').size).toBe(65_536);
    fs.truncateSync('/f', 10);
    expect(fs.statfsSync('/').bfree).toBe(15);
    fs.writeFileSync('/g', Buffer.alloc(61_440, 1));
    expect(fs.readFileSync('/g').every((byte) => byte === 1)).toBe(true);
  });

  test('holes take no room, read as zeroes, and can be found and made', async () => {
    const { kernel, fs, who } = await bootWith();
    fs.writeFileSync('/f', 'begin');
    fs.truncateSync('/f', 2 ** 41);
    const file = await done(kernel.vfs.open(who, '/f', 2, 0));
    const { data } = kernel.vfs;
    await run(data.write(who, file, Buffer.alloc(8192, 1), 2 ** 40));
    expect(fs.statSync('/f').blocks).toBe(24);
    expect(await run(data.seek(who, file, 0, true))).toBe(0);
    expect(await run(data.seek(who, file, 0, false))).toBe(4096);
    expect(await run(data.seek(who, file, 4096, true))).toBe(2 ** 40);
    expect(await run(data.seek(who, file, 2 ** 40 + 100, true))).toBe(2 ** 40 + 100);
    expect(await run(data.seek(who, file, 2 ** 40 + 8192, true))).toBe(-6);
    expect(await run(data.allocate(who, file, 3, 2 ** 40, 4096))).toBe(0);
    expect(await run(data.seek(who, file, 4096, true))).toBe(2 ** 40 + 4096);
    expect(fs.statSync('/f').blocks).toBe(16);
    const bytes = Buffer.alloc(10, 9);
    await run(data.write(who, file, Buffer.alloc(3, 5), 2 ** 40 - 3));
    expect(await data.read(who, file, bytes, 2 ** 40 - 5)).toBe(10);
    expect([...bytes]).toEqual([0, 0, 5, 5, 5, 0, 0, 0, 0, 0]);
    expect(await run(data.write(who, file, bytes, 2 ** 44))).toBe(-27);
    file.release();
  });

  test('advisory locks: many readers or one writer of a range, given back with the file', async () => {
    const { kernel, who } = await bootWith();
    const files = await Promise.all([1, 2].map(() => done(kernel.vfs.open(who, '/f', 0o102, 0o600))));
    const lock = (i: number, from: number, to: number, exclusive: boolean, waits = false): unknown =>
      kernel.vfs.lock(who, files[i], { from, to }, exclusive, waits);
    expect(lock(0, 0, 10, false)).toBe(0);
    expect(lock(1, 5, 15, false)).toBe(0);
    expect(lock(1, 8, 9, true)).toBe(-11);
    expect(lock(1, 12, 15, true)).toBe(0);
    expect(lock(0, 10, 12, true)).toBe(-11);
    const waiting = lock(1, 0, 20, true, true);
    files[0].release();
    expect(await waiting).toBe(0);
    files[1].release();
  });
});

describe('handles', () => {
  test('find a file with nothing cached, and only that file', async () => {
    const kernel = await boot({ memory: '4MiB', plugins: [treeFileSystem] });
    await kernel.mount('tree:', '/');
    const { vfs } = kernel;
    const who = vfs.caller();
    const inode = await done<Inode>(vfs.resolve(who, '/d12/d34/f5'.replace('f5', 'f05')));
    const { handle } = inode;
    inode.superblock.put(inode);
    for (let n = 0; n < 2000; n++) vfs.names.scan(64);
    vfs.inodes.scan(1000);
    const { superblock } = await done<Inode>(vfs.resolve(who, '/'));
    expect(superblock.inodes.has(handle.ino)).toBe(false);
    const found = await done(vfs.byHandle(who.task, handle));
    expect(found.handle).toEqual(handle);
    expect(await run(vfs.byHandle(who.task, { ...handle, generation: handle.generation + 1 }))).toBe(-116);
    expect(await run(vfs.byHandle(who.task, { ...handle, fsid: 999 }))).toBe(-116);
    expect(await run(vfs.byHandle(who.task, { ...handle, ino: 2 ** 40 }))).toBe(-116);
    expect(await run(vfs.byHandle(who.task, { ...handle, ino: -1.5 }))).toBe(-116);
    superblock.put(found);
    superblock.put(superblock.root as Inode);
  });

  test('a directory found by handle knows what is above it', async () => {
    const kernel = await boot({ memory: '4MiB', plugins: [treeFileSystem] });
    await kernel.mount('tree:', '/');
    const { vfs } = kernel;
    const who = vfs.caller();
    const root = await done<Inode>(vfs.resolve(who, '/'));
    const dir = await done(vfs.byHandle(who.task, { fsid: root.superblock.fsid, ino: 102 + 1234, generation: (102 + 1234) * 7 }));
    const above = await done<Inode>(vfs.walk.lookup(who.task, dir, '..'));
    expect(above.ino).toBe(2 + 12);
    for (const inode of [root, dir, above]) inode.superblock.put(inode);
  });
});

describe('memory', () => {
  test('a tree of 100,000 files is walked and read in 4 MiB', { timeout: 120_000 }, async () => {
    const kernel = await boot({ memory: '4MiB', plugins: [treeFileSystem] });
    await kernel.mount('tree:', '/');
    const { promises } = kernel.fs;
    let nrFiles = 0;
    const wrong: string[] = [];
    for await (const first of await promises.opendir('/')) {
      for await (const second of await promises.opendir(`/${first.name}`)) {
        const dir = `/${first.name}/${second.name}`;
        for (const name of await promises.readdir(dir)) {
          const stats = await promises.stat(`${dir}/${name}`);
          nrFiles++;
          if (nrFiles % 7 > 0) continue; // all of them are read by the benchmark
          if ((await promises.readFile(`${dir}/${name}`, 'utf8')) !== treeContent(stats.ino)) wrong.push(`${dir}/${name}`);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(nrFiles).toBe(TREE_FANOUT ** 2 * 10);
    expect(kernel.memory.peakFramesUsed).toBeLessThanOrEqual(1024);
    expect(kernel.vmstat().oom).toBe(0);
    expect(kernel.vfs.names.nrFrames + kernel.vfs.inodes.nrFrames).toBeLessThan(1024);
  });
});

describe('what goes wrong below', () => {
  test('a plugin that throws is EIO, and leaves no lock held', async () => {
    let isBroken = true;
    const broken = (): number => {
      if (isBroken) throw new Error('a bug');
      return -28;
    };
    const kernel = await boot({ plugins: [oddFileSystem({ create: broken, remove: async () => broken() })] });
    await kernel.mount('odd:', '/');
    const { promises } = kernel.fs;
    await expect(promises.mkdir('/d')).rejects.toMatchObject({ code: 'EIO' });
    await expect(promises.unlink('/d')).rejects.toMatchObject({ code: 'ENOENT' });
    isBroken = false;
    await expect(promises.mkdir('/d')).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await promises.readdir('/')).toEqual([]);
  });

  test('a deletion that fails is told by the next sync', async () => {
    const kernel = await boot({ plugins: [oddFileSystem({ deleteInode: () => -5 })] });
    await kernel.mount('odd:', '/');
    kernel.fs.mkdirSync('/d');
    kernel.fs.rmdirSync('/d');
    await expect(kernel.unmount('/')).rejects.toMatchObject({ code: 'EIO' });
    await kernel.unmount('/');
  });

  test('what could not be written back is told once to each opener, by fsync or close', async () => {
    let status = 0;
    const pages = (inode: Inode): ReturnType<SuperblockOps['addressSpace']> => ({
      get sizeBytes() {
        return inode.sizeBytes;
      },
      setSize: (sizeBytes) => {
        inode.sizeBytes = sizeBytes;
      },
      writepages: async () => status,
    });
    const kernel = await boot({ plugins: [oddFileSystem({ addressSpace: pages })] });
    await kernel.mount('odd:', '/');
    const { promises } = kernel.fs;
    const [a, b] = [await promises.open('/f', 'w'), await promises.open('/f', 'r+')];
    await a.write('text');
    await b.write('TEXT');
    status = -5;
    await expect(a.sync()).rejects.toMatchObject({ code: 'EIO', syscall: 'fsync' });
    status = 0;
    await a.sync();
    await expect(b.close()).rejects.toMatchObject({ code: 'EIO', syscall: 'close' });
    await a.close();
  });

  test('files that only memory holds fill it, and then there is an error, not a standstill', async () => {
    const kernel = await boot({ memory: '2MiB' });
    await kernel.mount('memfs:64MiB', '/');
    const { promises } = kernel.fs;
    const codes = new Set<string>();
    let nrWritten = 0;
    for (let i = 0; i < 2000; i++)
      await promises.writeFile(`/f${i}`, Buffer.alloc(9000, i)).then(
        () => nrWritten++,
        (error: KernelError) => codes.add(error.code),
      );
    expect(nrWritten).toBeGreaterThan(20);
    expect([...codes].filter((code) => !['ENOMEM', 'ENOSPC'].includes(code))).toEqual([]);
    expect(codes.size).toBeGreaterThan(0);
    expect((await promises.readFile('/f3')).equals(Buffer.alloc(9000, 3))).toBe(true);
    for (const name of await promises.readdir('/')) await promises.unlink(`/${name}`);
    await promises.writeFile('/again', Buffer.alloc(100_000, 1));
    expect((await promises.stat('/again')).size).toBe(100_000);
  });
});

describe('mounts', () => {
  test('on top of each other, inside each other, and off again', async () => {
    const kernel = await boot();
    const { fs } = kernel;
    await kernel.mount('memfs:1MiB', '/data');
    fs.writeFileSync('/data/below', '');
    await kernel.mount('memfs:1MiB', '/data');
    expect(fs.readdirSync('/data')).toEqual([]);
    fs.mkdirSync('/data/sub');
    await kernel.mount('memfs:1MiB', '/data/sub');
    expect(fs.realpathSync('/data/sub/../sub')).toBe('/data/sub');
    expect(() => fs.renameSync('/data/sub', '/data/other')).toThrow('EBUSY');
    expect(() => fs.rmdirSync('/data/sub')).toThrow('EBUSY');
    expect(() => fs.linkSync('/data/sub', '/x')).toThrow();
    fs.writeFileSync('/data/sub/f', 'x');
    expect(() => fs.renameSync('/data/sub/f', '/data/f')).toThrow(
      "EXDEV: cross-device link not permitted, rename '/data/sub/f' -> '/data/f'",
    );
    await expect(kernel.unmount('/data')).rejects.toMatchObject({ code: 'EBUSY' });
    await kernel.unmount('/data/sub');
    await expect(kernel.unmount('/data/sub')).rejects.toMatchObject({ code: 'EINVAL' });
    await kernel.unmount('/data');
    expect(fs.readdirSync('/data')).toEqual(['below']);
    await kernel.unmount('/data');
    await expect(kernel.unmount('/data')).rejects.toMatchObject({ code: 'EINVAL' });
    expect(() => fs.writeFileSync('/f', '')).toThrow('EPERM');
  });

  test('an open file keeps it mounted; by force it is taken away, and the file fails with EIO', async () => {
    const { kernel, fs } = await bootWith();
    const fd = fs.openSync('/f', 'w+');
    fs.writeSync(fd, 'text');
    await expect(kernel.unmount('/')).rejects.toMatchObject({ code: 'EBUSY' });
    expect(fs.readFileSync('/f', 'utf8')).toBe('text');
    await kernel.unmount('/', { force: true });
    expect(() => fs.statSync('/f')).toThrow('ENOENT');
    expect(() => fs.readSync(fd, Buffer.alloc(4), 0, 4, 0)).toThrow('EIO');
    expect(() => fs.writeSync(fd, 'more')).toThrow('EIO');
    fs.closeSync(fd);
    await kernel.mount('memfs:1MiB', '/');
    expect(fs.readdirSync('/')).toEqual([]);
  });

  test('by force while calls are under way: each ends, with EIO or as if it had been before, and nothing is left', async () => {
    const { plugin } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await kernel.mount('late:8MiB', '/m');
    const { promises } = kernel.fs;
    await promises.mkdir('/m/d');
    await promises.writeFile('/m/f', 'x');
    const handle = await promises.open('/m/f', 'r+');
    const file = await done(kernel.vfs.open(kernel.vfs.caller(), '/m/f', 2, 0));
    const { vfs } = kernel;
    expect(vfs.lock(vfs.caller(), file, { from: 0, to: 1 }, true, false)).toBe(0);
    const codeOf = (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'done',
        (error: KernelError) => error.code,
      );
    const begun = [
      ...Array.from({ length: 10 }, (_, i) => codeOf(promises.writeFile(`/m/d/${i}`, 'text'))),
      codeOf(promises.readdir('/m/d')),
      codeOf(promises.rename('/m/f', '/m/d/g')),
      codeOf(promises.stat('/m/unknown')),
      codeOf(handle.write('more')),
      codeOf(handle.truncate(0)),
    ];
    await expect(kernel.unmount('/m')).rejects.toMatchObject({ code: 'EBUSY' });
    const off = kernel.unmount('/m', { force: true });
    const ends = await Promise.all(begun);
    await off;
    expect([...new Set(ends)].filter((code) => !['done', 'EIO', 'ENOENT', 'EBADF'].includes(code))).toEqual([]);
    await expect(handle.write('more')).rejects.toMatchObject({ code: 'EIO' });
    await expect(handle.sync()).rejects.toMatchObject({ code: 'EIO' });
    await handle.close();
    file.release();
    expect(await promises.readdir('/m')).toEqual([]);
    await expect(kernel.unmount('/m')).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('several at once, on and off, end as one after the other would', async () => {
    const { plugin } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await Promise.all([1, 2, 3].map(() => kernel.mount('late:1MiB', '/x')));
    expect(kernel.vfs.mounts.list()).toHaveLength(3);
    const names = await Promise.all(
      [1, 2, 3, 4].map(() =>
        kernel.unmount('/x').then(
          () => 'off',
          (error: KernelError) => error.code,
        ),
      ),
    );
    expect(names.filter((name) => name === 'off').length + kernel.vfs.mounts.list().length).toBe(3);
    expect(names.every((name) => name === 'off' || name === 'EBUSY' || name === 'EINVAL')).toBe(true);
    while (kernel.vfs.mounts.list().length > 0) await kernel.unmount('/x');
    expect(await kernel.fs.promises.readdir('/')).toEqual(['x']);
  });

  test('what cannot be mounted leaves nothing behind', async () => {
    const kernel = await boot();
    await expect(kernel.mount('nofs:x', '/')).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(kernel.mount('memfs:', '/')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(kernel.mount('memfs:1MiB', '/a\0b')).rejects.toMatchObject({ code: 'EINVAL' });
    await kernel.mount('memfs:1MiB', '/');
    await expect(kernel.mount('memfs:1MiB', '/missing')).rejects.toMatchObject({ code: 'ENOENT' });
    kernel.fs.writeFileSync('/file', '');
    await expect(kernel.mount('memfs:1MiB', '/file')).rejects.toMatchObject({ code: 'ENOTDIR' });
    expect(kernel.vfs.mounts.list()).toHaveLength(1);
  });

  test('read-only is EROFS', async () => {
    const kernel = await boot();
    await kernel.mount('memfs:1MiB', '/', { readOnly: true });
    for (const call of [() => kernel.fs.mkdirSync('/d'), () => kernel.fs.writeFileSync('/f', ''), () => kernel.fs.chmodSync('/', 0o700)])
      expect(call).toThrow('EROFS');
  });
});

describe('permissions', () => {
  const OWNER = { uid: 1000, gid: 1000 };
  const GROUP = { uid: 1001, gid: 2000, groups: [1000] };
  const OTHER = { uid: 1002, gid: 1002 };

  test('the first class that fits counts', async () => {
    const { fs } = await bootWith();
    fs.mkdirSync('/d', { mode: 0o777 });
    fs.chmodSync('/d', 0o777);
    fs.writeFileSync('/d/f', 'x');
    fs.chownSync('/d/f', OWNER.uid, OWNER.gid);
    const classes = [
      { as: fs.as(OWNER), shift: 6 },
      { as: fs.as(GROUP), shift: 3 },
      { as: fs.as(OTHER), shift: 0 },
    ];
    const allowed: string[] = [];
    const expected: string[] = [];
    for (let bits = 0; bits < 512; bits++) {
      fs.chmodSync('/d/f', bits);
      for (const { as, shift } of classes) {
        for (const wanted of [1, 2, 4]) {
          const asked = `${bits.toString(8)} ${shift} ${wanted}`;
          if (((bits >> shift) & wanted) !== 0) expected.push(asked);
          try {
            as.accessSync('/d/f', wanted);
            allowed.push(asked);
          } catch (error) {
            if ((error as KernelError).code !== 'EACCES') throw error;
          }
        }
      }
    }
    expect(allowed).toEqual(expected);
  });

  test('directories, sticky ones, owners and set-id bits', async () => {
    const { fs } = await bootWith();
    const [owner, group, other] = [fs.as(OWNER), fs.as(GROUP), fs.as(OTHER)];
    fs.mkdirSync('/tmp');
    fs.chmodSync('/tmp', 0o1777);
    owner.writeFileSync('/tmp/mine', 'x');
    expect(() => other.unlinkSync('/tmp/mine')).toThrow('EPERM');
    expect(() => other.renameSync('/tmp/mine', '/tmp/yours')).toThrow('EPERM');
    expect(() => other.chmodSync('/tmp/mine', 0o777)).toThrow('EPERM');
    expect(() => owner.chownSync('/tmp/mine', OTHER.uid, -1)).toThrow('EPERM');
    group.writeFileSync('/tmp/shared', '');
    group.chownSync('/tmp/shared', -1, 1000);
    expect(() => group.chownSync('/tmp/shared', -1, 3000)).toThrow('EPERM');
    fs.mkdirSync('/closed', { mode: 0o700 });
    fs.writeFileSync('/closed/f', '');
    expect(() => owner.statSync('/closed/f')).toThrow('EACCES');
    expect(() => owner.writeFileSync('/new', '')).toThrow('EACCES');
    expect(() => owner.readdirSync('/closed')).toThrow('EACCES');
    fs.mkdirSync('/team');
    fs.chownSync('/team', -1, 1000);
    fs.chmodSync('/team', 0o2777);
    other.mkdirSync('/team/dir');
    expect(fs.statSync('/team/dir')).toMatchObject({ gid: 1000, uid: OTHER.uid });
    expect(fs.statSync('/team/dir').mode & 0o2000).toBe(0o2000);
    fs.writeFileSync('/tmp/program', '');
    fs.chownSync('/tmp/program', OWNER.uid, OWNER.gid);
    fs.chmodSync('/tmp/program', 0o6777);
    other.appendFileSync('/tmp/program', 'changed');
    expect(fs.statSync('/tmp/program').mode & 0o7777).toBe(0o777);
    expect(() => other.utimesSync('/tmp/mine', 1, 1)).toThrow('EPERM');
  });

  test('extended attributes', async () => {
    const { kernel, fs, who } = await bootWith();
    fs.writeFileSync('/f', '');
    const inode = await done<Inode>(kernel.vfs.resolve(who, '/f'));
    const { attributes } = kernel.vfs;
    const value = Uint8Array.of(1, 2, 3);
    expect(await run(attributes.setXattr(who, inode, 'user.a', value, 'create'))).toBe(0);
    expect(await run(attributes.setXattr(who, inode, 'user.a', value, 'create'))).toBe(-17);
    expect(await run(attributes.setXattr(who, inode, 'user.b', value, 'replace'))).toBe(-61);
    expect(await run(attributes.setXattr(who, inode, 'trusted.t', value, 'either'))).toBe(0);
    expect(await run(attributes.getXattr(who, inode, 'user.a'))).toEqual(value);
    expect(await run(attributes.listXattrs(who, inode))).toEqual(['user.a', 'trusted.t']);
    const other = kernel.vfs.caller({ credentials: { ...OTHER, groups: [] } });
    expect(await run(attributes.listXattrs(other, inode))).toEqual(['user.a']);
    expect(await run(attributes.setXattr(other, inode, 'user.a', value, 'either'))).toBe(-13);
    expect(await run(attributes.getXattr(other, inode, 'trusted.t'))).toBe(-61);
    expect(await run(attributes.setXattr(who, inode, 'nonsense', value, 'either'))).toBe(-95);
    expect(await run(attributes.setXattr(who, inode, 'user.big', new Uint8Array(65_536), 'either'))).toBe(-28);
    expect(await run(attributes.removeXattr(who, inode, 'user.a'))).toBe(0);
    expect(await run(attributes.getXattr(who, inode, 'user.a'))).toBe(-61);
    inode.superblock.put(inode);
  });
});

describe('what may not wait', () => {
  test('synchronous calls answer from the caches and otherwise fail with EAGAIN, before anything is changed', async () => {
    const { plugin, seen } = lateFileSystem();
    const kernel = await boot({ plugins: [plugin] });
    await kernel.mount('late:8MiB', '/');
    const { fs } = kernel;
    await fs.promises.writeFile('/f', 'content');
    expect(fs.readFileSync('/f', 'utf8')).toBe('content');
    expect(fs.statSync('/f').size).toBe(7);
    for (const call of [
      () => fs.writeFileSync('/f', 'x'),
      () => fs.mkdirSync('/d'),
      () => fs.unlinkSync('/f'),
      () => fs.renameSync('/f', '/g'),
      () => fs.chmodSync('/f', 0),
    ])
      expect(call).toThrow('EAGAIN');
    expect(() => fs.statSync('/unknown')).toThrow('EAGAIN');
    await expect(fs.promises.stat('/unknown')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(() => fs.statSync('/unknown')).toThrow('ENOENT');
    expect(await fs.promises.readdir('/')).toEqual(['f']);
    expect(await fs.promises.readFile('/f', 'utf8')).toBe('content');
    expect(seen.calls.get('remove')).toBeUndefined();
  });
});
