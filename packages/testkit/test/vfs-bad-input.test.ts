/**
 * Bad input and missing rights, on memfs and on the host: the same calls fail with the same errors, in the same order. What needs a mount
 * or other users on the host runs there in a process of its own, in a mount namespace that goes with it; where that may not be made, it is
 * skipped by name.
 */
import { spawnSync } from 'node:child_process';
import * as hostFs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const SHM = '/dev/shm';
let kernel: Kernel;
let fs: NodeFs;
let folder = '';

beforeEach(async () => {
  kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, memfs] });
  await kernel.mount('memfs:4MiB', '/');
  fs = kernel.fs;
  folder = hostFs.mkdtempSync(path.join(hostFs.existsSync(SHM) ? SHM : tmpdir(), 'tidemark-bad-'));
});

afterEach(async () => {
  hostFs.rmSync(folder, { recursive: true });
  const { leakedFrames, leakedTimers, problems } = await kernel.shutdown();
  expect({ leakedFrames, leakedTimers, problems }).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});

type Told = unknown;

/** What a call gives: its value, or what its error says, without the place. */
function told(call: () => unknown, at: string): Told {
  try {
    const value = call();
    return typeof value === 'string' ? value.replaceAll(at, '') : value;
  } catch (error) {
    const { name, code, message, syscall } = error as NodeJS.ErrnoException;
    return [name, code, syscall, message.replaceAll(at, '').replace(/'[^']{1000,}'/g, "'…'")];
  }
}

/** Makes the calls on both. */
function expectSame(calls: (fs: NodeFs, at: string) => (() => unknown)[]): Told[] {
  fs.mkdirSync('/t');
  const expected = calls(hostFs as unknown as NodeFs, folder).map((call) => told(call, folder));
  const actual = calls(fs, '/t').map((call) => told(call, '/t'));
  expect(actual).toEqual(expected);
  return actual;
}

describe('names and paths', () => {
  test('of every length, in bytes', () => {
    const answers = expectSame((fs, at) =>
      [255, 256, 4000].flatMap((bytes) =>
        ['n', 'é', '漢', '🌊'].flatMap((unit) => {
          const name = unit.repeat(Math.floor(bytes / Buffer.byteLength(unit))).padEnd(unit === 'n' ? bytes : 0, 'n');
          return [
            () => fs.writeFileSync(`${at}/${name}`, 'x'),
            () => fs.readFileSync(`${at}/${name}`, 'utf8'),
            () => fs.mkdirSync(`${at}/${name}`),
            () => fs.renameSync(`${at}/${name}`, `${at}/${name}x`),
            () => fs.symlinkSync(name, `${at}/${name}/below`),
            () => fs.rmSync(`${at}/${name}`),
          ];
        }),
      ),
    );
    expect(new Set(answers.map((answer) => (Array.isArray(answer) ? answer[1] : 'done')))).toEqual(
      new Set(['done', 'EEXIST', 'ENAMETOOLONG', 'ENOTDIR', 'ENOENT']),
    );
  });

  test('paths up to 4,095 bytes, whatever they are made of', () => {
    expectSame((fs, at) => {
      fs.writeFileSync(`${at}/f`, 'x');
      const long = (bytes: number, unit: string): string => {
        const room = bytes - Buffer.byteLength(`${at}/f`);
        return `${at}${unit.repeat(Math.floor(room / unit.length))}${'/'.repeat(room % unit.length)}/f`;
      };
      return [4094, 4095, 4096, 5000, 100_000].flatMap((bytes) =>
        ['/', '/.'].flatMap((unit) => [() => fs.statSync(long(bytes, unit)).size, () => fs.openSync(long(bytes, unit), 'wx')]),
      );
    });
  });

  test('symbolic links: 40 in a row, circles, and as long as a path', () => {
    const answers = expectSame((fs, at) => {
      fs.writeFileSync(`${at}/l0`, 'end');
      for (let i = 1; i <= 42; i++) fs.symlinkSync(`l${i - 1}`, `${at}/l${i}`);
      fs.symlinkSync('self', `${at}/self`);
      fs.symlinkSync('pong', `${at}/ping`);
      fs.symlinkSync('ping', `${at}/pong`);
      fs.mkdirSync(`${at}/d`);
      fs.symlinkSync('d', `${at}/into`);
      const calls: (() => unknown)[] = [];
      for (const name of ['l39', 'l40', 'l41', 'l42', 'self', 'ping', 'self/x', `${'into/../'.repeat(39)}l1`, `${'into/../'.repeat(40)}l1`])
        calls.push(
          () => fs.readFileSync(`${at}/${name}`, 'utf8'),
          () => fs.realpathSync.native(`${at}/${name}`),
          () => fs.lstatSync(`${at}/${name}`).isSymbolicLink(),
          () => fs.writeFileSync(`${at}/${name}`, 'end'),
          () => fs.accessSync(`${at}/${name}`),
          () => fs.existsSync(`${at}/${name}`),
        );
      for (const length of [4094, 4095, 4096, 10_000]) calls.push(() => fs.symlinkSync('x'.repeat(length), `${at}/long${length}`));
      return [...calls, () => fs.readlinkSync(`${at}/long4095`), () => fs.symlinkSync('', `${at}/empty`)];
    });
    expect(answers.filter((answer) => Array.isArray(answer) && answer[1] === 'ELOOP').length).toBeGreaterThan(10);
  });

  test('.. does not lead out, by whatever way', () => {
    expect(fs.realpathSync('/../../..')).toBe(hostFs.realpathSync('/../../..'));
    fs.mkdirSync('/a/b', { recursive: true });
    fs.symlinkSync('../../../../../etc/passwd', '/a/b/out');
    fs.symlinkSync('/..', '/a/up');
    expect(() => fs.readFileSync('/a/b/out')).toThrow("ENOENT: no such file or directory, open '/a/b/out'");
    fs.writeFileSync('/../../f', 'inside');
    expect(fs.readFileSync('/a/up/../../f', 'utf8')).toBe('inside');
    expect(fs.readdirSync('/')).toEqual(['a', 'f']);
    expectSame((fs, at) => [
      () => fs.mkdirSync(`${at}/..`),
      () => fs.mkdirSync(`${at}/.`),
      () => fs.rmdirSync(`${at}/.`),
      () => fs.rmdirSync(`${at}/none/..`),
      () => fs.unlinkSync(`${at}/..`),
      () => fs.renameSync(`${at}/.`, `${at}/x`),
      () => fs.writeFileSync(`${at}/.`, ''),
      () => fs.symlinkSync('x', `${at}/..`),
      () => fs.statSync(''),
      () => fs.mkdirSync(''),
    ]);
  });

  test('names that are no UTF-8 are names', () => {
    const names = [[0xff], [0xc3], [0x80, 0x2e], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0x61, 0xc0, 0xaf]].map((bytes) =>
      Buffer.from(bytes),
    );
    expectSame((fs, at) => {
      const place = (name: Buffer): Buffer => Buffer.concat([Buffer.from(`${at}/`), name]);
      const calls: (() => unknown)[] = names.flatMap((name) => [
        () => fs.writeFileSync(place(name), name),
        () => fs.readFileSync(place(name), 'hex'),
        () => fs.symlinkSync(name, place(Buffer.concat([name, Buffer.from('-link')]))),
        () => fs.readlinkSync(place(Buffer.concat([name, Buffer.from('-link')])), { encoding: 'buffer' }).toString('hex'),
      ]);
      const list = (): string[] =>
        fs
          .readdirSync(at, { encoding: 'buffer' })
          .map((name) => name.toString('hex'))
          .sort();
      return [...calls, list, ...names.map((name) => () => fs.unlinkSync(place(name))), list];
    });
  });
});

