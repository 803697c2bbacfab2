/**
 * The answers that the spaces are searched under: the five policies as core ships them, and what is made of them to take one rule away.
 */
import { composedPolicy, Gfp, limitsPolicy, memallocFloor, type ReservePolicyFactory, reservePolicyNamed } from '@tidemark/core';
import { type PolicyName } from '../policies.js';

/** A policy as it is shipped. */
export function shipped(name: PolicyName): ReservePolicyFactory {
  return reservePolicyNamed(name);
}

/** Limits, (2) asked only when a unit begins, as the proposal did: no frame is known to be of the gap. */
export const LIMITS_AT_BEGIN: ReservePolicyFactory = (memory) => ({ ...limitsPolicy(memory), isTagged: () => false });

/** A policy whose units have no bound. */
export function unbounded(policy: ReservePolicyFactory): ReservePolicyFactory {
  return (memory) => ({ ...policy(memory), unitsOf: () => Number.POSITIVE_INFINITY });
}

/** Limits, (1) without (2). */
export const LIMITS_UNBOUNDED = unbounded(LIMITS_AT_BEGIN);

/** Composed without M8's semaphores. */
export const COMPOSED_UNBOUNDED = unbounded(composedPolicy);

/** Composed with an atomic floor that is a share of `min` (M3, off). */
export const COMPOSED_SHARES: ReservePolicyFactory = (memory) => {
  const policy = composedPolicy(memory);
  return {
    ...policy,
    floorOf: (task, gfp) => ((gfp & Gfp.ATOMIC) === 0 ? policy.floorOf(task, gfp) : memallocFloor(memory.min, 'atomic')),
  };
};
