/** What a run and a cell of the matrix come to: the shapes that are printed and returned as JSON. */
import type { KernelError } from '@tidemark/core';
import type { Outcome } from '@tidemark/testkit';
import type { PolicyName } from './policies.js';

/** C completes, R refused at admission with a typed error, H hangs, O runs out of memory. */
export type Verdict = 'completes' | 'refused' | 'hangs' | 'out-of-memory';

/** The letters of the design's matrix. */
export const VERDICT_LETTERS: Readonly<Record<Verdict, string>> = { completes: 'C', refused: 'R', hangs: 'H', 'out-of-memory': 'O' };

/** Whether a node of a topology is a plugin's or a model of one. */
export type NodeKind = 'model' | 'real';

/** A member of a topology's writeout graph. */
export interface TopologyNode {
  readonly name: string;
  readonly kind: NodeKind;
}

/** A cycle of a stall report. */
export interface Cycle {
  readonly nodes: readonly string[];
  readonly edges: readonly (readonly [from: string, to: string])[];
}

/** One run. */
export interface RunResult {
  readonly topology: string;
  readonly policy: PolicyName;
  readonly seed: number;
  readonly verdict: Verdict;
  /** What was refused with, or ran out with. */
  readonly error: KernelError | null;
  readonly cycle: Cycle | null;
  readonly nodes: readonly TopologyNode[];
  readonly outcome: Outcome;
}
