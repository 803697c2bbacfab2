/** T12: four cases by reclaim rule, as the design says (M11, M23). */
import { runScope, SCOPE_CASES, SCOPE_RULES, SCOPES_PREDICTED } from '@tidemark/lab';
import { drainReactions } from '@tidemark/testkit/host';
import { describe, expect, it } from 'vitest';

describe('T12', () => {
  for (const scope of SCOPE_CASES) {
    for (const rule of SCOPE_RULES) {
      it(`${scope}, ${rule}: ${SCOPES_PREDICTED[scope][rule]}`, async () => {
        for (let seed = 1; seed <= 5; seed++) {
          const { verdict, outcome } = await runScope(scope, rule, { seed, afterReactions: drainReactions });
          expect(verdict, `seed ${seed}`).toBe(SCOPES_PREDICTED[scope][rule]);
          if (verdict === 'hangs')
            expect(outcome.reports.flatMap(({ report }) => report.cycles.map(({ nodes }) => nodes.join())).join()).toContain(
              'task: ext3:a data',
            );
        }
      });
    }
  }
});