test('offsets and sizes: negative, in fractions, huge', () => {
  const NUMBERS: unknown[] = [
    -1,
    -2,
    0.5,
    1e10 + 0.5,
    Number.NaN,
    Infinity,
    2 ** 53,
    -(2 ** 53),
    '1',
    null,
    undefined,
    {},
    -1n,
    -2n,
    2n ** 63n,
  ];
  expectSame((fs, at) => {
    fs.writeFileSync(`${at}/f`, 'hello world');
    const fd = fs.openSync(`${at}/f`, 'r+');
    const calls: (() => unknown)[] = [];
    for (const value of NUMBERS) {
      const n = value as number;
      calls.push(
        () => fs.readSync(fd, Buffer.alloc(4), 0, 4, n),
        // What is absent has a default in our synchronous forms, as it has in Node's others.
        () => value === null || fs.readSync(fd, Buffer.alloc(4), n, 2, 0),
        () => value === null || value === undefined || fs.readSync(fd, Buffer.alloc(4), 0, n, 0),
        () => value === null || fs.writeSync(fd, Buffer.from('ab'), n, 1, 0),
        () => fs.writeSync(fd, Buffer.from('ab'), 0, n, 0),
        () => fs.readFileSync(`${at}/f`, 'utf8'),
      );
      if (value !== null && value !== undefined) calls.push(() => fs.ftruncateSync(fd, n));
      calls.push(
        () => fs.statSync(`${at}/f`).size,
        () => fs.writeFileSync(`${at}/f`, 'hello world'),
      );
    }
    return [...calls, () => fs.closeSync(fd), () => fs.closeSync(fd)];
  });
});

