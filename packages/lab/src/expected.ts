/**
 * What the design predicts (M23), cell by cell, and what differs from it. A cell lists the verdicts that it allows: `H/O` is either, `?` is
 * "find out" and allows all.
 */
import { POLICY_NAMES, type PolicyName } from './policies.js';
import { type Verdict, VERDICT_LETTERS } from './result.js';

/** Columns in the order of `POLICY_NAMES`: none, memalloc, limits, vmio, composed. */
const MATRIX: Readonly<Record<string, readonly string[]>> = {
  T1: ['C', 'C', 'C', 'C', 'C'],
  T2: ['C', 'C', 'C', 'C', 'C'],
  T3: ['C', 'C', 'C', 'C', 'C'],
  T4: ['H/O', 'H', '?', 'C', 'C'],
  T5: ['H/O', 'H', '?', 'C', 'C'],
  T6: ['H', 'H', 'C', 'H', 'C'],
  T7: ['H', 'H', '?', 'H', 'C'],
  T8: ['H', 'H', '?', 'H', 'C'],
  T8b: ['?', '?', '?', '?', 'R'],
  T9: ['H/O', 'H', 'H', 'C', 'C'],
  T10: ['H/O', '?', 'C', '?', 'C'],
  T11a: ['C', 'C', 'C', 'C', 'C'],
  T11b: ['H/O', 'H', '?', 'C', 'C'],
  T11c: ['H', 'H', 'H', 'H', 'R'],
  T12: ['?', '?', '?', '?', 'C'],
  T13: ['H/O', 'H', 'H', 'C', 'C'],
  T14: ['H', 'H', '?', 'H', 'R'],
};

/** What the design says of a cell: `C`, `H/O`, `?`; null for a topology that it does not know. */
export function predicted(topology: string, policy: PolicyName): string | null {
  return MATRIX[topology]?.[(POLICY_NAMES as readonly string[]).indexOf(policy)] ?? null;
}

/** True if the design allows a verdict in a cell. */
export function isAsDesigned(topology: string, policy: PolicyName, verdict: Verdict): boolean {
  const letters = predicted(topology, policy);
  return letters === null || letters === '?' || letters.split('/').includes(VERDICT_LETTERS[verdict]);
}
