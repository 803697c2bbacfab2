/**
 * The page allocator: who may take a free frame now, and what happens if not.
 *
 *     allocPage       synchronous; takes no part in reclaim
 *       free > low                                take it; kswapd is woken if that leaves free = low
 *       else wake kswapd; free > the floor        take it
 *       else what the policy says (M23); composed: with a ticket the clean pass (M6), then the ticket's account; without one NONE
 *     allocPageSlow   the same, then: an account's user waits for room in it; anybody else reclaims, and waits for what is in flight (M1)
 *
 * Floors (M3), in frames, are the policy's; composed has emergency 0, for tickets up to their account's limit; atomic E, for callers who
 * cannot wait; ordinary `min` for everybody else. A request of order o passes a mark when free − (2^o − 1) is greater than it.
 *
 * A frame taken under a ticket counts against the ticket's need, whatever memory it came from, until it is freed or exchanged (M5). A frame
 * that a ticket's account paid for is freed first, then uncharged, then whoever waits for room is served (trap 7).
 *
 * ENOMEM comes only if nothing is reclaimable and nothing is in flight. Until then the caller waits, and a freed frame is handed on before
 * anyone else sees it (hand-off.ts).
 */
import { Errno, invariant, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import type { TracePoints } from '../base/trace.js';
import type { TaskContext } from '../task/task-context.js';
import type { WaitParty } from '../task/wait-queue.js';
import type { Arena, Pfn } from './arena.js';
import { Buddy } from './buddy.js';
import type { Counters } from './counters.js';
import { FrameClass, type FrameTable, NR_FRAME_CLASSES, PG } from './frame-table.js';
import { Gfp, GFP_CLASS_MASK } from './gfp.js';
import { type FrameGiver, HandOff, RETRY } from './hand-off.js';
import { MemoryLockRule } from './lock-rule.js';
import { OnNo } from './policy/reserve-policy.js';
import type { Reclaimer } from './reclaimer.js';
import type { ReserveAccount, ReserveTree } from './reserve.js';
import { ticketOf, type WriteoutTicket } from './ticket.js';
import { computeWatermarks, type WatermarkOptions, type Watermarks } from './watermarks.js';

/** No frame: what a failed allocation returns. It is `-ENOMEM`. */
export const NONE: Pfn = -Errno.ENOMEM;

/** Direct reclaims without progress, with nothing in flight, before an allocation fails. */
const FRUITLESS_MAX = 3;
/** Frames a direct reclaim aims at. */
const DIRECT_RECLAIM_FRAMES = 32;

export interface PageAllocatorParts {
  readonly arena: Arena;
  readonly frames: FrameTable;
  readonly reserve: ReserveTree;
  readonly counters: Counters;
  readonly trace: TracePoints;
  readonly watermarks?: WatermarkOptions;
}

export class PageAllocator implements FrameGiver {
  readonly arena: Arena;
  readonly frames: FrameTable;
  readonly reserve: ReserveTree;
  readonly counters: Counters;
  readonly #trace: TracePoints;
  readonly #buddy: Buddy;
  readonly #watermarkOptions: WatermarkOptions;
  readonly #classCounts = new Float64Array(NR_FRAME_CLASSES);
  /** Ticket that each frame with PG.COUNTED counts against. Few frames at a time. */
  readonly #heldUnder = new Map<Pfn, WriteoutTicket>();
  readonly #handOff: HandOff;
  /** Asked before a task waits for ordinary memory, and when it takes a lock (M11). */
  readonly lockRule: MemoryLockRule;
  /** Bound by the kernel. */
  reclaimer: Reclaimer | null = null;
  #min = 0;
  #low = 0;
  #high = 0;
  #least: number;
  #nrAllocated = 0;
  /** Callers that wait for a frame or are held up, those included that were woken and have not run yet: what freeing a frame looks at. */
  #nrWaiting = 0;

  constructor(parts: PageAllocatorParts) {
    this.arena = parts.arena;
    this.frames = parts.frames;
    this.reserve = parts.reserve;
    this.counters = parts.counters;
    this.#trace = parts.trace;
    this.#watermarkOptions = parts.watermarks ?? {};
    this.#buddy = new Buddy(parts.frames);
    this.#least = this.#buddy.nrFree;
    this.lockRule = new MemoryLockRule(parts.reserve);
    this.#handOff = new HandOff(this, parts.reserve, () => this.#holders());
    this.reserve.onChange = () => this.updateWatermarks();
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
    return this.#handOff.nrWaiters;
  }

  get watermarks(): Watermarks {
    return { min: this.#min, low: this.#low, high: this.#high, promo: this.#high + (this.#high - this.#low) };
  }

  /** The ordinary floor. */
  get min(): number {
    return this.#min;
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

  /** The marks as they would be with `addedFrames` more in the accounts, in an arena of `nrFrames`. */
  watermarksWith(addedFrames: number, nrFrames = this.frames.nrFrames): Watermarks {
    const base = computeWatermarks(nrFrames, this.#watermarkOptions).min;
    return computeWatermarks(nrFrames, { ...this.#watermarkOptions, minFrames: this.reserve.policy.minOf(base, addedFrames) });
  }

  /** Recomputes the marks: the policy is bound, or limits, levels or declarations have changed. */
  updateWatermarks(): void {
    const marks = this.watermarksWith(0);
    this.#min = marks.min;
    this.#low = marks.low;
    this.#high = marks.high;
    this.#handOff.serve(); // a lower floor may be all they waited for
  }

  /** Frames that must stay free when this task takes one (M3). A table look-up; the only place that says so. */
  floorOf(task: TaskContext, gfp = 0): number {
    return (gfp & Gfp.GROWS) === 0 ? this.reserve.policy.floorOf(task, gfp) : this.#low;
  }

  mayTake(task: TaskContext, gfp: number): boolean {
    return this.#buddy.nrFree > this.floorOf(task, gfp);
  }

  /** Takes one frame, now or not at all. @returns its number, or `NONE`. */
  allocPage(task: TaskContext, gfp: number): Pfn {
    const { nrFree } = this.#buddy;
    if (nrFree > this.#low + 1) return this.#takeChecked(task, gfp);
    if ((gfp & Gfp.SPARE) !== 0) return NONE;
    // The frame that reaches `low` wakes it too: nobody may come after this one.
    this.reclaimer?.wakeKswapd();
    if (nrFree > this.#low) return this.#takeChecked(task, gfp);
    return this.#allocLow(task, gfp);
  }

  /** Free memory is at `low` or below: the policy decides. */
  #allocLow(task: TaskContext, gfp: number): Pfn {
    if (this.mayTake(task, gfp)) return this.#takeChecked(task, gfp);
    const { policy } = this.reserve;
    if (policy.onNo(task, gfp) === OnNo.ACCOUNT) return this.#allocFromAccount(task, gfp);
    if (task.isReclaimer) this.#checkWriteout(task, gfp);
    return NONE;
  }

  /**
   * Takes one frame, reclaiming and waiting if need be.
   * @returns its number; `NONE` if nothing is reclaimable and nothing in flight; the errno of the task's signal.
   */
  allocPageSlow(task: TaskContext, gfp: number): MaybePromise<Pfn | NegErrno> {
    const pfn = this.allocPage(task, gfp);
    if (pfn >= 0) return pfn;
    const { policy } = this.reserve;
    const onNo = policy.onNo(task, gfp);
    if (onNo === OnNo.FAIL) return pfn;
    if (onNo !== OnNo.RECLAIM) return this.#allocInAccount(task, gfp, onNo);
    if (task.isReclaimer || this.reclaimer === null) return pfn;
    this.lockRule.checkWait(task, 'free memory');
    const held = policy.throttle?.(task);
    return isPromise(held) ? this.#waiting(held).then(() => this.#reclaimAndAlloc(task, gfp)) : this.#reclaimAndAlloc(task, gfp);
  }

  async #waiting<T>(wait: Promise<T>): Promise<T> {
    this.#nrWaiting++;
    try {
      return await wait;
    } finally {
      this.#nrWaiting--;
    }
  }

  #reclaimAndAlloc(task: TaskContext, gfp: number): MaybePromise<Pfn | NegErrno> {
    this.counters.allocstall++;
    const freed = (this.reclaimer as Reclaimer).directReclaim(task, DIRECT_RECLAIM_FRAMES);
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
        const handed = await this.#waiting(this.#handOff.wait(task, gfp));
        if (handed !== RETRY) return this.#received(task, handed);
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

  /** Waits for the account's own frames, or for free memory above the task's own floor: never for ordinary memory (M6, M11). */
  async #allocInAccount(task: TaskContext, gfp: number, onNo: OnNo): Promise<Pfn | NegErrno> {
    const account = this.reserve.policy.accountOf(task);
    if (account === null || (onNo === OnNo.ACCOUNT && account.limitFrames === 0)) return NONE; // nothing would ever come back
    for (;;) {
      const handed = await this.#waiting(this.#handOff.waitIn(account, task, gfp));
      if (handed !== RETRY) return this.#received(task, handed);
      const pfn = this.allocPage(task, gfp);
      if (pfn >= 0) return pfn;
    }
  }

  /** A waiter has its frame. One that was aborted meanwhile passes it on. */
  #received(task: TaskContext, handed: Pfn | NegErrno): Pfn | NegErrno {
    if (handed < 0) return handed;
    const ended = task.checkSignal();
    if (ended !== 0) {
      this.freePage(handed);
      return ended;
    }
    try {
      ticketOf(task)?.checkNeed(0); // others may have taken under the same ticket while this one waited
    } catch (violation) {
      this.freePage(handed);
      throw violation;
    }
    return handed;
  }

  /** Takes 2^order contiguous frames, now or not at all, above the ordinary floor. */
  allocBlock(task: TaskContext, order: number, gfp: number): Pfn {
    if (this.#buddy.nrFree - ((1 << order) - 1) <= this.floorOf(task)) return NONE;
    const pfn = this.#buddy.alloc(order);
    if (pfn < 0) return NONE;
    const nrFrames = 1 << order;
    this.frames.frameClass.fill(gfp & GFP_CLASS_MASK, pfn, pfn + nrFrames);
    this.#noteHandedOut(gfp & GFP_CLASS_MASK, nrFrames);
    if ((gfp & Gfp.ZERO) !== 0) this.arena.zero(pfn, nrFrames);
    return pfn;
  }

  /** Gives one frame back. */
  freePage(pfn: Pfn): void {
    const { frameClass, flags } = this.frames;
    const was = frameClass[pfn];
    invariant(was !== FrameClass.FREE, 'a frame was freed twice');
    const wasFlags = flags[pfn];
    this.#classCounts[was]--;
    frameClass[pfn] = FrameClass.FREE;
    flags[pfn] = 0;
    this.#buddy.freeOne(pfn);
    if ((wasFlags & PG.COUNTED) !== 0) this.#uncount(pfn, wasFlags);
    if (this.#nrWaiting > 0) this.#noteFreed();
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
    if (this.#nrWaiting > 0) this.#noteFreed();
  }

  #noteFreed(): void {
    this.#handOff.serve();
    this.reserve.policy.onFreed?.();
  }

  /** Makes every waiter look again: what it waited for is over and freed nothing. */
  retryWaiters(): void {
    this.#handOff.retryAll();
    this.reserve.policy.onFreed?.();
  }

  /** Free blocks by order, checked against the free count. */
  freeBlocks(): number[] {
    return this.#buddy.snapshot();
  }

  /**
   * The ticket that a frame is held under gives it up; its content stays, as ordinary cache (M5). A frame of ordinary memory is only counted
   * no more. For one of an account, another that is free above the ordinary floor takes its place in the band.
   * @returns false if there is none: then the frame must be freed.
   */
  exchange(pfn: Pfn): boolean {
    const { flags } = this.frames;
    const wasFlags = flags[pfn];
    const isCharged = (wasFlags & PG.CHARGED) !== 0;
    if (isCharged && this.#buddy.nrFree <= this.#min) return false;
    flags[pfn] &= ~(PG.COUNTED | PG.CHARGED | PG.RESERVE);
    if ((wasFlags & PG.COUNTED) !== 0) this.#uncount(pfn, wasFlags);
    if (this.#nrWaiting > 0) this.#noteFreed(); // nothing was freed, but a floor may be lower now (`limits`)
    return true;
  }

  /**
   * A frame is a slab cache's from here on and no unit's (M20): if an account paid for it, it stays charged, until it is freed or exchanged.
   * @returns the account, or null for a frame of ordinary memory.
   */
  share(pfn: Pfn): ReserveAccount | null {
    const ticket = this.#heldUnder.get(pfn);
    if (ticket === undefined || (this.frames.flags[pfn] & PG.CHARGED) === 0) {
      this.exchange(pfn);
      return null;
    }
    ticket.account.shared.addFrames(1, 1);
    this.#heldUnder.set(pfn, ticket.account.shared);
    ticket.addFrames(-1, -1);
    return ticket.account;
  }

  /** The ticket a frame counts against, or null. For tests and reports. */
  holderOf(pfn: Pfn): WriteoutTicket | null {
    return this.#heldUnder.get(pfn) ?? null;
  }

  #take(gfp: number): Pfn {
    const pfn = this.#buddy.allocOne();
    const frameClass = gfp & GFP_CLASS_MASK;
    this.frames.frameClass[pfn] = frameClass;
    this.#noteHandedOut(frameClass, 1);
    if ((gfp & Gfp.ZERO) !== 0) this.arena.zero(pfn);
    return pfn;
  }

  /** Takes a frame of free memory for a caller who is running. */
  #takeChecked(task: TaskContext, gfp: number): Pfn {
    if (task.ticket === null && !task.isReclaimer) return this.#take(gfp);
    this.#checkWriteout(task, gfp);
    return this.takeFree(task, gfp);
  }

  /** Check by use (M5, M7), before anything is taken: it may throw. */
  #checkWriteout(task: TaskContext, gfp: number): void {
    const ticket = ticketOf(task);
    if (ticket !== null) ticket.checkNeed(1);
    else if ((gfp & Gfp.NO_RESERVE) === 0) {
      this.reserve.violations.report('unfunded', task.name, `${task.name} does writeout and allocates without a ticket`);
    }
  }

  takeFree(task: TaskContext, gfp: number): Pfn {
    const { nrFree } = this.#buddy;
    const pfn = this.#take(gfp);
    const ticket = ticketOf(task);
    const tag = nrFree <= this.#low && this.reserve.policy.isTagged(task, gfp, nrFree) ? PG.RESERVE : 0;
    if (ticket !== null) this.#count(pfn, ticket, PG.COUNTED | tag);
    else this.frames.flags[pfn] |= tag;
    return pfn;
  }

  takeCharged(task: TaskContext, account: ReserveAccount, gfp: number): Pfn {
    const ticket = ticketOf(task);
    if (ticket === null || !account.charge(1)) return NONE;
    const pfn = this.#take(gfp); // free ≥ E, and E counted this frame until now
    this.#count(pfn, ticket, PG.COUNTED | PG.CHARGED | PG.RESERVE);
    return pfn;
  }

  #count(pfn: Pfn, ticket: WriteoutTicket, flags: number): void {
    this.frames.flags[pfn] |= flags;
    this.#heldUnder.set(pfn, ticket);
    ticket.addFrames(1, (flags & PG.RESERVE) === 0 ? 0 : 1);
  }

  #uncount(pfn: Pfn, wasFlags: number): void {
    const ticket = this.#heldUnder.get(pfn) as WriteoutTicket;
    this.#heldUnder.delete(pfn);
    ticket.addFrames(-1, (wasFlags & PG.RESERVE) === 0 ? 0 : -1);
    if ((wasFlags & PG.CHARGED) !== 0) ticket.account.uncharge(1);
  }

  #noteHandedOut(frameClass: number, nrFrames: number): void {
    this.#classCounts[frameClass] += nrFrames;
    this.#nrAllocated += nrFrames;
    if (this.#buddy.nrFree < this.#least) this.#least = this.#buddy.nrFree;
  }

  #allocFromAccount(task: TaskContext, gfp: number): Pfn {
    const { policy } = this.reserve;
    // The usual case, and the one that a published patch skipped, with this condition turned round (trap 11).
    if (policy.hasCleanPass && this.reclaimer !== null && this.reclaimer.cleanPass(1) > 0 && this.mayTake(task, gfp))
      return this.#takeChecked(task, gfp);
    this.#checkWriteout(task, gfp);
    const account = policy.accountOf(task);
    return account === null ? NONE : this.takeCharged(task, account, gfp);
  }
}
