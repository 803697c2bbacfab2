/**
 * Tidy: a unit test about the source text. First every rule is shown to fire on text that breaks it; then all of them run on the
 * repository.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { filesBelow, sourceFile } from './source-file.js';
import {
  cycleComplaints,
  exampleComplaints,
  globalComplaints,
  importComplaints,
  leftOverComplaints,
  lockfileComplaints,
  type Manifest,
  manifestComplaints,
  shapeComplaints,
  unreachableComplaints,
} from './tidy.js';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const read = (file: string) => fs.readFileSync(path.join(root, file), 'utf8');

describe('the rules fire', () => {
  const MM = 'packages/core/src/mm/x.ts';
  const SWAP = 'packages/swap/src/x.ts';
  const NBD = 'packages/nbd/src/x.ts';
  const NBD_HOST = 'packages/nbd/src/host/x.ts';

  it.each([
    [MM, "import { a } from '../kernel/k.js';", false],
    [MM, "import type { A } from '../cache/k.js';", false],
    [MM, "export * from '../reclaim/k.js';", false],
    [MM, "const a = await import('../vfs/k.js');", false],
    [MM, "let a: import('../block/k.js').A;", false],
    [MM, "import { a } from '../host/k.js';", false],
    [MM, "import { a } from '../index.js';", false],
    [MM, "import { a } from '../task/k.js';", true],
    [MM, "import { a } from './k.js';", true],
    [MM, "import { a } from './k';", false],
    [MM, "// import { a } from '../kernel/k.js';", true],
    [MM, "import fs from 'node:fs';", false],
    [MM, "import fs from 'fs';", false],
    [MM, "import { E } from 'eventemitter3';", true],
    [MM, "import { a } from '@tidemark/swap';", false],
    [MM, "import { a } from 'tsyringe';", false],
    ['packages/core/src/kernel/di.ts', "import { a } from 'tsyringe';", true],
    ['packages/core/src/index.ts', "export { a } from './kernel/k.js';", true],
    ['packages/core/src/index.ts', "export { a } from './host/k.js';", false],
    ['packages/core/src/host/x.ts', "import fs from 'node:fs';", true],
    ['packages/core/src/host/x.ts', "import { a } from '../block/k.js';", true],
    ['packages/core/src/host/x.ts', "import a from 'left-pad';", false],
    [SWAP, "import { a } from '@tidemark/core';", true],
    [SWAP, "import { a } from '@tidemark/core/host';", false],
    [SWAP, "import { a } from '@tidemark/core/src/x.js';", false],
    [SWAP, "import { a } from '@tidemark/net';", false],
    [SWAP, "import { a } from '../../core/src/index.js';", false],
    [SWAP, "import 'reflect-metadata';", false],
    [NBD, "import { a } from '@tidemark/net';", true],
    [NBD, "import { a } from '@tidemark/net/host';", false],
    [NBD, "import { a } from '@tidemark/swap';", false],
    [NBD_HOST, "import { a } from '@tidemark/net/host';", true],
    [NBD_HOST, "import { a } from '@tidemark/swap';", false],
    ['packages/cli/src/x.ts', "import fs from 'node:fs';", true],
    ['packages/cli/src/x.ts', "import { a } from '@tidemark/nbd/host';", true],
    ['packages/cli/src/x.ts', "import { a } from '@tidemark/nbd/src/wire.js';", false],
    ['packages/cli/src/x.ts', "import { a } from 'tsyringe';", false],
  ])('imports, %s: %s → %s', (at, text, allowed) => {
    expect(importComplaints(sourceFile(at, text))).toHaveLength(allowed ? 0 : 1);
  });

  it.each([
    [MM, 'const x = Date.now();', false],
    [MM, 'const x = new Date();', false],
    [SWAP, 'const x = Math.random();', false],
    [SWAP, 'const x = Math.floor(1.5);', true],
    [SWAP, 'setTimeout(f, 1);', false],
    [SWAP, 'const b: Buffer = x;', false],
    [SWAP, 'process.exit(1);', false],
    [SWAP, 'clock.setTimeout(f, 1);', true],
    [SWAP, '// Date.now() would be wrong here', true],
    [SWAP, "const x = 'Date.now()';", true],
    [SWAP, 'function f(process: number) { return process; }', true],
    [NBD_HOST, 'setTimeout(f, Date.now());', true],
    ['packages/cli/src/x.ts', 'setTimeout(f, Date.now());', true],
  ])('globals, %s: %s → %s', (at, text, allowed) => {
    expect(globalComplaints(sourceFile(at, text))).toHaveLength(allowed ? 0 : 1);
  });

  it('shape: module comment and length', () => {
    expect(shapeComplaints(sourceFile(MM, '/** What it is for. */\n'))).toEqual([]);
    expect(shapeComplaints(sourceFile(MM, 'const a = 1;\n'))).toHaveLength(1);
    expect(shapeComplaints(sourceFile(MM, `/** Long. */\n${'\n'.repeat(499)}`))).toEqual([]);
    expect(shapeComplaints(sourceFile(MM, `/** Longer. */\n${'\n'.repeat(500)}`))).toHaveLength(1);
  });

  it.each([
    [`// ${'TO'}DO: later`, false],
    [`it.${'skip'}('x', f)`, false],
    [`describe.${'only'}('x', f)`, false],
    ["it.skipIf(missing)('x', f)", true],
    [`const file = '/${'home'}/me/x';`, false],
    [`see /${'work'}/notes`, false],
    ['the network/home/page of it', true],
    ['const todo = []', true],
  ])('left over: %s → %s', (text, allowed) => {
    expect(leftOverComplaints('x.ts', `\n${text}\n`)).toHaveLength(allowed ? 0 : 1);
  });

  it.each([
    ["import { a } from '@tidemark/core';", true],
    ["import { a } from '@tidemark/core/host';", true],
    ["import { a } from '@tidemark/core/src/vfs/vfs.js';", false],
    ["import { a } from '@tidemark/swap';", false],
    ["import { a } from './a.js';", true],
    ["import { a } from '../../fs-zip/src/a.js';", false],
    ["import fs from 'node:fs';", true],
    ["import a from 'left-pad';", false],
  ])('examples import %s → %s', (text, allowed) => {
    const file = sourceFile('examples/fs-x/src/x.ts', `/** For. */\n${text}`);
    expect(exampleComplaints(file, ['@tidemark/core'])).toHaveLength(allowed ? 0 : 1);
  });

  it('modules that nothing reaches, and cycles of values', () => {
    const file = (name: string, text: string) => sourceFile(`packages/swap/src/${name}.ts`, text);
    const index = file('index', "export { a } from './a.js';");
    const a = file('a', "import type { B } from './b.js';\nexport const a = 1;");
    const b = file('b', "import { a } from './a.js';\nexport type B = typeof a;");
    const lost = file('lost', "import { a } from './a.js';");
    expect(unreachableComplaints([index, a, b], [index.path])).toEqual([]);
    expect(unreachableComplaints([index, a, b, lost], [index.path])).toHaveLength(1);
    expect(cycleComplaints([index, a, b])).toEqual([]);
    expect(cycleComplaints([index, file('a', "import { b } from './b.js';"), b])).toHaveLength(1);
    expect(cycleComplaints([file('a', "import './a.js';")])).toHaveLength(1);
  });

  it('lockfile and manifests', () => {
    expect(lockfileComplaints("  a@1.0.0:\n    resolution: {integrity: sha512-x}\n    engines: {node: '>=20'}\n")).toEqual([]);
    expect(lockfileComplaints('  some-git@1.0.0:\n    hasBin: true\n')).toEqual([]);
    expect(lockfileComplaints('    resolution: {tarball: https://registry.example/a.tgz}\n')).toHaveLength(1);
    expect(lockfileComplaints('    version: git@host.example:a/b.git\n')).toHaveLength(1);
    const good: Manifest = JSON.parse(read('packages/core/package.json'));
    expect(manifestComplaints('core', good)).toEqual([]);
    expect(manifestComplaints('core', { ...good, license: 'MIT' })).toHaveLength(1);
    expect(manifestComplaints('core', { ...good, files: ['dist', 'src', 'README.md'] })).toHaveLength(1);
    expect(manifestComplaints('core', { ...good, exports: { '.': { import: 'x', types: 'y' } } })).toHaveLength(1);
  });
});

