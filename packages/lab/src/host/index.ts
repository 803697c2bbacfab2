/**
 * `@tidemark/lab/host`: the lab on Node.
 *
 * @packageDocumentation
 */
import { drainReactions } from '@tidemark/testkit/host';
import type { Note } from '../models/lab-kernel.js';
import type { LabPolicy, PolicyName } from '../policies.js';
import type { RunResult } from '../result.js';
import { runTopology } from '../run.js';
import { runScope, SCOPE_CASES, SCOPE_RULES, type ScopeResult } from '../scopes.js';
import type { Topology } from '../topology.js';

/** `runTopology` on Node. */
export function runOnNode(topology: Topology, policy: PolicyName | LabPolicy, seed: number, onNote?: Note): Promise<RunResult> {
  return runTopology(topology, policy, { seed, afterReactions: drainReactions, onNote });
}

/** T12 by reclaim rule: every case under every rule. */
export async function runScopesOnNode(seed: number): Promise<ScopeResult[]> {
  const results: ScopeResult[] = [];
  for (const scope of SCOPE_CASES)
    for (const rule of SCOPE_RULES) results.push(await runScope(scope, rule, { seed, afterReactions: drainReactions }));
  return results;
}
