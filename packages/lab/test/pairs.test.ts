/** Off/on pairs: without its mechanism a topology hangs for the stated reason, with it the same seed completes. */
import { lacksOfReason, PAIRS } from '@tidemark/lab';
import { runOnNode } from '@tidemark/lab/host';
import { describe, expect, it } from 'vitest';

describe('without', () => {
  for (const { mechanism, without, off, on, reason } of PAIRS) {
    it(`${without} (${mechanism}): hangs on ${reason.chain.join(' → ')}`, async () => {
      for (let seed = 1; seed <= 3; seed++) {
        expect(lacksOfReason(reason, await runOnNode(off.topology, off.policy, seed)), `off, seed ${seed}`).toEqual([]);
        expect((await runOnNode(on.topology, on.policy, seed)).verdict, `on, seed ${seed}`).toBe('completes');
      }
    });
  }
});