describe('the repository', () => {
  const packages = fs
    .readdirSync(path.join(root, 'packages'))
    .filter((name) => fs.existsSync(path.join(root, 'packages', name, 'package.json')));
  const sources = new Map(
    packages.map((name) => [name, filesBelow(root, `packages/${name}/src`, ['.ts']).map((file) => sourceFile(file, read(file)))]),
  );
  const all = [...sources.values()].flat();

  it('keeps to the import lines', () => expect(all.flatMap(importComplaints)).toEqual([]));
  it('writes its examples as somebody outside would', () => {
    for (const name of fs.readdirSync(path.join(root, 'examples'))) {
      const { dependencies = {}, devDependencies = {} } = JSON.parse(read(`examples/${name}/package.json`));
      for (const part of ['src', 'test']) {
        const names = [...Object.keys(dependencies), ...(part === 'test' ? [...Object.keys(devDependencies), 'vitest'] : [])];
        const files = filesBelow(root, `examples/${name}/${part}`, ['.ts']).map((file) => sourceFile(file, read(file)));
        expect(files.flatMap((file) => exampleComplaints(file, names))).toEqual([]);
      }
    }
  });
  it('takes time, randomness and the host by token', () => expect(all.flatMap(globalComplaints)).toEqual([]));
  it('opens every module with a comment, and ends it in time', () => expect(all.flatMap(shapeComplaints)).toEqual([]));
  it('has no cycle of imports', () => expect([...sources.values()].flatMap((files) => cycleComplaints(files))).toEqual([]));
  it('holds no module that nothing reaches', () => {
    const complaints = [...sources].flatMap(([name, files]) => {
      const { exports = {} }: Manifest = JSON.parse(read(`packages/${name}/package.json`));
      const entries = ['./src/main.ts', ...Object.values(exports).map((conditions) => conditions['@tidemark/source'])];
      return unreachableComplaints(
        files,
        entries.map((entry) => path.posix.join('packages', name, entry)),
      );
    });
    expect(complaints).toEqual([]);
  });
  it('leaves nothing over', () => {
    const files = filesBelow(root, '.', ['.ts', '.mjs', '.js', '.json', '.md', '.yaml', 'run']);
    expect(files.length).toBeGreaterThan(50);
    expect(files.flatMap((file) => leftOverComplaints(file, read(file)))).toEqual([]);
  });
  it('names no registry in the lockfile', () => expect(lockfileComplaints(read('pnpm-lock.yaml'))).toEqual([]));
  it.each(packages)('publishes packages/%s like the others', (name) => {
    expect(manifestComplaints(name, JSON.parse(read(`packages/${name}/package.json`)))).toEqual([]);
    expect(fs.existsSync(path.join(root, 'packages', name, 'README.md')), 'README.md').toBe(true);
  });
  it('carries its licence', () => expect(read('LICENSE')).toContain('Apache License'));
});
