/** The matrix at its preconditions (M23): composed ends as the design says, none and memalloc hang on the localhost chains as expected. */
import { predicted, runCell, TOPOLOGIES, VERDICT_LETTERS } from '@tidemark/lab';
import { runOnNode } from '@tidemark/lab/host';
import { describe, expect, it } from 'vitest';

const NR_SEEDS = 20;

describe('composed', () => {
  for (const topology of TOPOLOGIES) {
    it(`${topology.name}, ${topology.title}: ${predicted(topology.name, 'composed')}`, async () => {
      const { verdict, counts, eventsPeak, error } = await runCell(topology, 'composed', NR_SEEDS, runOnNode);
      expect(VERDICT_LETTERS[verdict]).toBe(predicted(topology.name, 'composed'));
      expect(counts[verdict]).toBe(NR_SEEDS);
      expect(eventsPeak).toBeLessThanOrEqual(3_000);
      if (verdict === 'refused') expect(error).toMatch(/^(EDEADLK|EINVAL): /);
    });
  }
});
