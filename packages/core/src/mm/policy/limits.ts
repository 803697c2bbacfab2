/**
 * A floor for each level of the writeout graph (M4, M23): the proposal of 2004. No accounts, no tickets.
 *
 * A chain P1 → P2 → … → Pn, limits l1 > l2 > … > ln; a task of P(i) waits when free memory has come down to its own limit. Both of these
 * are sufficient for progress:
 *
 *     (1)  l(i) − l(i+1) ≥ need(P(i+1)) on every edge
 *     (2)  below l(i−1), the limit of its upper neighbour, P(i) runs one unit at a time
 *
 * The design page asks (2) when a unit begins, as the proposal did. That is needed and not enough: two units that began above l(i−1) may
 * each take a frame of the gap below it and want one more, and the exhaustive search finds them stuck (`lab`, the three spaces). So it is
 * asked for every frame, too: **once free memory is at l(i−1), frames go to one unit of P(i) only, until that unit has given back all that
 * it took below**. Every other unit of it stops at l(i−1), as its upper neighbour does; what has no ticket is no unit, and stops at its own
 * floor. A frame that was taken below is tagged, so whose the gap is needs no record of its own: it is the unit's that holds all tagged
 * frames of its node. Asked of frames alone it would do for the search, and hang whoever waits with several units for one answer: it begins
 * them all, and the last of them waits for the gap of the first.
 *
 * With several nodes on a level the gap is the sum of their needs, one unit each. From below:
 *
 *     floor(0) = A      floor(k + 1) = floor(k) + Σ need of the nodes on level k      min ≥ floor(highest + 1)
 *
 * Whose task it is follows from the ticket it carries, else from the innermost node it is inside of. Callers who cannot wait have what lies
 * below floor(0), whoever they are.
 */
import type { TaskContext } from '../../task/task-context.js';
import { Gfp } from '../gfp.js';
import type { ReserveAccount, ReserveTree } from '../reserve.js';
import { ticketOf } from '../ticket.js';
import { OnNo, type PolicyMemory, type ReservePolicy, type ReservePolicyFactory } from './reserve-policy.js';

/** The floors of levels 0, 1, …; the last is that of the level above all. */
export function levelFloors(accounts: Iterable<ReserveAccount>, atomicFrames: number): number[] {
  const needs: number[] = [];
  for (const { level, need } of accounts) {
    while (needs.length <= level) needs.push(0);
    needs[level] += need;
  }
  const floors = [atomicFrames];
  for (const need of needs) floors.push(floors[floors.length - 1] + need);
  return floors;
}

class Limits {
  readonly #memory: PolicyMemory;
  readonly #byHand: readonly number[] | null;
  #floors: readonly number[] = [0];
  #accounts = new Map<object, ReserveAccount>();
  #revision = -1;

  constructor(memory: PolicyMemory, byHand: readonly number[] | null) {
    this.#memory = memory;
    this.#byHand = byHand;
  }

  get #reserve(): ReserveTree {
    return this.#memory.reserve;
  }

  #refresh(): void {
    const { revision, accounts, atomicFrames } = this.#reserve;
    if (revision === this.#revision) return;
    this.#revision = revision;
    this.#floors = this.#byHand ?? levelFloors(accounts, atomicFrames);
    this.#accounts = new Map([...accounts].flatMap((account) => (account.node === null ? [] : [[account.node, account]])));
  }

  /** The floor of a level; the ordinary one for levels above all. */
  floorOfLevel(level: number): number {
    this.#refresh();
    return level < this.#floors.length - 1 ? this.#floors[level] : this.#memory.min;
  }

  get top(): number {
    this.#refresh();
    return this.#floors[this.#floors.length - 1];
  }

  accountOf(task: TaskContext): ReserveAccount | null {
    const account = ticketOf(task)?.account;
    if (account !== undefined) return account;
    this.#refresh();
    for (let i = task.scopes.length - 1; i >= 0; i--) {
      const inside = this.#accounts.get(task.scopes[i]);
      if (inside !== undefined) return inside;
    }
    return null;
  }

  floorOf(task: TaskContext, gfp: number): number {
    if ((gfp & Gfp.ATOMIC) !== 0) return 0;
    const account = this.accountOf(task);
    if (account === null || (gfp & Gfp.NO_RESERVE) !== 0) return this.#memory.min;
    const ticket = ticketOf(task);
    const isGapOfAnother = ticket !== null && ticket.reservedFrames !== account.reservedFrames; // rule (2)
    return this.floorOfLevel(isGapOfAnother ? account.level + 1 : account.level);
  }

  /** A unit takes a frame of the gap between its limit and its upper neighbour's. */
  isOfGap(task: TaskContext, gfp: number, nrFree: number): boolean {
    const account = ticketOf(task)?.account;
    return account !== undefined && (gfp & Gfp.ATOMIC) === 0 && nrFree <= this.floorOfLevel(account.level + 1);
  }

  policy(): ReservePolicy {
    const memory = this.#memory;
    return {
      name: 'limits',
      reclaimRule: 'nofs',
      rightsCrossEdges: false,
      hasCleanPass: false,
      fundsDirtyPages: false,
      checksInequality: false,
      dropsTagged: false,
      limitOf: () => 0,
      minOf: (baseFrames) => Math.max(baseFrames, this.top),
      floorOf: (task, gfp) => this.floorOf(task, gfp),
      onNo: (task) => (this.accountOf(task) !== null ? OnNo.WAIT : task.isReclaimer ? OnNo.FAIL : OnNo.RECLAIM),
      accountOf: (task) => this.accountOf(task),
      isTagged: (task, gfp, nrFree) => this.isOfGap(task, gfp, nrFree),
      unitsOf: ({ level }) => (memory.nrFree > this.floorOfLevel(level + 1) ? Number.POSITIVE_INFINITY : 1), // rule (2)
    };
  }
}

/** Floors derived from the graph. */
export const limitsPolicy: ReservePolicyFactory = (memory) => new Limits(memory, null).policy();

/** Floors set by hand, of levels 0, 1, … and, last, of the level above all. */
export function limitsPolicyByHand(floors: readonly number[]): ReservePolicyFactory {
  return (memory) => new Limits(memory, floors).policy();
}
