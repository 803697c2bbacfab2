/** The suite on fs-log broken on purpose, each time in one way: it fails, and names the rule. */
import { breakFileSystem, defectsFor, failuresOf, fileSystemCases } from '@tidemark/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { fsLog } from '../src/index.js';
import { logSubject } from './subject.js';

describe('fs-log, broken', () => {
  const whole = logSubject(fsLog);
  // What needs no disk is shown on memfs already.
  const onlyHere = defectsFor(whole.supports).filter(({ needs = [] }) => needs.includes('persistent') || needs.includes('crashConsistent'));
  it.each(onlyHere)('$rule: $what', { timeout: 120_000 }, async (defect) => {
    const subject = logSubject(breakFileSystem(fsLog, defect), 'a broken fs-log');
    const cases = fileSystemCases(subject).filter(({ rule }) => rule === defect.rule);
    const failures = await failuresOf(cases);
    expect(failures.map(({ rule }) => rule)).toContain(defect.rule);
  });
});
