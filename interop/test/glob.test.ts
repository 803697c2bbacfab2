/** glob and fast-glob on `kernel.fs`, given as their option `fs`: what they find is what they find in the same tree on the host. */
import path from 'node:path';
import fastGlob from 'fast-glob';
import { type GlobOptions, glob, globSync } from 'glob';
import type { NodeFs } from '@tidemark/core/host';
import { expect, it } from 'vitest';
import { freshPath } from './support/sandbox.js';
import { copyAcross, onHost, withTree } from './support/trees.js';

const PATTERNS: readonly (string | string[])[] = [
  '**',
  '**/*.ts',
  '*',
  'src/*/index.{ts,js}',
  'src/**/test/*.ts',
  '**/[ab]*.ts',
  '**/!(index).ts',
  'src/a?/**',
  '**/.hidden/*',
  ['**/*.md', '!src/**'],
  'none/*',
  'linked/**',
  '**/zz/*',
];

function grow(fs: NodeFs, top: string): void {
  for (const dir of ['src/aa/test', 'src/ab', 'src/b/deep/er/still', 'docs', '.hidden', 'src/zz'])
    fs.mkdirSync(path.posix.join(top, dir), { recursive: true });
  const files = 'README.md src/aa/index.ts src/aa/test/a.ts src/ab/index.js src/b/b.ts src/b/deep/er/still/x.ts docs/a.md .hidden/h.ts';
  for (const file of files.split(' ')) fs.writeFileSync(path.posix.join(top, file), file);
  fs.writeFileSync(path.posix.join(top, 'src/zz/f.ts'), '');
  fs.symlinkSync('src', path.posix.join(top, 'linked'));
  fs.symlinkSync('..', path.posix.join(top, 'src/b/up'));
  fs.symlinkSync('nowhere', path.posix.join(top, 'dangling.ts'));
}

/** The same tree on both, and where it is on the host. */
const withTrees = (body: (tree: NodeFs, folder: string) => Promise<void>): Promise<void> =>
  withTree(async (tree) => {
    grow(tree, '/tree');
    const folder = freshPath('tree');
    copyAcross(tree, '/tree', onHost, folder);
    await body(tree, folder);
  });

it.each([{}, { dot: true }, { follow: true, maxDepth: 6 }, { nodir: true, stat: true }, { mark: true }] as GlobOptions[])(
  'glob %j',
  (options) =>
    withTrees(async (tree, folder) => {
      const fs = tree as unknown as NonNullable<GlobOptions['fs']>;
      let nrFound = 0;
      for (const pattern of PATTERNS) {
        const expected = ((await glob(pattern, { ...options, withFileTypes: false, cwd: folder })) as string[]).sort();
        const ours = { ...options, withFileTypes: false, cwd: '/tree', fs } as const;
        expect(((await glob(pattern, ours)) as string[]).sort(), `${pattern}`).toEqual(expected);
        expect((globSync(pattern, ours) as string[]).sort(), `${pattern}`).toEqual(expected);
        nrFound += expected.length;
      }
      expect(nrFound).toBeGreaterThan(40);
    }),
);

it.each([{}, { dot: true }, { followSymbolicLinks: false }, { onlyFiles: false, markDirectories: true }, { stats: true, deep: 3 }])(
  'fast-glob %j',
  (options) =>
    withTrees(async (tree, folder) => {
      const fs = tree as unknown as fastGlob.FileSystemAdapter;
      const names = (found: readonly (string | fastGlob.Entry)[]): string[] =>
        found.map((one) => (typeof one === 'string' ? one : `${one.path} ${one.stats?.size}`)).sort();
      let nrFound = 0;
      const limits = { deep: 8, ...options };
      for (const pattern of PATTERNS) {
        const expected = names(await fastGlob(pattern, { ...limits, cwd: folder }));
        expect(names(await fastGlob(pattern, { ...limits, cwd: '/tree', fs })), `${pattern}`).toEqual(expected);
        expect(names(fastGlob.sync(pattern, { ...limits, cwd: '/tree', fs })), `${pattern}`).toEqual(expected);
        nrFound += expected.length;
      }
      expect(nrFound).toBeGreaterThan(20);
    }),
);
