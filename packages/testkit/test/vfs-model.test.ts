/**
 * `kernel.fs` against the host's own `node:fs`: the same calls in the same order give the same results and the same errors, on memfs.
 * The host's file system is the model; symbolic links are relative, so that both trees are alike.
 */
import * as hostFs from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host, type NodeFs } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';

const SHM = '/dev/shm';
/** Where the calls play, deep enough that no `..` leads above the root of the kernel's tree. */
const BELOW = '/p/q/r/s/t';
let base = '';
let kernel: Kernel;

beforeAll(async () => {
  base = await mkdtemp(path.join(hostFs.existsSync(SHM) ? SHM : tmpdir(), 'tidemark-model-'));
  kernel = await Kernel.boot({ memory: '16MiB', plugins: [host, memfs] });
});

afterAll(async () => {
  await rm(base, { recursive: true, force: true });
  const { leakedFrames, problems } = await kernel.shutdown();
  expect({ leakedFrames, problems }).toEqual({ leakedFrames: 0, problems: [] });
});

type Fs = Pick<NodeFs, 'promises'>;
/** One call: what it is, and how it is made with `at` giving a path its place. */
interface Step {
  readonly what: string;
  run(fs: Fs, at: (path: string) => string): Promise<unknown>;
}

const name = fc.constantFrom('a', 'b', 'c');
const plainPath = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => `/${names.join('/')}`);
const anyPath = fc.oneof(
  { weight: 12, arbitrary: plainPath },
  { weight: 1, arbitrary: plainPath.map((p) => `${p}/`) },
  { weight: 1, arbitrary: plainPath.map((p) => `${p}/.`) },
  { weight: 1, arbitrary: plainPath.map((p) => `${p}/..`) },
  { weight: 1, arbitrary: plainPath.map((p) => `${p}/../b`) },
  { weight: 1, arbitrary: plainPath.map((p) => `/${p}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(`/${'n'.repeat(255)}`, `/${'n'.repeat(256)}`, `/${'é'.repeat(127)}`, `/${'é'.repeat(128)}`, '/a/b/c/d/e'),
  },
);
const linkTarget = fc.constantFrom('a', 'b', 'a/b', '../a', '.', '..', 'a/', 'c', '../c/a', 'l'.repeat(255));
const data = fc.uint8Array({ maxLength: 6000 }).map((bytes) => Buffer.from(bytes));
const mode = fc.constantFrom(0o777, 0o644, 0o600, 0o400, 0o1777, 0o4755, 0o2755, 0);
const size = fc.constantFrom(0, 1, 4095, 4096, 4097, 10_000);
const flags = fc.constantFrom('r', 'r+', 'w', 'wx', 'w+', 'a', 'a+', 'ax');

const summary = (stats: hostFs.Stats): unknown => ({
  mode: stats.mode,
  uid: stats.uid,
  gid: stats.gid,
  type: [stats.isFile(), stats.isDirectory(), stats.isSymbolicLink()],
  ...(stats.isDirectory() ? {} : { size: stats.size, nlink: stats.nlink }),
});

function call<A extends unknown[]>(
  what: string,
  args: fc.Arbitrary<A>,
  run: (fs: Fs, at: (p: string) => string, ...args: A) => Promise<unknown>,
): fc.Arbitrary<Step> {
  return args.map((values) => ({
    what: `${what}(${values.map((value) => (Buffer.isBuffer(value) ? `${value.length} bytes` : JSON.stringify(value))).join(', ')})`,
    run: (fs, at) => run(fs, at, ...values),
  }));
}

const step: fc.Arbitrary<Step> = fc.oneof(
  call('mkdir', fc.tuple(anyPath, mode), ({ promises }, at, p, m) => promises.mkdir(at(p), { mode: m })),
  call('mkdir -p', fc.tuple(anyPath), async ({ promises }, at, p) =>
    (await promises.mkdir(at(p), { recursive: true }))?.slice(at('').length),
  ),
  call('writeFile', fc.tuple(anyPath, data, flags), ({ promises }, at, p, bytes, flag) => promises.writeFile(at(p), bytes, { flag })),
  call('appendFile', fc.tuple(anyPath, data), ({ promises }, at, p, bytes) => promises.appendFile(at(p), bytes)),
  call('readFile', fc.tuple(anyPath), async ({ promises }, at, p) => (await promises.readFile(at(p))).toString('hex')),
  call('readdir', fc.tuple(anyPath), ({ promises }, at, p) => promises.readdir(at(p))),
  call('readdir -R', fc.tuple(plainPath), async ({ promises }, at, p) => {
    // With types, Node does not follow symbolic links; without, it does, and so may go in circles.
    const entries = await promises.readdir(at(p), { recursive: true, withFileTypes: true });
    return entries.map((entry) => `${entry.path.slice(at('').length)} ${entry.name} ${entry.isDirectory()}`).sort();
  }),
  call('rename', fc.tuple(anyPath, anyPath), ({ promises }, at, from, to) => promises.rename(at(from), at(to))),
  call('link', fc.tuple(anyPath, anyPath), ({ promises }, at, from, to) => promises.link(at(from), at(to))),
  call('symlink', fc.tuple(linkTarget, anyPath), ({ promises }, at, target, p) => promises.symlink(target, at(p))),
  call('readlink', fc.tuple(anyPath), ({ promises }, at, p) => promises.readlink(at(p))),
  call('realpath', fc.tuple(anyPath), async ({ promises }, at, p) => (await promises.realpath(at(p))).slice(at('').length)),
  call('unlink', fc.tuple(anyPath), ({ promises }, at, p) => promises.unlink(at(p))),
  call('rmdir', fc.tuple(anyPath), ({ promises }, at, p) => promises.rmdir(at(p))),
  call('rm -r', fc.tuple(plainPath, fc.boolean()), ({ promises }, at, p, force) => promises.rm(at(p), { recursive: true, force })),
  call('stat', fc.tuple(anyPath), async ({ promises }, at, p) => summary(await promises.stat(at(p)))),
  call('lstat', fc.tuple(anyPath), async ({ promises }, at, p) => summary(await promises.lstat(at(p)))),
  call('chmod', fc.tuple(anyPath, mode), ({ promises }, at, p, m) => promises.chmod(at(p), m)),
  call('chown', fc.tuple(anyPath, fc.constantFrom(0, 1000), fc.constantFrom(0, 1000)), ({ promises }, at, p, uid, gid) =>
    promises.chown(at(p), uid, gid),
  ),
  call('truncate', fc.tuple(anyPath, size), ({ promises }, at, p, n) => promises.truncate(at(p), n)),
  call('utimes', fc.tuple(anyPath), async ({ promises }, at, p) => {
    await promises.utimes(at(p), 1_000_000_000, 1_234_567_890.5);
    const { atimeMs, mtimeMs } = await promises.stat(at(p));
    return [atimeMs, mtimeMs];
  }),
  call('access', fc.tuple(anyPath, fc.constantFrom(0, 1, 2, 4)), ({ promises }, at, p, m) => promises.access(at(p), m)),
  call('copyFile', fc.tuple(anyPath, anyPath, fc.constantFrom(0, 1)), ({ promises }, at, from, to, m) =>
    promises.copyFile(at(from), at(to), m),
  ),
  call('use', fc.tuple(anyPath, flags, fc.nat(9000), data), async ({ promises }, at, p, flag, offset, bytes) => {
    const handle = await promises.open(at(p), flag);
    try {
      const results: unknown[] = [summary(await handle.stat())];
      for (const work of [
        async () => (await handle.write(bytes, 0, bytes.length, offset)).bytesWritten,
        async () => (await handle.write(bytes)).bytesWritten,
        async () => Buffer.from((await handle.read(Buffer.alloc(5000), 0, 5000, 1)).buffer as Uint8Array).toString('hex'),
        async () => (await handle.read({ length: 100 })).bytesRead,
        async () => handle.truncate(offset >> 1),
        async () => summary(await handle.stat()),
        async () => promises.unlink(at(p)),
        async () => (await handle.readFile()).toString('hex'),
        async () => summary(await handle.stat()),
      ])
        results.push(await outcome(work, at('')));
      return results;
    } finally {
      await handle.close();
    }
  }),
);

/** What a call gives: a value, or the code and message of an error. */
async function outcome(work: () => Promise<unknown>, top: string): Promise<unknown> {
  try {
    return { value: await work() };
  } catch (error) {
    const { code, message, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return { code, syscall, message: top === '' ? message : message.replaceAll(top, '') };
  }
}

test('the same calls give what they give on the host', { timeout: 300_000 }, async () => {
  const umask = process.umask(0o022);
  let nrRuns = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), async (steps) => {
      const top = path.join(base, String(nrRuns++));
      await hostFs.promises.mkdir(top);
      await kernel.mount('memfs:4MiB', '/');
      const { fs } = kernel;
      await hostFs.promises.mkdir(top + BELOW, { recursive: true });
      await fs.promises.mkdir(BELOW, { recursive: true });
      const trace: string[] = [];
      try {
        for (const { what, run } of steps) {
          trace.push(what);
          const expected = await outcome(() => run(hostFs as unknown as Fs, (p) => top + BELOW + p), top);
          const actual = await outcome(() => run(fs, (p) => BELOW + p), '');
          expect(actual, trace.join('\n')).toEqual(expected);
        }
      } finally {
        await kernel.unmount('/');
        await rm(top, { recursive: true, force: true });
      }
    }),
    { numRuns: Number(process.env.TIDEMARK_RUNS ?? 150) },
  );
  process.umask(umask);
});
