/**
 * The answers that the spaces are searched under: the five policies as core ships them, and what is made of them to take one rule away.
 */
import {
  composedPolicy,
  Gfp,
  levelFloors,
  limitsPolicy,
  memallocFloor,
  type ReserveAccount,
  type ReservePolicyFactory,
  reservePolicyNamed,
} from '@tidemark/core';
import { type PolicyName } from '../policies.js';

/** A policy as it is shipped. */
export function shipped(name: PolicyName): ReservePolicyFactory {
  return reservePolicyNamed(name);
}

/** Limits, (1) without (2): no frame is known to be of the gap. */
export const LIMITS_UNBOUNDED: ReservePolicyFactory = (memory) => ({ ...limitsPolicy(memory), isTagged: () => false });

/** Limits, (2) asked only when a unit begins, as the proposal did: below the limit of its upper neighbour a node has one unit out. */
export const LIMITS_AT_BEGIN: ReservePolicyFactory = (memory) => {
  const limitAbove = ({ level }: ReserveAccount): number => {
    const floors = levelFloors(memory.reserve.accounts, memory.reserve.atomicFrames);
    return level + 2 < floors.length ? floors[level + 1] : memory.min;
  };
  return {
    ...LIMITS_UNBOUNDED(memory),
    unitsOf: (account) => (memory.nrFree > limitAbove(account) ? Number.POSITIVE_INFINITY : 1),
  };
};

/** Composed without M8's semaphores. */
export const COMPOSED_UNBOUNDED: ReservePolicyFactory = (memory) => ({
  ...composedPolicy(memory),
  unitsOf: () => Number.POSITIVE_INFINITY,
});

/** Composed with an atomic floor that is a share of `min` (M3, off). */
export const COMPOSED_SHARES: ReservePolicyFactory = (memory) => {
  const policy = composedPolicy(memory);
  return {
    ...policy,
    floorOf: (task, gfp) => ((gfp & Gfp.ATOMIC) === 0 ? policy.floorOf(task, gfp) : memallocFloor(memory.min, 'atomic')),
  };
};
