/** Policies by name: for boot options and command lines. */
import { KernelError } from '../../base/errno.js';
import { composedPolicy } from './composed.js';
import { limitsPolicy } from './limits.js';
import { memallocPolicy } from './memalloc.js';
import { nonePolicy } from './none.js';
import type { ReservePolicyFactory } from './reserve-policy.js';
import { vmioPolicy } from './vmio.js';

const POLICIES = {
  none: nonePolicy,
  memalloc: memallocPolicy(),
  'memalloc+halfThrottle': memallocPolicy({ halfThrottle: true }),
  limits: limitsPolicy,
  vmio: vmioPolicy,
  composed: composedPolicy,
} as const satisfies Record<string, ReservePolicyFactory>;

export type ReservePolicyName = keyof typeof POLICIES;

/** Every name, the default last. */
export const RESERVE_POLICY_NAMES = Object.keys(POLICIES) as ReservePolicyName[];

/** @throws KernelError EINVAL naming those that are known. */
export function reservePolicyNamed(name: string): ReservePolicyFactory {
  if (!Object.hasOwn(POLICIES, name)) {
    throw new KernelError('EINVAL', `there is no reserve policy ${JSON.stringify(name)}: known are ${RESERVE_POLICY_NAMES.join(', ')}`);
  }
  return POLICIES[name as ReservePolicyName];
}
