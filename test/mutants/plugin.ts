/** Loads one module with a guard taken out: the mutant that `TIDEMARK_MUTANT` names. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vitest/config';
import { mutate } from './mutant.js';
import { MUTANTS } from './table.js';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** @throws Error for a mutant that is not in the table. */
export function mutantPlugin(name: string): Plugin {
  const mutant = MUTANTS.find((candidate) => candidate.name === name);
  if (mutant === undefined) throw new Error(`TIDEMARK_MUTANT: no mutant ${JSON.stringify(name)} in test/mutants/table.ts`);
  const file = path.join(root, mutant.file);
  return {
    name: `mutant ${name}`,
    enforce: 'pre',
    transform: (code, id) => (id.split('?')[0] === file ? mutate(code, mutant) : undefined),
  };
}
