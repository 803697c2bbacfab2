/**
 * The tests of files that `@zenfs/core` ships, run on `kernel.fs`, each test file in a process of its own. What fails is listed in
 * zenfs/differences.json with its reason; nothing else may fail, and nothing that is listed may pass.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const here = path.dirname(fileURLToPath(import.meta.url));
const folder = path.join(here, '../node_modules/@zenfs/core/tests/fs');
const files = fs.readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
const differences = JSON.parse(fs.readFileSync(path.join(here, 'zenfs/differences.json'), 'utf8')) as Record<string, string>;
const seen = new Set<string>();

interface Told {
  readonly passed: string[];
  readonly failed: string[];
  readonly output: string;
}

/** Runs a test file. @returns its tests by the names of their suite and their own; of nested tests only the uppermost. */
function run(file: string): Promise<Told> {
  const args = ['--import', 'tsx', '--test', '--test-reporter=tap', path.join(folder, file)];
  const env: NodeJS.ProcessEnv = { ...process.env, SETUP: path.join(here, 'zenfs/setup.mjs') };
  for (const name of ['NODE_OPTIONS', 'NODE_TEST_CONTEXT', 'VITEST', 'NODE_ENV']) delete env[name];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: path.join(here, '..'), env, timeout: 60_000 }, (_error, stdout, stderr) => {
      const told: Told = { passed: [], failed: [], output: stdout + stderr };
      let pending: { name: string; ok: boolean }[] = [];
      for (const line of stdout.split('\n')) {
        const inner = /^ {4}(not )?ok \d+ - (.*?)( # [A-Z]{4}\b.*)?$/.exec(line);
        const suite = /^(?:not )?ok \d+ - (.*?)(?: #.*)?$/.exec(line);
        if (inner !== null && inner[3] === undefined) pending.push({ name: inner[2].replaceAll('\\#', '#'), ok: inner[1] === undefined });
        if (suite === null) continue;
        for (const { name, ok } of pending) told[ok ? 'passed' : 'failed'].push(`${suite[1]} > ${name}`);
        pending = [];
      }
      resolve(told);
    });
  });
}

describe('tests of @zenfs/core', () => {
  it.each(files)('%s', async (file) => {
    const { passed, failed, output } = await run(file);
    expect(
      failed.filter((name) => !(name in differences)),
      output,
    ).toEqual([]);
    expect(
      passed.filter((name) => name in differences),
      'listed as failing',
    ).toEqual([]);
    // xattr is an interface of ZenFS's own.
    expect(passed.length + failed.length, output).toBeGreaterThan(file === 'xattr.test.ts' ? -1 : 0);
    for (const name of failed) seen.add(name);
  });

  it('lists no difference that is none', () => expect([...seen].sort()).toEqual(Object.keys(differences).sort()));
});
