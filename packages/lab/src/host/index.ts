/**
 * `@tidemark/lab/host`: the lab on Node.
 *
 * @packageDocumentation
 */
import { drainReactions } from '@tidemark/testkit/host';
import type { Note } from '../models/lab-kernel.js';
import type { PolicyName } from '../policies.js';
import type { RunResult } from '../result.js';
import { runTopology } from '../run.js';
import type { Topology } from '../topology.js';

/** `runTopology` on Node. */
export function runOnNode(topology: Topology, policy: PolicyName, seed: number, onNote?: Note): Promise<RunResult> {
  return runTopology(topology, policy, { seed, afterReactions: drainReactions, onNote });
}
