/**
 * Every mutant must be noticed, by a test that fails, and for the reason beside it. A mutant that survives is a guard without a test.
 *
 * Each runs in a vitest of its own, since its module is loaded anew.
 */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Mutant } from './mutant.js';
import { MUTANTS } from './table.js';

const vitest = path.resolve('node_modules/vitest/vitest.mjs');
const RUN_MS_MAX = 120_000;
/** A guard that is gone may leave a test waiting for ever. None of the table takes as long by itself, on a machine with nothing else to do. */
const LIMITS = ['--testTimeout=6000', '--hookTimeout=3000'];

function runUnder({ name, test }: Mutant): Promise<{ failed: boolean; output: string }> {
  const words = ['run', '--project', 'unit', '--maxWorkers', '1', ...LIMITS, '-t', `${literal(test[1])}$`, test[0]];
  const env = { ...process.env, TIDEMARK_MUTANT: name, NO_COLOR: '1', VITEST: '' };
  return new Promise((resolve) => {
    execFile(process.execPath, [vitest, ...words], { env, timeout: RUN_MS_MAX, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({ failed: error !== null, output: `${stdout}\n${stderr}` }),
    );
  });
}

function literal(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

describe.concurrent('a test notices that', () => {
  it.each(MUTANTS.map((mutant) => [`${mutant.name}: ${mutant.guard}`, mutant] as const))(
    '%s',
    async (_name, mutant) => {
      const { failed, output } = await runUnder(mutant);
      expect(failed, `${mutant.name} survives: ${mutant.test.join(', ')}`).toBe(true);
      expect(output).toMatch(/\bTests\b +\d+ failed/);
      if (mutant.says !== undefined) expect(output).toMatch(mutant.says);
    },
    RUN_MS_MAX + 10_000,
  );
});
