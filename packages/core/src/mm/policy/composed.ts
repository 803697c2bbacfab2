/**
 * The default policy (M2 to M8): every node has an account of its own, and there are three absolute, ordered floors.
 *
 *     emergency  0     tickets, each up to its own account's limit
 *     atomic     E     callers who cannot wait: E = Σ (limit − usage)
 *     ordinary   min   everybody else: max(M1, Σ limit + A)
 *
 * Floors are counts of frames, not shares of `min`: shares move when `min` does, and overlap (trap 5). A writeout allocation takes free memory above its floor; then makes the clean pass; then spends its account; then waits for room in it. So
 * nobody can starve what it depends on. Levels only decide who is served first.
 */
import { limitFrames } from '../footprint.js';
import { Gfp } from '../gfp.js';
import { ticketOf } from '../ticket.js';
import { OnNo, type ReservePolicyFactory } from './reserve-policy.js';

export const composedPolicy: ReservePolicyFactory = (memory) => {
  const { reserve } = memory;
  return {
    name: 'composed',
    reclaimRule: 'reach',
    rightsCrossEdges: true,
    hasCleanPass: true,
    fundsDirtyPages: true,
    checksInequality: true,
    dropsTagged: true,
    limitOf: (node) => limitFrames(node.footprint),
    minOf: (baseFrames, addedFrames) => Math.max(baseFrames, reserve.limitFrames + addedFrames + reserve.atomicFrames),
    floorOf: (_task, gfp) => ((gfp & Gfp.ATOMIC) === 0 ? memory.min : reserve.emergencyFrames),
    onNo: (task, gfp) => {
      if (task.ticket === null) return OnNo.RECLAIM;
      return (gfp & Gfp.NO_RESERVE) === 0 ? OnNo.ACCOUNT : OnNo.FAIL;
    },
    accountOf: (task) => ticketOf(task)?.account ?? null,
    isTagged: () => false, // what a ticket's account paid for is tagged when it is charged
    unitsOf: (account) => account.units.nrUnits,
  };
};
