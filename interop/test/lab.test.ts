/** The lab's topologies under the policy composed, 300 seeds each (M23): none hangs, none runs out, and what is refused is refused always. */
import { predicted, runCell, TOPOLOGIES, VERDICT_LETTERS } from '@tidemark/lab';
import { runOnNode } from '@tidemark/lab/host';
import { describe, expect, it } from 'vitest';

const NR_SEEDS = 300;

describe(`composed, ${NR_SEEDS} seeds`, () => {
  for (const topology of TOPOLOGIES) {
    it(`${topology.name}, ${topology.title}`, { timeout: 300_000 }, async () => {
      const { verdict, counts } = await runCell(topology, 'composed', NR_SEEDS, runOnNode);
      expect(VERDICT_LETTERS[verdict]).toBe(predicted(topology.name, 'composed'));
      expect(counts[verdict]).toBe(NR_SEEDS);
    });
  }
});
