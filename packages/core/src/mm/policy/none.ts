/**
 * No reserve (M23): everybody stops at the ordinary floor, whoever they are and whatever they do. Tickets are only marks.
 */
import { OnNo, type ReservePolicyFactory } from './reserve-policy.js';

export const nonePolicy: ReservePolicyFactory = (memory) => ({
  name: 'none',
  reclaimRule: 'nofs',
  rightsCrossEdges: false,
  hasCleanPass: false,
  fundsDirtyPages: false,
  checksInequality: false,
  dropsTagged: false,
  limitOf: () => 0,
  minOf: (baseFrames) => baseFrames,
  floorOf: () => memory.min,
  onNo: (task) => (task.isReclaimer ? OnNo.FAIL : OnNo.RECLAIM), // reclaim does not enter itself
  accountOf: () => null,
  isTagged: () => false,
  unitsOf: () => Number.POSITIVE_INFINITY,
});
