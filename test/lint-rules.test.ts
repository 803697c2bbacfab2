/**
 * The import lines and forbidden globals of `biome.json`, shown to fire: each row is a file that would break the house plan, or one
 * beside it that is allowed. All of them are linted in one run, in a folder of their own.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const IMPORTS = 'lint/style/noRestrictedImports';
const GLOBALS = 'lint/style/noRestrictedGlobals';
const NODE = 'lint/correctness/noNodejsModules';

/** Folder, source text, the rules that must fire. */
const ROWS: [folder: string, source: string, rules: string[]][] = [
  ['packages/core/src/mm', "import { a } from '../kernel/k.js';\na();", [IMPORTS]],
  ['packages/core/src/mm', "import type { A } from '../cache/k.js';\nexport type B = A;", [IMPORTS]],
  ['packages/core/src/mm', "export { a } from '../reclaim/k.js';", [IMPORTS]],
  ['packages/core/src/mm', "import { a } from '../task/k.js';\na();", []],
  ['packages/core/src/base', "import { a } from '../task/k.js';\na();", [IMPORTS]],
  ['packages/core/src/kernel', "import { a } from '../host/k.js';\na();", [IMPORTS]],
  ['packages/core/src/vfs', "import { a } from '../kernel/k.js';\na();", [IMPORTS]],
  ['packages/core/src/kernel', "import { a } from '../vfs/k.js';\na();", []],
  ['packages/core/src/kernel', "import { a } from '@tidemark/swap';\na();", [IMPORTS]],
  ['packages/core/src/kernel', "import { a } from 'tsyringe';\na();", [IMPORTS]],
  ['packages/core/src', "import { a } from 'tsyringe';\na();", [IMPORTS]],
  ['packages/swap/src', "import { a } from 'tsyringe';\na();", [IMPORTS]],
  ['packages/swap/src', "import 'reflect-metadata';", [IMPORTS]],
  ['packages/swap/src', "import { a } from '@tidemark/core';\na();", []],
  ['packages/swap/src', "import { a } from '@tidemark/core/host';\na();", [IMPORTS]],
  ['packages/swap/src', "import { a } from '@tidemark/net';\na();", [IMPORTS]],
  ['packages/fs-ext3/src/format', "import { a } from '@tidemark/swap';\na();", [IMPORTS]],
  ['packages/fs-ext3/src', 'export const x = Date;', [GLOBALS]],
  ['packages/fs-nfs/src', "import { a } from '@tidemark/net';\na();", []],
  ['packages/md/src/bitmap', "import { a } from '@tidemark/swap';\na();", [IMPORTS]],
  ['packages/md/src/array', 'export const x = Date;', [GLOBALS]],
  ['packages/fs-nfs/src', "import { a } from '@tidemark/fs-ext3';\na();", [IMPORTS]],
  ['packages/net/src', "import { a } from '@tidemark/nbd';\na();", [IMPORTS]],
  ['packages/nbd/src', "import { a } from '@tidemark/net';\na();", []],
  ['packages/nbd/src', "import { a } from '@tidemark/net/host';\na();", [IMPORTS]],
  ['packages/nbd/src/host', "import { a } from '@tidemark/net/host';\na();", []],
  ['packages/nbd/src/host', "import { a } from '@tidemark/swap';\na();", [IMPORTS]],
  ['packages/testkit/src/net', "import { a } from '@tidemark/net';\na();", []],
  ['packages/testkit/src/net', "import { a } from '@tidemark/nbd';\na();", [IMPORTS]],
  ['packages/lab/src/models', "import { a } from '@tidemark/nbd';\na();", []],
  ['packages/lab/src/models', "import { a } from '@tidemark/cli';\na();", [IMPORTS]],
  ['packages/lab/src/models', "import { a } from '@tidemark/testkit/host';\na();", [IMPORTS]],
  ['packages/lab/src/host', "import { a } from '@tidemark/testkit/host';\na(process);", []],
  ['packages/lab/src', 'export const x = setImmediate;', [GLOBALS]],
  ['packages/testkit/src/time', 'export const x = setImmediate;', [GLOBALS]],
  ['packages/testkit/src/host', 'export const x = setImmediate;', []],
  ['packages/core/src/mm', "import fs from 'node:fs';\nfs.a();", [NODE]],
  ['packages/core/src/mm', "import fs from 'fs';\nfs.a();", [NODE, 'lint/style/useNodejsImportProtocol']],
  ['packages/core/src/host', "import fs from 'node:fs';\nfs.a(Date.now(), setTimeout(fs.b, 1));", []],
  ['packages/cli/src', "import fs from 'node:fs';\nfs.a(Date.now(), Buffer.alloc(1));", []],
  ...[
    'Date',
    'performance',
    'setTimeout',
    'setInterval',
    'setImmediate',
    'queueMicrotask',
    'crypto',
    'Buffer',
    'process',
    'console',
    'fetch',
  ].map((name): [string, string, string[]] => ['packages/swap/src', `export const x = ${name};`, [GLOBALS]]),
  ['packages/swap/test', `it.${'only'}('x', () => {});`, ['lint/suspicious/noFocusedTests']],
  ['packages/swap/src', 'export class A {\n  constructor(@inject(1) x: number) {\n    this.x = x;\n  }\n}', []],
];

let folder: string;
const fired = new Map<string, Set<string>>();
const fileOf = (row: number) => `${ROWS[row][0]}/row${row}${ROWS[row][0].endsWith('test') ? '.test' : ''}.ts`;

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-lint-'));
  fs.copyFileSync(path.join(root, 'biome.json'), path.join(folder, 'biome.json'));
  for (const [row, [, source]] of ROWS.entries()) {
    const file = path.join(folder, fileOf(row));
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, `${source}\n`);
  }
  const biome = path.join(root, 'node_modules/@biomejs/biome/bin/biome');
  let json: string;
  try {
    json = execFileSync(process.execPath, [biome, 'lint', '--reporter=json', '--max-diagnostics=none'], {
      cwd: folder,
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    json = (error as { stdout: string }).stdout; // exit 1: it found something, as it should
  }
  for (const { category, location } of (JSON.parse(json) as Report).diagnostics) {
    const file = typeof location.path === 'string' ? location.path : location.path.file;
    fired.set(file, (fired.get(file) ?? new Set()).add(category));
  }
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Report {
  diagnostics: { category: string; location: { path: string | { file: string } } }[];
}

describe('biome.json', () => {
  it.each(ROWS.map(([where, source, rules], row) => ({ row, where, source: source.split('\n')[0], rules })))(
    '$where: $source → $rules',
    ({ row, rules }) => {
      const here = [...(fired.get(fileOf(row)) ?? [])].filter((rule) => !rule.includes('noUndeclared') && !rule.includes('noUnused'));
      expect(here.sort()).toEqual([...rules].sort());
    },
  );
});