test('beyond the largest file: EFBIG, and nothing is written', () => {
  const most = 2 ** 43;
  fs.writeFileSync('/f', 'x');
  const fd = fs.openSync('/f', 'r+');
  expect(() => fs.truncateSync('/f', most + 1)).toThrow('EFBIG: file too large, ftruncate');
  expect(() => fs.writeSync(fd, 'x', most)).toThrow('EFBIG: file too large, write');
  expect(() => fs.writeSync(fd, 'x', Number.MAX_SAFE_INTEGER)).toThrow('EFBIG');
  expect(fs.writeSync(fd, 'xyz', most - 2)).toBe(2);
  expect(fs.readSync(fd, Buffer.alloc(10), 0, 10, most - 1)).toBe(1);
  expect(fs.readSync(fd, Buffer.alloc(10), 0, 10, Number.MAX_SAFE_INTEGER)).toBe(0);
  expect(fs.fstatSync(fd)).toMatchObject({ size: most, blocks: 16 });
  fs.closeSync(fd);
});

/** What is tried with a tree that may not be changed; it holds `f`, `d`, and `l`, a link to `f`. Complete in itself: its text is run elsewhere. */
const readOnlyCalls = (fs: typeof hostFs, at: string): string[] => {
  const codes: string[] = [];
  const attempt = (call: () => unknown): void => {
    try {
      call();
      codes.push('done');
    } catch (error) {
      codes.push(`${(error as { code: string }).code} ${(error as { syscall: string }).syscall}`);
    }
  };
  for (const name of ['f', 'd', 'l', 'none', 'none/below', 'f/below', 'd/below']) {
    const file = `${at}/${name}`;
    for (const flags of ['r', 'r+', 'w', 'wx', 'a', 'ax']) attempt(() => fs.closeSync(fs.openSync(file, flags)));
    for (const mode of [0, 1, 2, 4]) attempt(() => fs.accessSync(file, mode));
    attempt(() => fs.mkdirSync(file));
    attempt(() => fs.rmdirSync(file));
    attempt(() => fs.unlinkSync(file));
    attempt(() => fs.symlinkSync('x', file));
    attempt(() => fs.linkSync(`${at}/f`, file));
    attempt(() => fs.linkSync(file, `${at}/new`));
    attempt(() => fs.renameSync(file, `${at}/new`));
    attempt(() => fs.renameSync(`${at}/f`, file));
    attempt(() => fs.chmodSync(file, 0o600));
    attempt(() => fs.chownSync(file, 1, 1));
    attempt(() => fs.lchownSync(file, 1, 1));
    attempt(() => fs.utimesSync(file, 1, 1));
    attempt(() => fs.truncateSync(file, 1));
    attempt(() => fs.readFileSync(file));
    attempt(() => fs.readdirSync(file));
  }
  return codes;
};

interface User {
  readonly uid: number;
  readonly gid: number;
  readonly groups: number[];
}

