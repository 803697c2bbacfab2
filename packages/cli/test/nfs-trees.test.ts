/** The file verbs on `nfs://HOST/EXPORT` trees, over a server of this process. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { NfsServer } from '@tidemark/fs-nfs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PLUGINS } from '../src/plugins.js';
import { runHere } from './here.js';

let folder: string;
let kernel: Kernel;
let tree: string;
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-cli-'));
  kernel = await Kernel.boot({ memory: '16MiB', plugins: PLUGINS });
  await kernel.mount('memfs:4MiB', '/');
  const { address } = await NfsServer.listen(kernel, { address: '127.0.0.1:0', exports: { '/tree': { tree: '/', squash: 'none' } } });
  const port = address.kind === 'tcp' ? address.port : 0;
  tree = `nfs://127.0.0.1/tree?nfsport=${port}&mountport=${port}`;
});
afterEach(async () => {
  fs.rmSync(folder, { recursive: true, force: true });
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
});

async function ok(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await runHere(...words);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return stdout;
}

it('cp in and out, ls, cat, mv, ln, stat, df, rm', async () => {
  const from = path.join(folder, 'in');
  fs.mkdirSync(path.join(from, 'deep'), { recursive: true });
  fs.writeFileSync(path.join(from, 'a'), 'content of a\n');
  fs.writeFileSync(path.join(from, 'deep', 'b'), Buffer.alloc(100_000, 'b'));
  await ok('cp', '-r', from, `${tree}::/copy`);
  expect(await kernel.fs.promises.readFile('/copy/a', 'utf8')).toBe('content of a\n');
  expect((await ok('ls', `${tree}::/copy`)).trim().split('\n')).toEqual(['a', 'deep']);
  expect(await ok('cat', `${tree}::/copy/a`)).toBe('content of a\n');
  await ok('mv', `${tree}::/copy/a`, `${tree}::/copy/moved`);
  await ok('ln', '-s', 'moved', `${tree}::/copy/link`);
  expect(await ok('cat', `${tree}::/copy/link`)).toBe('content of a\n');
  expect(await ok('stat', `${tree}::/copy/deep/b`)).toContain('100000 bytes');
  await ok('df', tree);
  const out = path.join(folder, 'out');
  await ok('cp', '-r', `${tree}::/copy`, out);
  expect(fs.readFileSync(path.join(out, 'deep', 'b')).equals(Buffer.alloc(100_000, 'b'))).toBe(true);
  await ok('rm', '-r', `${tree}::/copy`);
  expect(await kernel.fs.promises.readdir('/')).toEqual([]);
});

it('what cannot be mounted is one line', async () => {
  const { code, stderr } = await runHere('ls', tree.replace('/tree?', '/nowhere?'));
  expect(code).toBe(2);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(stderr).toContain('ENOENT');
});
