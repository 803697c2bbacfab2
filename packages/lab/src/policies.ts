/**
 * The five policies as the lab runs them. Core's `RESERVE_POLICY` says who may take which frame; what else tells the answers apart is
 * the conduct of parts above memory, and a model reads it here (M23, "Why"):
 *
 * | | none | memalloc | limits | vmio | composed |
 * |---|---|---|---|---|---|
 * | the writeout graph is checked | – | – | – | – | yes |
 * | a local server belongs to its client's path | – | – | yes | – | yes |
 * | sizes and counts of requests come from the plan (M5) | – | – | – | – | yes |
 * | a server pins the file that a pinned client lies on (M14) | – | – | – | – | yes |
 * | a local server is held by the global dirty limit | yes | – | – | – | – |
 * | sockets are marked, the others' tagged packets dropped (M12) | – | – | – | yes | yes |
 * | every holder of received packets is in the reserve (M13) | – | – | – | yes | yes |
 */
import { KernelError, type Plugin, type ReservePolicyFactory, type TaskContext } from '@tidemark/core';

/** Names of the policies. */
export const POLICY_NAMES = ['none', 'memalloc', 'limits', 'vmio', 'composed'] as const;
/** Beside those of the matrix: the form of memalloc of 2012, with marked sockets and throttled callers. */
export const HALF_THROTTLE = 'memalloc+halfThrottle';
export type PolicyName = (typeof POLICY_NAMES)[number] | typeof HALF_THROTTLE;

/** One answer. */
export interface LabPolicy {
  readonly name: PolicyName;
  /** In place of what core knows by that name. */
  readonly reservePolicy?: ReservePolicyFactory;
  /** Registered last: strategies in place of core's and the plugins' own. */
  readonly plugins?: readonly Plugin[];
  /** How a local server asks for the cache pages of a WRITE. Default: with the ticket of its unit. */
  readonly serverRights?: (task: TaskContext) => TaskContext;
  readonly checksGraph: boolean;
  readonly plansSizes: boolean;
  readonly seesServers: boolean;
  readonly pinsBehindServers: boolean;
  readonly throttlesServers: boolean;
  readonly marksSockets: boolean;
}

const NO_CONDUCT = {
  checksGraph: false,
  plansSizes: false,
  seesServers: false,
  pinsBehindServers: false,
  throttlesServers: false,
  marksSockets: false,
};
const CONDUCT: Readonly<Record<PolicyName, Omit<LabPolicy, 'name'>>> = {
  none: { ...NO_CONDUCT, throttlesServers: true },
  memalloc: NO_CONDUCT,
  [HALF_THROTTLE]: { ...NO_CONDUCT, marksSockets: true },
  limits: { ...NO_CONDUCT, seesServers: true },
  vmio: { ...NO_CONDUCT, marksSockets: true },
  composed: {
    checksGraph: true,
    plansSizes: true,
    seesServers: true,
    pinsBehindServers: true,
    throttlesServers: false,
    marksSockets: true,
  },
};

/** The policy of that name. */
export function labPolicy(name: PolicyName): LabPolicy {
  return { name, ...CONDUCT[name] };
}

/** A word that names a policy. @throws KernelError EINVAL naming the known ones. */
export function policyNamed(word: string): PolicyName {
  const known = [...POLICY_NAMES, HALF_THROTTLE] as const;
  const name = known.find((candidate) => candidate === word);
  if (name === undefined) throw new KernelError('EINVAL', `there is no policy ${JSON.stringify(word)}; there are ${known.join(', ')}`);
  return name;
}
