/**
 * One run: a topology under a policy and a seed, and its verdict (M23).
 *
 *     completes       the load ended and everything was given back
 *     refused         admission ended with a typed error, before the load began
 *     hangs           the testkit's oracle: quiescent but not done (M22); with the cycle of the stall report
 *     out of memory   nothing is stuck, but an operation failed with ENOMEM
 *
 * Anything else that goes wrong in a run is a defect, of the lab or below, and is thrown with the seed that replays it.
 */
import { isKernelError, type KernelError } from '@tidemark/core';
import { type Outcome, type Scenario, simulate, type SimulateOptions } from '@tidemark/testkit';
import type { Note } from './models/lab-kernel.js';
import { type LabPolicy, labPolicy, type PolicyName } from './policies.js';
import type { Cycle, RunResult, TopologyNode, Verdict } from './result.js';
import { Stage, type Topology } from './topology.js';

/** Most events of a run. */
export const EVENTS_MAX = 3_000;
const PATIENCE_MS = 5_000;

/** Errors with which admission says no. */
const REFUSALS = ['ENOMEM', 'EDEADLK', 'EOPNOTSUPP', 'EINVAL'];

export interface RunOptions {
  readonly seed: number;
  /** As in the testkit. */
  readonly afterReactions: SimulateOptions['afterReactions'];
  /** For a timeline. */
  readonly onNote?: Note;
}

/** A run that ended in no verdict. */
export class LabDefect extends Error {
  constructor(
    readonly outcome: Outcome,
    topology: string,
    policy: string,
  ) {
    const { seed, error, nrEvents } = outcome;
    const what = error instanceof Error ? error.message : String(error);
    super(`${topology} under ${policy}, seed ${seed}: no verdict after ${nrEvents} events: ${what}`, { cause: error });
    this.name = 'LabDefect';
  }
}

/** Runs `topology` under a policy, or under one with something exchanged. @throws LabDefect for a run without a verdict. */
export async function runTopology(topology: Topology, policyOrName: PolicyName | LabPolicy, options: RunOptions): Promise<RunResult> {
  const policy = typeof policyOrName === 'string' ? labPolicy(policyOrName) : policyOrName;
  let stage: Stage | null = null;
  const scenario: Scenario = {
    name: topology.name,
    run: (world) => {
      stage = new Stage(world, policy, options.onNote ?? null);
      return topology.run(stage);
    },
  };
  const { seed, afterReactions } = options;
  const outcome = await simulate(scenario, { seed, afterReactions, eventsMax: EVENTS_MAX, patienceMs: topology.patienceMs ?? PATIENCE_MS });
  const { isAdmitted, nodes } = stage as unknown as Stage;
  const verdict = verdictOf(outcome, isAdmitted);
  if (verdict === null) throw new LabDefect(outcome, topology.name, policy.name);
  const error = isKernelError(outcome.error) ? (outcome.error as KernelError) : null;
  return { topology: topology.name, policy: policy.name, seed, verdict, error, cycle: cycleOf(outcome, nodes), nodes, outcome };
}

function verdictOf({ verdict, error }: Outcome, isAdmitted: boolean): Verdict | null {
  if (verdict === 'completes') return 'completes';
  if (verdict === 'stuck') return 'hangs';
  if (!isKernelError(error)) return null;
  if (!isAdmitted) return REFUSALS.includes(error.code) ? 'refused' : null;
  return error.code === 'ENOMEM' ? 'out-of-memory' : null;
}

/** Of the cycles of the stall reports the one that passes most nodes of the writeout graph; of several, the shortest. */
function cycleOf(outcome: Outcome, nodes: readonly TopologyNode[]): Cycle | null {
  const names = new Set(nodes.map(({ name }) => name));
  const nrNodes = (cycle: Cycle): number => cycle.nodes.filter((party) => names.has(party.slice(party.indexOf(': ') + 2))).length;
  const cycles = outcome.reports.flatMap(({ report }) => report.cycles);
  return cycles.sort((a, b) => nrNodes(b) - nrNodes(a) || a.nodes.length - b.nodes.length)[0] ?? null;
}
