/**
 * Who gets the next free frame (M8).
 *
 *     1. a frame of an account's band goes back to the band
 *     2. what is free beyond goes to the oldest waiter of the lowest level, then upward
 *     3. then to ordinary waiters, first come first served; those who grow (`Gfp.GROWS`) last
 *     4. room that came back to an account serves the oldest of those who still wait in it, out of the band
 *
 * and only as long as what stays free is at least the floor of the waiter whose turn it is. If it is not, the frame stays free, and nobody
 * else is tried in its place. In an account it is the turn of the oldest whose floor allows it: they have one floor, but under `limits`,
 * where the unit that has the gap must not wait behind one that waits for the gap. A waiter's frame is taken, charged and counted before it is woken, so that nobody can steal it in between.
 *
 * A wait in an account says what is wanted and when it came: want = arrival × 256 + gfp.
 */
import { Errno } from '../base/errno.js';
import type { TaskContext } from '../task/task-context.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';
import type { Pfn } from './arena.js';
import { Gfp, GFP_END } from './gfp.js';
import type { ReserveAccount, ReserveTree } from './reserve.js';

/** What a waiter is woken with that is to look again itself. */
export const RETRY = -Errno.EAGAIN;

/** What the hand-off needs of the page allocator. */
export interface FrameGiver {
  /** True if a frame may be taken for this caller, of free memory. */
  mayTake(task: TaskContext, gfp: number): boolean;
  /** Takes a frame of free memory; counts it on the task's ticket. */
  takeFree(task: TaskContext, gfp: number): Pfn;
  /** Takes a frame of the account; charges and counts it. @returns a negative number if there is no room. */
  takeCharged(task: TaskContext, account: ReserveAccount, gfp: number): Pfn;
}

export class HandOff {
  readonly #giver: FrameGiver;
  readonly #reserve: ReserveTree;
  readonly #ordinary: WaitQueue;
  readonly #growing: WaitQueue;
  #nrInAccounts = 0;
  #nrArrivals = 0;

  constructor(giver: FrameGiver, reserve: ReserveTree, holders: () => Iterable<WaitParty>) {
    this.#giver = giver;
    this.#reserve = reserve;
    this.#ordinary = new WaitQueue({ kind: 'frames', name: 'free above min', heldBy: holders });
    this.#growing = new WaitQueue({ kind: 'frames', name: 'free above low', heldBy: holders });
    reserve.serveRoom = (account) => this.#serveRoom(account);
  }

  /** Tasks that wait for a frame; those who have been handed one and have not run yet may be included. */
  get nrWaiters(): number {
    return this.#ordinary.nrWaiters + this.#growing.nrWaiters + this.#nrInAccounts;
  }

  /** Waits for ordinary memory. @returns a frame, `RETRY`, or the errno of the task's signal. */
  wait(task: TaskContext, gfp: number): Promise<Pfn | number> {
    return ((gfp & Gfp.GROWS) !== 0 ? this.#growing : this.#ordinary).wait(task, gfp);
  }

  /** Waits in an account, for room in it or for free memory above the task's own floor. As `wait`. */
  async waitIn(account: ReserveAccount, task: TaskContext, gfp: number): Promise<Pfn | number> {
    account.nrWaits++;
    this.#reserve.counters.reserve_waits++;
    this.#nrInAccounts++;
    const handed = await account.room.wait(task, this.#nrArrivals++ * GFP_END + gfp);
    this.#nrInAccounts--;
    return handed;
  }

  /** Makes every waiter look again. */
  retryAll(): void {
    this.#ordinary.wakeAll(RETRY);
    this.#growing.wakeAll(RETRY);
    for (const { room } of this.#reserve.accounts) room.wakeAll(RETRY);
  }

  /** Room came back to an account, and its frame to the band. What is free beyond the band goes first, to whose turn it is. */
  #serveRoom(account: ReserveAccount): void {
    const { room } = account;
    this.serve();
    while (room.nrWaiters > 0) {
      const pfn = this.#giver.takeCharged(room.oldest as TaskContext, account, room.oldestWant % GFP_END);
      if (pfn < 0) return;
      room.wakeOne(pfn);
    }
  }

  /** Free memory has risen, or a floor has come down. */
  serve(): void {
    for (let room = this.#firstInAccounts(); room !== null; room = this.#firstInAccounts()) if (!room.offer(this.#giveInAccount)) return;
    for (const queue of [this.#ordinary, this.#growing]) {
      while (queue.nrWaiters > 0) if (!this.#serveOldest(queue, queue.oldestWant)) return;
    }
  }

  readonly #giveInAccount = (task: TaskContext, want: number): Pfn | null => {
    const gfp = want % GFP_END;
    return this.#giver.mayTake(task, gfp) ? this.#giver.takeFree(task, gfp) : null;
  };

  #serveOldest(queue: WaitQueue, gfp: number): boolean {
    const task = queue.oldest as TaskContext;
    if (!this.#giver.mayTake(task, gfp)) return false;
    queue.wakeOne(this.#giver.takeFree(task, gfp));
    return true;
  }

  /** The queue of the account of the lowest level, and on it the one whose oldest waiter came first. */
  #firstInAccounts(): WaitQueue | null {
    if (this.#nrInAccounts === 0) return null;
    let first: ReserveAccount | null = null;
    for (const account of this.#reserve.accounts) {
      if (account.room.nrWaiters === 0) continue;
      const isBefore =
        first === null || account.level < first.level || (account.level === first.level && account.room.oldestWant < first.room.oldestWant);
      if (isBefore) first = account;
    }
    return first?.room ?? null;
  }
}
