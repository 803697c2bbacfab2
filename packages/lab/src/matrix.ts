/**
 * The matrix (M23): every topology under every policy, some seeds a cell. A cell hangs, or runs out of memory, if one of its seeds does: C
 * means that all of them complete.
 */
import { isAsDesigned, predicted } from './expected.js';
import { POLICY_NAMES, type PolicyName } from './policies.js';
import type { Cycle, RunResult, TopologyNode, Verdict } from './result.js';
import type { Topology } from './topology.js';

/** Runs of one cell. */
export interface MatrixCell {
  readonly topology: string;
  readonly policy: PolicyName;
  readonly verdict: Verdict;
  /** What the design says: a letter, `H/O`, `?`, or null. */
  readonly predicted: string | null;
  readonly isAsDesigned: boolean;
  /** Runs. */
  readonly seeds: number;
  /** Runs by verdict. */
  readonly counts: Readonly<Record<Verdict, number>>;
  /** The first seed with the cell's verdict, unless it completes. */
  readonly seed?: number;
  readonly cycle?: Cycle;
  /** What it was refused with, or ran out with. */
  readonly error?: string;
  readonly transport: Topology['transport'];
  readonly nodes: readonly TopologyNode[];
  /** Most events of a run. */
  readonly eventsPeak: number;
}

/** Runs one seed. */
export type RunSeed = (topology: Topology, policy: PolicyName, seed: number) => Promise<RunResult>;

/** Verdicts, the one that tells most of a cell first. */
const WEIGHT: readonly Verdict[] = ['hangs', 'out-of-memory', 'refused', 'completes'];

/** Runs `nrSeeds` seeds of a cell, from 1 on. @throws LabDefect. */
export async function runCell(topology: Topology, policy: PolicyName, nrSeeds: number, run: RunSeed, firstSeed = 1): Promise<MatrixCell> {
  const counts: Record<Verdict, number> = { completes: 0, refused: 0, hangs: 0, 'out-of-memory': 0 };
  const firsts = new Map<Verdict, RunResult>();
  let eventsPeak = 0;
  for (let seed = firstSeed; seed < firstSeed + nrSeeds; seed++) {
    const result = await run(topology, policy, seed);
    counts[result.verdict]++;
    eventsPeak = Math.max(eventsPeak, result.outcome.nrEvents);
    if (!firsts.has(result.verdict)) firsts.set(result.verdict, result);
  }
  const verdict = WEIGHT.find((candidate) => counts[candidate] > 0) ?? 'completes';
  const first = firsts.get(verdict) as RunResult;
  return {
    topology: topology.name,
    policy,
    verdict,
    predicted: predicted(topology.name, policy),
    isAsDesigned: isAsDesigned(topology.name, policy, verdict),
    seeds: nrSeeds,
    counts,
    ...(verdict === 'completes' ? {} : { seed: first.seed }),
    ...(first.cycle === null ? {} : { cycle: first.cycle }),
    ...(first.error === null ? {} : { error: `${first.error.code}: ${first.error.message}` }),
    transport: topology.transport,
    nodes: first.nodes,
    eventsPeak,
  };
}

/** Runs every cell, telling each as it is there. @throws LabDefect; KernelError EINVAL for no seeds. */
export async function runMatrix(
  topologies: readonly Topology[],
  nrSeeds: number,
  run: RunSeed,
  onCell: (cell: MatrixCell, done: number, all: number) => void = () => {},
): Promise<MatrixCell[]> {
  const cells: MatrixCell[] = [];
  for (const topology of topologies) {
    for (const policy of POLICY_NAMES) {
      const cell = await runCell(topology, policy, nrSeeds, run);
      cells.push(cell);
      onCell(cell, cells.length, topologies.length * POLICY_NAMES.length);
    }
  }
  return cells;
}