/** Users at work in one tree, at random from a seed. Complete in itself, as above. `as` gives the calls as somebody makes them. */
const usersAtWork = (as: (who: User) => typeof hostFs, at: string, seed: number, nrSteps: number): string[] => {
  let state = seed;
  const draw = (n: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % n;
  };
  const pick = <T>(list: readonly T[]): T => list[draw(list.length)];
  const root = { uid: 0, gid: 0, groups: [] };
  const users = [
    root,
    { uid: 1000, gid: 1000, groups: [] },
    { uid: 1001, gid: 1001, groups: [1000] },
    { uid: 1002, gid: 1002, groups: [2000] },
  ];
  const paths = ['a', 'b', 'a/x', 'a/y', 'b/x', 'a/d', 'b/d', 'a/d/z'].map((name) => `${at}/${name}`);
  const modes = [0o777, 0o755, 0o750, 0o700, 0o070, 0o007, 0o1777, 0o1770, 0o2775, 0o644, 0o640, 0o4755, 0o2755, 0o333, 0o444, 0];
  const log: string[] = [];
  as(root).chmodSync(at, 0o777);
  for (const top of ['a', 'b']) {
    as(root).mkdirSync(`${at}/${top}`);
    as(root).chmodSync(`${at}/${top}`, 0o777);
  }
  for (let i = 0; i < nrSteps; i++) {
    const who = pick(users);
    const fs = as(who);
    const [file, other, mode] = [pick(paths), pick(paths), pick(modes)];
    const [uid, gid] = [pick([-1, 0, 1000, 1001, 1002]), pick([-1, 0, 1000, 1001, 2000])];
    const calls: Record<string, () => unknown> = {
      mkdir: () => fs.mkdirSync(file, mode),
      create: () => fs.writeFileSync(file, 'new', { flag: 'wx', mode }),
      write: () => fs.writeFileSync(file, 'more', { flag: 'r+' }),
      read: () => fs.readFileSync(file, 'utf8'),
      list: () => fs.readdirSync(file).sort().join(),
      chmod: () => fs.chmodSync(file, mode),
      chown: () => fs.chownSync(file, uid, gid),
      rename: () => fs.renameSync(file, other),
      unlink: () => fs.unlinkSync(file),
      rmdir: () => fs.rmdirSync(file),
      truncate: () => fs.truncateSync(file, 1),
      utimes: () => fs.utimesSync(file, 1, 2),
      stat: () => {
        const { mode: bits, uid: owner, gid: group, nlink } = fs.statSync(file);
        return [bits.toString(8), owner, group, nlink].join();
      },
    };
    const name = pick(Object.keys(calls));
    let answer: unknown;
    try {
      answer = calls[name]() ?? 'done';
    } catch (error) {
      answer = (error as { code: string }).code;
    }
    log.push(`${i}: ${who.uid} ${name} ${file.slice(at.length)} ${other.slice(at.length)} ${mode.toString(8)} ${uid} ${gid} → ${answer}`);
  }
  return log;
};

/** Node's `fs`, as root and as others: for one process with nothing else to do. Complete in itself. */
const asOthers = (fs: typeof hostFs) => (who: User) =>
  new Proxy(fs, {
    get: (target, name) => {
      const call = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        process.setgroups?.(who.groups);
        process.setegid?.(who.gid);
        process.seteuid?.(who.uid);
        try {
          return call.apply(target, args);
        } finally {
          process.seteuid?.(0);
          process.setegid?.(0);
          process.setgroups?.([]);
        }
      };
    },
  });

/** Runs a program of Node's in a mount namespace of its own, in which the folder is a filesystem in memory. @returns what it prints. */
function onMounted(program: string, remount = 'true'): { status: number | null; stdout: string; stderr: string } {
  const script = `mount -t tmpfs -o size=8m tidemark "$1" && echo x > "$1/f" && mkdir "$1/d" && ln -s f "$1/l" && ${remount} && exec "$2" -e "$3"`;
  return spawnSync('unshare', ['-m', 'sh', '-c', script, 'sh', folder, process.execPath, program], { encoding: 'utf8' });
}

const mayMount = process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', tmpdir()]).status === 0;

describe.skipIf(!mayMount)('as root of a host where a mount namespace can be made', () => {
  test('a tree that may not be changed', () => {
    const program = `console.log(JSON.stringify((${readOnlyCalls})(require('node:fs'), ${JSON.stringify(folder)})))`;
    const { status, stdout, stderr } = onMounted(program, 'mount -o remount,ro "$1"');
    expect(status, stderr).toBe(0);
    fs.writeFileSync('/f', 'x\n');
    fs.mkdirSync('/d');
    fs.symlinkSync('f', '/l');
    const { superblock } = kernel.vfs.mounts.root;
    Object.assign(superblock, { readOnly: true }); // as a mount of a device that was written before
    const answers = readOnlyCalls(fs as unknown as typeof hostFs, '');
    Object.assign(superblock, { readOnly: false });
    expect(answers).toEqual(JSON.parse(stdout));
    expect(answers.filter((answer) => answer.startsWith('EROFS')).length).toBeGreaterThan(40);
  });

  test.each([1, 2])('users at work, seed %i', (seed) => {
    const nrSteps = Number(process.env.TIDEMARK_RUNS ?? 500);
    const place = JSON.stringify(folder);
    const work = `(${usersAtWork})((${asOthers})(require('node:fs')), ${place}, ${seed}, ${nrSteps})`;
    const { status, stdout, stderr } = onMounted(`process.umask(0o022); console.log(JSON.stringify(${work}))`);
    expect(status, stderr).toBe(0);
    fs.mkdirSync('/t');
    const ours = usersAtWork((who) => fs.as({ ...who, umask: 0o022 }) as unknown as typeof hostFs, '/t', seed, nrSteps);
    expect(ours).toEqual(JSON.parse(stdout));
    for (const code of ['EACCES', 'EPERM', 'done']) expect(ours.filter((line) => line.endsWith(code)).length, code).toBeGreaterThan(10);
  });
});
