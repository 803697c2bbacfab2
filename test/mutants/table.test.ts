/** The table of mutants stays in step with the source. That each is noticed is asked by the project `mutants`. */
import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { mutate } from './mutant.js';
import { MUTANTS } from './table.js';

/** The names of the tests in a file, as patterns: what a name takes from a variable may be anything. */
function testNames(file: string): RegExp[] {
  const names = fs.readFileSync(file, 'utf8').matchAll(/\b(?:it|test)\((?:'([^'\n]*)'|`([^`\n]*)`)/g);
  const literal = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
  return [...names].map(
    ([, plain, template = plain]) =>
      new RegExp(
        `^${template
          .split(/\$\{[^}]*\}/)
          .map(literal)
          .join('.*')}$`,
      ),
  );
}

describe('the table of mutants', () => {
  it.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))('%s has a place in the source, and tests', (_name, mutant) => {
    const source = fs.readFileSync(mutant.file, 'utf8');
    expect(mutate(source, mutant)).not.toBe(source);
    const [file, name] = mutant.test;
    expect(
      testNames(file).some((pattern) => pattern.test(name)),
      `${file} has a test ${JSON.stringify(name)}`,
    ).toBe(true);
  });

  it('names each once', () => {
    const names = MUTANTS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z\d-]+$/);
  });

  it('refuses text that is not there, or there twice', () => {
    const mutant = { ...MUTANTS[0], name: 'x', file: 'f', find: 'ab', replace: 'c' };
    expect(mutate('x ab y', mutant)).toBe('x c y');
    expect(() => mutate('abab', mutant)).toThrow('mutant x: its text occurs more than once in f');
    expect(() => mutate('', mutant)).toThrow('mutant x: its text occurs nowhere in f');
  });
});
