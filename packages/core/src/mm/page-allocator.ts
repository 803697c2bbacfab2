/**
 * The page allocator: who may take a free frame now, and what happens if not.
 *
 *     allocPage       synchronous; takes no part in reclaim
 *       free > low                         take it; kswapd is woken if that leaves free = low
 *       else wake kswapd; free > min       take it
 *       a ticket: the clean pass (M6), then the ticket's account
 *       else NONE
 *     allocPageSlow   the same, then direct reclaim, then waiting for what is in flight (M1)
 *
 * Floors (M3), in frames: emergency 0, for tickets up to their account's limit; ordinary = min for everybody else. A request of order
 * o passes a mark when free − (2^o − 1) is greater than it.
 *
 * ENOMEM comes only if nothing is reclaimable and nothing is in flight. Until then the caller waits, first come first served, and
 * a freed frame above `min` is handed to the oldest waiter before anyone else sees it.
 */
import { Errno, invariant, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import type { TracePoints } from '../base/trace.js';
import type { TaskContext } from '../task/task-context.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';
import type { Arena, Pfn } from './arena.js';
import { Buddy } from './buddy.js';
import type { Counters } from './counters.js';
import { FrameClass, type FrameTable, NR_FRAME_CLASSES, PG } from './frame-table.js';
import type { Reclaimer } from './reclaimer.js';
import { ReserveAccount, type ReserveTree } from './reserve.js';
import { computeWatermarks, type WatermarkOptions, type Watermarks } from './watermarks.js';

/** No frame: what a failed allocation returns. It is `-ENOMEM`. */
export const NONE: Pfn = -Errno.ENOMEM;

/** How a frame is wanted: a `FrameClass`, with flags added. */
export const Gfp = {
  FILE: FrameClass.FILE,
  ANON: FrameClass.ANON,
  SLAB: FrameClass.SLAB,
  STANDING: FrameClass.STANDING,
  TRANSIENT: FrameClass.TRANSIENT,
  /** The frame is filled with zeroes. */
  ZERO: 8,
  /** Only if free memory stays above `low`, so that kswapd need not be woken: for readahead. */
  SPARE: 16,
  /**
   * The page is new and has no backing yet. It leaves alone what lies between `min` and `low`: when swap is full and every page in
   * memory must stay, that is what stored pages are read back into.
   */
  GROWS: 32,
} as const;
const CLASS_MASK = 7;

/** Direct reclaims without progress, with nothing in flight, before an allocation fails. */
const FRUITLESS_MAX = 3;
/** Frames a direct reclaim aims at. */
const DIRECT_RECLAIM_FRAMES = 32;
/** A waiter was woken to look again. */
const RETRY = -Errno.EAGAIN;

export interface PageAllocatorParts {
  readonly arena: Arena;
  readonly frames: FrameTable;
  readonly reserve: ReserveTree;
  readonly counters: Counters;
  readonly trace: TracePoints;
  readonly watermarks?: WatermarkOptions;
}

export class PageAllocator {
  readonly arena: Arena;
  readonly frames: FrameTable;
  readonly reserve: ReserveTree;
  readonly counters: Counters;
  readonly #trace: TracePoints;
  readonly #buddy: Buddy;
  readonly #watermarkOptions: WatermarkOptions;
  readonly #classCounts = new Float64Array(NR_FRAME_CLASSES);
  /** Account that each frame with PG.RESERVE was charged to. Few frames at a time. */
  readonly #charged = new Map<Pfn, ReserveAccount>();
  readonly #waiters = new WaitQueue({ kind: 'frames', name: 'free above min', heldBy: () => this.#holders() });
  /** Those with GROWS; served last. */
  readonly #growing = new WaitQueue({ kind: 'frames', name: 'free above low', heldBy: () => this.#holders() });
  /** Bound by the kernel. */
  reclaimer: Reclaimer | null = null;
  #min = 0;
  #low = 0;
  #high = 0;
  #least: number;
  #nrAllocated = 0;

  constructor(parts: PageAllocatorParts) {
    this.arena = parts.arena;
    this.frames = parts.frames;
    this.reserve = parts.reserve;
    this.counters = parts.counters;
    this.#trace = parts.trace;
    this.#watermarkOptions = parts.watermarks ?? {};
    this.#buddy = new Buddy(parts.frames);
    this.#least = this.#buddy.nrFree;
    this.reserve.onLimitChange = () => this.updateWatermarks();
    this.updateWatermarks();
  }

  #holders(): Iterable<WaitParty> {
    return this.reclaimer?.inFlight() ?? [];
  }

  /** Frames in the free lists, emergency band included. */
  get nrFree(): number {
    return this.#buddy.nrFree;
  }

  /** Most frames that were handed out at once. */
  get peakUsed(): number {
    return this.frames.nrFrames - this.#least;
  }

  /** Tasks waiting for a frame. */
  get nrWaiters(): number {
    return this.#waiters.nrWaiters + this.#growing.nrWaiters;
  }

  get watermarks(): Watermarks {
    return { min: this.#min, low: this.#low, high: this.#high, promo: this.#high + (this.#high - this.#low) };
  }

  get low(): number {
    return this.#low;
  }

  get high(): number {
    return this.#high;
  }

  /** Frames in a class. */
  classCount(frameClass: FrameClass): number {
    return frameClass === FrameClass.FREE ? this.#buddy.nrFree : this.#classCounts[frameClass];
  }

  /** Frames handed out since boot. */
  get nrAllocated(): number {
    return this.#nrAllocated;
  }

  /** Frames given back since boot. */
  get nrFreed(): number {
    return this.#nrAllocated - this.#buddy.nrUsed;
  }

  /** The marks as they would be with `addedFrames` more in the accounts. */
  watermarksWith(addedFrames: number): Watermarks {
    const reservedFrames = this.reserve.limitFrames + addedFrames;
    return computeWatermarks(this.frames.nrFrames, { ...this.#watermarkOptions, reservedFrames });
  }

  /** Recomputes the marks after Σ limit changed. */
  updateWatermarks(): void {
    const marks = this.watermarksWith(0);
    this.#min = marks.min;
    this.#low = marks.low;
    this.#high = marks.high;
    this.#handToWaiters(); // a lower floor may be all they waited for
  }

  /** Frames that must stay free for this task's ordinary allocations (M3). */
  floorOf(_task: TaskContext): number {
    return this.#min;
  }

  #markFor(task: TaskContext, gfp: number): number {
    return (gfp & Gfp.GROWS) !== 0 ? this.#low : this.floorOf(task);
  }

  /** Takes one frame, now or not at all. @returns its number, or `NONE`. */
  allocPage(task: TaskContext, gfp: number): Pfn {
    const { nrFree } = this.#buddy;
    if (nrFree > this.#low + 1) return this.#take(gfp);
    if ((gfp & Gfp.SPARE) !== 0) return NONE;
    // The frame that reaches `low` wakes it too: nobody may come after this one.
    this.reclaimer?.wakeKswapd();
    if (nrFree > this.#low) return this.#take(gfp);
    if (this.#buddy.nrFree > this.#markFor(task, gfp)) return this.#take(gfp);
    return task.ticket === null ? NONE : this.#allocFromAccount(task, gfp);
  }

  /**
   * Takes one frame, reclaiming and waiting if need be.
   * @returns its number; `NONE` if nothing is reclaimable and nothing in flight; the errno of the task's signal.
   */
  allocPageSlow(task: TaskContext, gfp: number): MaybePromise<Pfn | NegErrno> {
    const pfn = this.allocPage(task, gfp);
    if (pfn >= 0) return pfn;
    const account = task.ticket?.account;
    if (account instanceof ReserveAccount && account.limitFrames > 0) return this.#allocFromAccountWaiting(task, account, gfp);
    if (task.isReclaimer || this.reclaimer === null) return pfn;
    this.counters.allocstall++;
    const freed = this.reclaimer.directReclaim(task, DIRECT_RECLAIM_FRAMES);
    if (!isPromise(freed) && freed > 0) {
      const again = this.allocPage(task, gfp);
      if (again >= 0) return again;
    }
    return this.#allocWaiting(task, gfp, freed);
  }

  async #allocWaiting(task: TaskContext, gfp: number, first: MaybePromise<number>): Promise<Pfn | NegErrno> {
    const reclaimer = this.reclaimer as Reclaimer;
    let freed = await first;
    for (let fruitless = 0; fruitless < FRUITLESS_MAX; ) {
      const ended = task.checkSignal();
      if (ended !== 0) return ended;
      const pfn = this.allocPage(task, gfp);
      if (pfn >= 0) return pfn;
      if (freed > 0) fruitless = 0;
      else if (reclaimer.isWorkInFlight) {
        const handed = await ((gfp & Gfp.GROWS) !== 0 ? this.#growing : this.#waiters).wait(task, gfp);
        if (handed !== RETRY) return handed;
        fruitless = 0;
      } else fruitless++;
      freed = await reclaimer.directReclaim(task, DIRECT_RECLAIM_FRAMES);
    }
    const last = this.allocPage(task, gfp);
    if (last >= 0) return last;
    this.counters.oom++;
    if (this.#trace.enabled) this.#trace.emit('outOfMemory', { task: task.name, nrFree: this.nrFree });
    return NONE;
  }

  /** Takes 2^order contiguous frames, now or not at all, above the ordinary floor. */
  allocBlock(task: TaskContext, order: number, gfp: number): Pfn {
    if (this.#buddy.nrFree - ((1 << order) - 1) <= this.floorOf(task)) return NONE;
    const pfn = this.#buddy.alloc(order);
    if (pfn < 0) return NONE;
    const nrFrames = 1 << order;
    this.frames.frameClass.fill(gfp & CLASS_MASK, pfn, pfn + nrFrames);
    this.#noteHandedOut(gfp & CLASS_MASK, nrFrames);
    if ((gfp & Gfp.ZERO) !== 0) this.arena.zero(pfn, nrFrames);
    return pfn;
  }

  /** Gives one frame back. */
  freePage(pfn: Pfn): void {
    const { frameClass, flags } = this.frames;
    const was = frameClass[pfn];
    invariant(was !== FrameClass.FREE, 'a frame was freed twice');
    const wasReserve = (flags[pfn] & PG.RESERVE) !== 0;
    this.#classCounts[was]--;
    frameClass[pfn] = FrameClass.FREE;
    flags[pfn] = 0;
    this.#buddy.freeOne(pfn);
    if (wasReserve) this.#uncharge(pfn);
    if (this.nrWaiters > 0) this.#handToWaiters();
  }

  /** Gives a block back. */
  freeBlock(pfn: Pfn, order: number): void {
    const nrFrames = 1 << order;
    this.#classCounts[this.frames.frameClass[pfn]] -= nrFrames;
    for (let at = pfn; at < pfn + nrFrames; at++) {
      this.frames.frameClass[at] = FrameClass.FREE;
      this.frames.flags[at] = 0;
    }
    this.#buddy.free(pfn, order);
    if (this.nrWaiters > 0) this.#handToWaiters();
  }

  /** Makes every waiter look again: what it waited for is over and freed nothing. */
  retryWaiters(): void {
    this.#waiters.wakeAll(RETRY);
    this.#growing.wakeAll(RETRY);
  }

  /** Free blocks by order, checked against the free count. */
  freeBlocks(): number[] {
    return this.#buddy.snapshot();
  }

  #take(gfp: number): Pfn {
    const pfn = this.#buddy.allocOne();
    const frameClass = gfp & CLASS_MASK;
    this.frames.frameClass[pfn] = frameClass;
    this.#noteHandedOut(frameClass, 1);
    if ((gfp & Gfp.ZERO) !== 0) this.arena.zero(pfn);
    return pfn;
  }

  #noteHandedOut(frameClass: number, nrFrames: number): void {
    this.#classCounts[frameClass] += nrFrames;
    this.#nrAllocated += nrFrames;
    if (this.#buddy.nrFree < this.#least) this.#least = this.#buddy.nrFree;
  }

  #allocFromAccount(task: TaskContext, gfp: number): Pfn {
    if (this.reclaimer !== null && this.reclaimer.cleanPass(1) > 0 && this.#buddy.nrFree > this.floorOf(task)) return this.#take(gfp);
    const account = task.ticket?.account;
    if (!(account instanceof ReserveAccount) || !account.charge(1)) return NONE;
    const pfn = this.#take(gfp); // free ≥ E, and E counted this frame until now
    this.frames.flags[pfn] |= PG.RESERVE;
    this.#charged.set(pfn, account);
    return pfn;
  }

  async #allocFromAccountWaiting(task: TaskContext, account: ReserveAccount, gfp: number): Promise<Pfn | NegErrno> {
    for (;;) {
      const woken = await account.room.wait(task);
      if (woken < 0) return woken;
      const pfn = this.allocPage(task, gfp);
      if (pfn < 0) continue;
      if (account.usageFrames < account.limitFrames) account.room.wakeOne(); // free memory did: the room is the next one's
      return pfn;
    }
  }

  #uncharge(pfn: Pfn): void {
    const account = this.#charged.get(pfn);
    this.#charged.delete(pfn);
    account?.uncharge(1);
  }

  #handToWaiters(): void {
    for (const waiters of [this.#waiters, this.#growing]) {
      while (waiters.nrWaiters > 0) {
        const gfp = waiters.oldestWant;
        if (this.#buddy.nrFree <= this.#markFor(waiters.oldest as TaskContext, gfp)) return;
        waiters.wakeOne(this.#take(gfp));
      }
    }
  }
}
