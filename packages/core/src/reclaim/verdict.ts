/**
 * The verdict on one candidate (M18): a pure function from the page's state and what the scan may do. Rows are tried in order.
 *
 * | # | page is | then |
 * |---|---|---|
 * | 1 | locked, or in use by somebody across a wait | keep |
 * | 3 | under writeback | mark it to be freed at its end; never wait (trap 6) |
 * | 4 | young: for the second time, for the first time | activate, keep |
 * | 5 | anonymous without slot, may not swap / may | activate / swap it out |
 * | 7 | dirty, file | mark, activate; the flusher writes, not reclaim |
 * | 8 | dirty, with slot, may not write / may | keep / write it |
 * | 9 | clean, its owner keeps something for it | ask the owner: release, or activate |
 * | 10 | clean | free |
 *
 * Rows 2 and 6 (unevictable, mapped by a process) have no pages here: what is kept or pinned is not on the lists.
 */
import { PG } from '../mm/frame-table.js';

export const Verdict = { KEEP: 0, ACTIVATE: 1, IN_WRITEBACK: 2, ADD_TO_SWAP: 3, FLUSH: 4, WRITE: 5, FREE: 6, RELEASE: 7 } as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** Judges a page by its flags, users, kind, and whether this scan may swap out. */
export function judge(flags: number, refs: number, isAnonymous: boolean, maySwapOut: boolean): Verdict {
  if ((flags & PG.LOCKED) !== 0 || refs > 0) return Verdict.KEEP;
  if ((flags & PG.WRITEBACK) !== 0) return Verdict.IN_WRITEBACK;
  if ((flags & PG.YOUNG) !== 0) return (flags & PG.REFERENCED) !== 0 ? Verdict.ACTIVATE : Verdict.KEEP;
  if (isAnonymous && (flags & PG.SWAPCACHE) === 0) return maySwapOut ? Verdict.ADD_TO_SWAP : Verdict.ACTIVATE;
  if ((flags & PG.DIRTY) !== 0) {
    if (!isAnonymous) return Verdict.FLUSH;
    return maySwapOut ? Verdict.WRITE : Verdict.KEEP;
  }
  return (flags & PG.PRIVATE) !== 0 ? Verdict.RELEASE : Verdict.FREE;
}
