/**
 * Which devices become members, and as what, when an array is assembled (M17). Pure: superblocks in, a decision out.
 *
 *     the freshest (most events) says what the array is, and who is in which slot
 *     another array, another geometry, a number or uuid seen twice     refused
 *     two or more events behind, or the freshest calls it faulty       refused: it has missed writes; it may be added again
 *     two that call each other faulty                                  nothing is assembled: both halves were used alone, and only a person
 *                                                                      can say which is the array
 */
import { KernelError } from '@tidemark/core';
import { equalBytes, formatUuid } from '../format/fields.js';
import { Role, type Superblock } from '../format/superblock.js';

/** A device that offers itself. */
export interface Candidate {
  readonly name: string;
  readonly superblock: Superblock;
}

/** What was decided about one of them. */
export type Verdict =
  | { readonly as: 'in-sync' | 'recovering'; readonly slot: number }
  | { readonly as: 'spare' }
  | { readonly as: 'refused'; readonly why: string };

export interface Selection {
  readonly freshest: Superblock;
  /** One for each candidate. */
  readonly verdicts: readonly Verdict[];
}

/** Decides. @throws KernelError EINVAL for no candidate, two arrays, or two halves that were used alone. */
export function selectMembers(candidates: readonly Candidate[]): Selection {
  if (candidates.length === 0) throw new KernelError('EINVAL', 'an array is assembled of one device at least');
  const freshest = candidates.reduce(
    (best, { superblock }) => (superblock.events > best.events ? superblock : best),
    candidates[0].superblock,
  );
  for (const { name, superblock } of candidates) {
    if (equalBytes(superblock.setUuid, freshest.setUuid)) continue;
    throw new KernelError(
      'EINVAL',
      `${name} belongs to array ${formatUuid(superblock.setUuid)}, others to ${formatUuid(freshest.setUuid)}: one array at a time`,
    );
  }
  checkSplit(candidates, freshest);
  return { freshest, verdicts: candidates.map((candidate) => judge(candidate, candidates, freshest)) };
}

/** Did another one go on without the freshest? */
function checkSplit(candidates: readonly Candidate[], freshest: Superblock): void {
  const called = (by: Superblock, devNumber: number): boolean => devNumber >= by.roles.length || by.roles[devNumber] >= Role.JOURNAL;
  const own = candidates.find(({ superblock }) => superblock === freshest) as Candidate;
  for (const { name, superblock } of candidates) {
    if (superblock === freshest || superblock.devNumber === freshest.devNumber) continue;
    const isOut = called(freshest, superblock.devNumber) && !called(superblock, superblock.devNumber);
    if (!isOut || !called(superblock, freshest.devNumber) || called(freshest, freshest.devNumber)) continue;
    throw new KernelError(
      'EINVAL',
      `${own.name} and ${name} were used without each other: assemble the one that is right, and add the other to it`,
    );
  }
}

function judge(candidate: Candidate, candidates: readonly Candidate[], freshest: Superblock): Verdict {
  const { superblock } = candidate;
  const refused = (why: string): Verdict => ({ as: 'refused', why });
  const { sizeSectors, raidDisks, events } = freshest;
  if (superblock.sizeSectors !== sizeSectors || superblock.raidDisks !== raidDisks)
    return refused(`it says ${superblock.raidDisks} members of ${superblock.sizeSectors} sectors, not ${raidDisks} of ${sizeSectors}`);
  for (const other of candidates) {
    if (other === candidate) continue;
    if (equalBytes(other.superblock.deviceUuid, superblock.deviceUuid)) return refused(`${other.name} is the same member`);
    if (other.superblock.devNumber === superblock.devNumber && other.superblock.events >= superblock.events)
      return refused(`${other.name} has its number, ${superblock.devNumber}`);
  }
  const role = superblock.devNumber < freshest.roles.length ? freshest.roles[superblock.devNumber] : Role.SPARE;
  if (superblock.events + 1n < events) return refused(`it is ${events - superblock.events} events behind`);
  if (role === Role.FAULTY) return refused('it failed, as the others say');
  if (role >= Role.JOURNAL) return { as: 'spare' };
  const hasMissed = superblock.events < events && superblock.roles[superblock.devNumber] !== role;
  if (hasMissed) return refused('it does not know of its own slot');
  return { as: superblock.recoveryOffset === null ? 'in-sync' : 'recovering', slot: role };
}
