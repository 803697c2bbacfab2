/**
 * Mutants (test method, 6): each takes one guard out of the source, and the tests named beside it must notice.
 *
 * A guard is a comparison, an order, a mark or a wake-up without which something of the design does not hold. Production code has no switch
 * that turns one off; a mutant is a replacement of text that happens while a module is loaded (`plugin.ts`), so nothing on disk changes.
 *
 *     npx vitest run --project mutants                 all of them
 *     TIDEMARK_MUTANT=NAME npx vitest run FILE…        one, under any test
 */

/** One guard taken away. */
export interface Mutant {
  /** A name for the command line: letters, digits and dashes. */
  readonly name: string;
  /** What is taken away, with the number of the mechanism or trap. */
  readonly guard: string;
  /** The source file, from the root of the repository. */
  readonly file: string;
  /** Text that occurs once in it, and what comes in its place. */
  readonly find: string;
  readonly replace: string;
  /** The test that must fail: its file, and the end of its name. Only this one is run. */
  readonly test: readonly [file: string, name: string];
  /** What the failure must say, where the test could fail for another reason. */
  readonly says?: RegExp;
}

/** Applies a mutant. @throws Error if its text does not occur exactly once: the source has moved on. */
export function mutate(source: string, { name, file, find, replace }: Mutant): string {
  const at = source.indexOf(find);
  if (at < 0 || source.indexOf(find, at + 1) >= 0) {
    throw new Error(`mutant ${name}: its text occurs ${at < 0 ? 'nowhere' : 'more than once'} in ${file}`);
  }
  return source.slice(0, at) + replace + source.slice(at + find.length);
}
