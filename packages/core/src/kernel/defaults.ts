/** What the kernel chooses when nobody says otherwise: the hook that claims something first, and the reclaim rule that goes with the reserve policy. */
import { KernelError } from '../base/errno.js';
import type { Memory } from '../mm/memory.js';
import { nofsRule, type ReclaimRuleFactory, reachRule } from '../reclaim/reclaim-rule.js';

/** The reclaim rule that belongs to the reserve policy. */
export function defaultRule({ reserve }: Memory): ReclaimRuleFactory {
  return reserve.policy.reclaimRule === 'reach' ? reachRule : nofsRule;
}

/** @throws KernelError EOPNOTSUPP naming those who were asked. */
export function claimant<T extends { readonly name: string; claims(backing: object): boolean }>(
  hooks: T[],
  backing: object,
  doing: string,
): T {
  const hook = hooks.find((candidate) => candidate.claims(backing));
  if (hook === undefined)
    throw new KernelError('EOPNOTSUPP', `cannot ${doing}: no package claims it (asked ${hooks.map((h) => h.name).join(', ')})`);
  return hook;
}
