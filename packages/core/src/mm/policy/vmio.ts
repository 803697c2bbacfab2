/**
 * Accounts for the sending and receiving of swap paths (M23): the proposal of 2007–08.
 *
 * Nodes that a swap area, or another pin, reaches have an account; what they may ask for is added to every mark. All are on one level, units
 * are not bounded, and nothing is set aside for the writeout of files: it is ordinary, and reclaim has the right to the frames under `min` as
 * it always had, down to what the accounts may still ask for.
 */
import { limitFrames } from '../footprint.js';
import { Gfp } from '../gfp.js';
import { ticketOf } from '../ticket.js';
import type { WriteoutGraph, WriteoutNode } from '../writeout-graph.js';
import { memallocFloor } from './memalloc.js';
import { OnNo, type ReservePolicyFactory } from './reserve-policy.js';

/** Kinds of nodes that pin what is below them: a swap area, a bitmap file. */
const PINNING_KINDS: readonly string[] = ['swap-area', 'bitmap-file'];

function isOnSwapPath(node: WriteoutNode, graph: WriteoutGraph): boolean {
  return graph.nodes.some((top) => PINNING_KINDS.includes(top.kind) && graph.reaches(top, node));
}

export const vmioPolicy: ReservePolicyFactory = (memory) => {
  const { reserve } = memory;
  return {
    name: 'vmio',
    reclaimRule: 'nofs',
    rightsCrossEdges: false,
    hasCleanPass: false,
    fundsDirtyPages: false,
    checksInequality: false,
    dropsTagged: true,
    limitOf: (node, graph) => (isOnSwapPath(node, graph) ? limitFrames(node.footprint) : 0),
    minOf: (baseFrames, addedFrames) => baseFrames + reserve.limitFrames + addedFrames,
    floorOf: (task, gfp) => {
      const { emergencyFrames, limitFrames } = reserve;
      if (task.isReclaimer && (gfp & Gfp.NO_RESERVE) === 0) return emergencyFrames;
      return (gfp & Gfp.ATOMIC) === 0 ? memory.min : emergencyFrames + memallocFloor(memory.min - limitFrames, 'atomic');
    },
    onNo: (task, gfp) => {
      const limit = ticketOf(task)?.account.limitFrames ?? 0;
      if (limit > 0 && (gfp & Gfp.NO_RESERVE) === 0) return OnNo.ACCOUNT;
      return task.isReclaimer ? OnNo.FAIL : OnNo.RECLAIM;
    },
    accountOf: (task) => ticketOf(task)?.account ?? null,
    isTagged: () => false, // what an account paid for is tagged when it is charged
    unitsOf: () => Number.POSITIVE_INFINITY,
  };
};
