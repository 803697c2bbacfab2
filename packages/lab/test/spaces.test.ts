/** The three spaces, searched whole: nothing sticks under `composed`, and each rule that is taken away is missed for the stated reason. */
import { POLICY_NAMES } from '@tidemark/lab';
import { explainState, replay } from '@tidemark/testkit';
import { describe, expect, it } from 'vitest';
import { formatSpaces, runSpaces, SPACE_SEARCHES } from '../src/spaces/index.js';

const now = () => performance.now();

describe('a space', () => {
  it.each(
    SPACE_SEARCHES.map((search) => ({
      search,
      name: `${search.space}, ${search.answer}${search.without && ` without ${search.without}`}`,
    })),
  )(
    '$name',
    ({ search }) => {
      const [outcome] = runSpaces(now, [search]);
      const { result, found, isExpected } = outcome;
      const reasons = result.stuck.reasons.map(({ report }) => [report.cycles.map(({ nodes }) => nodes.join(' → ')), report.ends]);
      expect(isExpected, `${formatSpaces([outcome])}\n${JSON.stringify(reasons.slice(0, 4), null, 1)}`).toBe(true);
      if (search.expected.verdict === 'finishes') {
        expect(found).toBeNull();
        expect(result.nrDone).toBeGreaterThan(0);
        expect(result.nrStates).toBeGreaterThan(10_000); // or it says too little
      } else {
        const end = replay(result.model, found?.path ?? []).at(-1) as Uint8Array;
        expect(result.model.describeState(end)).toEqual(found?.state);
        if (search.expected.verdict === 'stuck') expect(explainState(result.model, end)).toEqual(result.stuck.reasons[0].report);
      }
    },
    120_000,
  );

  it.each(['local-chain', 'anonymous', 'hand-off'] as const)('%s is searched under every policy, and composed finishes', (space) => {
    const whole = SPACE_SEARCHES.filter((search) => search.space === space && search.without === '');
    expect(whole.map(({ answer }) => answer)).toEqual(expect.arrayContaining([...POLICY_NAMES]));
    expect(whole.find(({ answer }) => answer === 'composed')?.expected.verdict).toBe('finishes');
    for (const answer of ['none', 'memalloc']) expect(whole.find((search) => search.answer === answer)?.expected.verdict).toBe('stuck');
  });
});
