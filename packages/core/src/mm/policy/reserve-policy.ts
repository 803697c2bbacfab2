/**
 * Reserve policies (M23): who may take which frame when memory is gone, as one exchangeable part.
 *
 * Writing a page out to free memory needs memory, and there have been several answers to where it comes from. Each is a policy that can be
 * selected, so that the same load on the same topology shows which of them hangs and which does not:
 *
 *     none       everybody stops at the ordinary floor
 *     memalloc   one reserve below it for whoever does writeout, shares of it for others; no owner, no cap
 *     limits     the proposal of 2004: a floor for each level of the writeout graph
 *     vmio       the proposal of 2007–08: accounts for the sending and receiving of swap paths
 *     composed   accounts for every node, three absolute floors, bounded units, hand-off by level: Tidemark's own, and the default
 *
 * What differs is here and only here; what a policy does not say (M1, M9, M18, M19) is the same under all. A policy is asked on the slow path
 * only: as long as free memory is above `low` nobody looks at it.
 */
import type { TaskContext } from '../../task/task-context.js';
import type { MaybePromise } from '../../base/maybe-promise.js';
import type { Clock } from '../../task/clock.js';
import type { WaitParty } from '../../task/wait-queue.js';
import type { ReserveAccount, ReserveTree } from '../reserve.js';
import type { WriteoutGraph, WriteoutNode } from '../writeout-graph.js';

/** What becomes of a caller when free memory has come down to its floor. */
export const OnNo = {
  /** It fails at once, without reclaim and without waiting. */
  FAIL: 0,
  /** It spends its account, and waits for room in it if it may wait. */
  ACCOUNT: 1,
  /** It reclaims and waits, as anybody else. */
  RECLAIM: 2,
  /** It waits until free memory is above its own floor. */
  WAIT: 3,
} as const;
export type OnNo = (typeof OnNo)[keyof typeof OnNo];

/** What a policy is made of: levels of one kernel's memory, in frames, as they are now. */
export interface PolicyMemory {
  readonly reserve: ReserveTree;
  readonly nrFree: number;
  /** The ordinary floor. */
  readonly min: number;
  /** Null where nobody has bound one: then nothing is throttled by time. */
  readonly clock: Clock | null;
  /** True if the reclaimer has given up: nobody waits for it then. */
  readonly isReclaimHopeless: boolean;
  /** What is on its way out, for stall reports of those that a policy holds up. */
  inFlight?(): Iterable<WaitParty>;
}

export interface ReservePolicy {
  readonly name: string;
  /** Which reclaim scopes belong to it (M11): `reach`, or `nofs` as its time had it. */
  readonly reclaimRule: 'reach' | 'nofs';
  /** Rights and pins cross local edges (M14, M16). */
  readonly rightsCrossEdges: boolean;
  /** A writeout allocation makes a clean pass before it spends its account (M6). */
  readonly hasCleanPass: boolean;
  /** A dirty page holds the right to the unit that will write it (M7). */
  readonly fundsDirtyPages: boolean;
  /** What reclaim can neither drop nor swap out is bounded (M10). */
  readonly checksInequality: boolean;
  /** A received packet that needed the reserve is kept from sockets that are not `memalloc` (M12). */
  readonly dropsTagged: boolean;

  /** Frames of the account of a node of `graph`: what admission sets aside for it (M5). */
  limitOf(node: WriteoutNode, graph: WriteoutGraph): number;
  /** The ordinary floor, from that of M1 and the frames all accounts would have with `addedFrames` more in them. */
  minOf(baseFrames: number, addedFrames: number): number;
  /** Frames that must stay free when this caller takes one (M3). A table look-up. */
  floorOf(task: TaskContext, gfp: number): number;
  /** What becomes of this caller when free memory is at its floor. */
  onNo(task: TaskContext, gfp: number): OnNo;
  /** The account in which this caller waits for ACCOUNT and WAIT; null: it has none, and fails. */
  accountOf(task: TaskContext): ReserveAccount | null;
  /** True if a frame taken with `nrFree` free is one that the caller got only by a right to the reserve: the tag of M12. */
  isTagged(task: TaskContext, gfp: number, nrFree: number): boolean;
  /** Units of an account that may be out at once, now (M8). */
  unitsOf(account: ReserveAccount): number;
  /**
   * Holds up a caller before it reclaims.
   * @returns nothing if it may go on; else when.
   */
  throttle?(task: TaskContext): MaybePromise<void>;
  /** Free memory has risen: lets those go on that `throttle` held up. */
  onFreed?(): void;
}

/** Makes the policy of one kernel; registered under `RESERVE_POLICY`. */
export type ReservePolicyFactory = (memory: PolicyMemory) => ReservePolicy;
