/** Cases and who runs them: vitest, `node:test`, anything with `describe` and `it`, or a loop. */
import { ViolationError } from '../simulation/strict.js';
import { ConformanceFailure, type Rule } from './rules.js';

/** One check of one rule. */
export interface ConformanceCase {
  readonly rule: Rule;
  /** `RULE: what is done`. */
  readonly name: string;
  /** @throws ConformanceFailure naming the rule. */
  run(): Promise<void>;
}

/** What a test runner has to have: `import { describe, it } from 'node:test'`, or from vitest. */
export interface TestRunner {
  describe(name: string, body: () => void): unknown;
  it(name: string, test: () => Promise<void>, timeoutMs: number): unknown;
}

/** For runners that take one. Not a measure of speed: a case that hangs is found by its simulation. */
const CASE_TIMEOUT_MS = 120_000;

/** Makes cases of one subject. */
export class CaseList {
  readonly cases: ConformanceCase[] = [];

  constructor(readonly subject: string) {}

  add(rule: Rule, what: string, check: () => Promise<void>): void {
    const run = async (): Promise<void> => {
      try {
        await check();
      } catch (error) {
        throw new ConformanceFailure(this.subject, violatedRule(error) ?? rule, error);
      }
    };
    this.cases.push({ rule, name: `${rule}: ${what}`, run });
  }
}

/** What was done against a declaration breaks the rule about it, whatever case it was seen in. */
function violatedRule(error: unknown): Rule | null {
  if (!(error instanceof ViolationError)) return null;
  const { kind } = error.violation;
  return kind === 'overspent' || kind === 'leaked' ? 'no-unit-holds-more-than-declared' : 'writeout-is-funded';
}

/** Gives cases to a runner. */
export function register(title: string, cases: readonly ConformanceCase[], runner: TestRunner): void {
  runner.describe(title, () => {
    for (const { name, run } of cases) runner.it(name, run, CASE_TIMEOUT_MS);
  });
}

/** Runs cases one after the other. @returns those that failed, each naming its rule. */
export async function failuresOf(cases: readonly ConformanceCase[]): Promise<ConformanceFailure[]> {
  const failures: ConformanceFailure[] = [];
  for (const { run } of cases) {
    try {
      await run();
    } catch (error) {
      failures.push(error as ConformanceFailure);
    }
  }
  return failures;
}
