/**
 * The answers that the spaces are searched under: the five policies as core ships them, and what is made of them to take one rule away.
 */
import {
  composedPolicy,
  limitsPolicy,
  limitsPolicyByHand,
  memallocFloor,
  Gfp,
  type ReservePolicyFactory,
  reservePolicyNamed,
} from '@tidemark/core';
import { type PolicyName } from '../policies.js';
import type { Answer } from './model-memory.js';

/** A policy as it is shipped. */
export function shipped(name: PolicyName): Answer {
  return { policy: reservePolicyNamed(name) };
}

const unbounded = (policy: ReservePolicyFactory): ReservePolicyFactory => {
  return (memory) => ({ ...policy(memory), unitsOf: () => Number.POSITIVE_INFINITY });
};

/** M4 as it is sufficient: (1) by floors derived from the graph, (2) frame by frame and not only when a unit begins. */
export const LIMITS_BY_FRAME: Answer = { policy: unbounded(limitsPolicy), oneUnitBelow: true };
/** (1) without (2). */
export const LIMITS_UNBOUNDED: Answer = { policy: unbounded(limitsPolicy) };
/** (2) with floors set by hand. */
export function limitsByHand(floors: readonly number[]): Answer {
  return { policy: unbounded(limitsPolicyByHand(floors)), oneUnitBelow: true };
}

/** Composed without M8's semaphores. */
export const COMPOSED_UNBOUNDED: Answer = { policy: unbounded(composedPolicy) };

/** Composed with an atomic floor that is a share of `min` (M3, off). */
export const COMPOSED_SHARES: Answer = {
  policy: (memory) => {
    const policy = composedPolicy(memory);
    return {
      ...policy,
      floorOf: (task, gfp) => ((gfp & Gfp.ATOMIC) === 0 ? policy.floorOf(task, gfp) : memallocFloor(memory.min, 'atomic')),
    };
  },
};
