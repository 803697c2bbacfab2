/**
 * How many anonymous and how many file pages one round of reclaim looks at (M18, "choice of lists").
 *
 * No swap: file pages only. Priority 0: both, all of them. File pages so few that they cannot be the answer: anonymous only. Otherwise
 * by swappiness: 60 of 200 parts anonymous, each in proportion to what there is.
 */

/** Of 200: the weight of anonymous pages. */
const SWAPPINESS = 60;
/** Pages looked at, at least, of a kind that is there. */
const LEAST_SCAN = 32;

/** Facts the choice rests on. */
export interface BalanceFacts {
  /** 12 (gentle) to 0 (everything). */
  readonly priority: number;
  readonly nrAnon: number;
  readonly nrFile: number;
  readonly maySwap: boolean;
  readonly nrFree: number;
  readonly high: number;
}

/** Pages to look at. */
export function scanBalance(facts: BalanceFacts): { anon: number; file: number } {
  const { priority, nrAnon, nrFile, maySwap, nrFree, high } = facts;
  const anonAll = share(nrAnon, priority, 1);
  const fileAll = share(nrFile, priority, 1);
  if (!maySwap || nrAnon === 0) return { anon: 0, file: fileAll };
  if (priority === 0) return { anon: anonAll, file: fileAll };
  if (nrFile + nrFree <= high) return { anon: anonAll, file: 0 };
  return { anon: share(nrAnon, priority, SWAPPINESS / 200), file: share(nrFile, priority, (200 - SWAPPINESS) / 200) };
}

function share(nrPages: number, priority: number, part: number): number {
  return Math.min(nrPages, Math.max(LEAST_SCAN, Math.ceil((nrPages * part) / 2 ** priority)));
}
