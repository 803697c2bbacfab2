/**
 * Tests run on the sources (the export condition `@tidemark/source`), so no build is needed to run one:
 *
 *     npx vitest run packages/core/test          unit tests of a package
 *     npx vitest run --project interop           tests against software nobody here wrote; they need it installed
 *     npx vitest run --project mutants           takes guards out of the source one by one; tests must notice (test/mutants)
 */
import { defineConfig } from 'vitest/config';

const mutant = process.env.TIDEMARK_MUTANT;

export default defineConfig({
  plugins: mutant ? [(await import('./test/mutants/plugin.js')).mutantPlugin(mutant)] : [],
  oxc: { decorator: { legacy: true } },
  ssr: { resolve: { conditions: ['@tidemark/source'] } }, // resolve.conditions has no effect on what Node loads
  test: {
    pool: 'forks', // a worker thread has no signals and no peak RSS of its own
    maxWorkers: 2,
    testTimeout: 120_000, // only for what would hang: speed is never measured by it, and two cores may be shared with everything else
    hookTimeout: 120_000,
    allowOnly: false,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['packages/*/test/**/*.test.ts', 'examples/*/test/**/*.test.ts', 'test/**/*.test.ts'] },
      },
      { extends: true, test: { name: 'interop', include: ['interop/**/*.test.ts'], testTimeout: 240_000, fileParallelism: false } },
      { extends: true, test: { name: 'mutants', include: ['test/mutants/*.mutants.ts'], maxConcurrency: 2 } },
    ],
  },
});
