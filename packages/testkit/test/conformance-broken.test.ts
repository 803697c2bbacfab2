/** The suite on filesystems that are broken on purpose, each in one way: it fails, and names the rule. */
import { memfs } from '@tidemark/testkit';
import { breakFileSystem, defectsFor, failuresOf, fileSystemCases } from '@tidemark/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { memfsSubject } from './support/subjects.js';

describe('memfs, broken', () => {
  const whole = memfsSubject(memfs);
  it.each(defectsFor(whole.supports))('$rule: $what', { timeout: 120_000 }, async (defect) => {
    const subject = {
      ...memfsSubject(breakFileSystem(memfs, defect), 'a broken memfs'),
      supports: { ...whole.supports, ...defect.claims },
    };
    const cases = fileSystemCases(subject, { effort: 1 }).filter(({ rule }) => rule === defect.rule);
    const failures = await failuresOf(cases);
    expect(failures.map(({ rule }) => rule)).toContain(defect.rule);
    for (const { message } of failures) expect(message).toContain(`a broken memfs breaks the rule `);
  });
});
