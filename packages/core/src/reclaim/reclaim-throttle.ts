/**
 * Throttling of direct reclaim (M18): a task that reclaims faster than pages can be written pauses, so that it neither spins nor takes from
 * others what they were about to use.
 *
 * | reason | the scan | longest | ends early | not when |
 * |---|---|---|---|---|
 * | isolated | begins while more than an eighth of the inactive pages are off the lists, on their way out | 20 ms | they are fewer | |
 * | writeback | met pages that it had met before, and that are still being written | 100 ms | 32 pages are written for each task that pauses | |
 * | congested | found nothing but pages being written | 4 ms | | kswapd has given up; few pages are being written |
 * | no progress | went through everything for less than an eighth of it | 4 ms | | the same |
 *
 * A tick of Linux is 4 ms here; few is at most half of what is on the lists. Only who got something pauses: who got nothing waits for a
 * frame, which is handed to him as soon as there is one. Nobody pauses for nothing in flight, with a ticket (M16), as a kernel's task, or
 * without end: every pause has a timer.
 */
import type { Pfn } from '../mm/arena.js';
import type { FrameTable } from '../mm/frame-table.js';
import type { Clock } from '../task/clock.js';
import type { TaskContext } from '../task/task-context.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';

/** What a direct reclaim has seen and done. Pages. */
export interface ScanFacts {
  /** Off the lists, on their way out. */
  readonly nrIsolated: number;
  /** On the inactive lists. */
  readonly nrInactive: number;
  /** On any list. */
  readonly nrListed: number;
  /** Being written, on a list or off. */
  readonly nrInFlight: number;
  readonly nrScanned: number;
  readonly nrFreed: number;
  /** Of those scanned: being written; of those: met before; and the last one, or -1. */
  readonly nrWriteback: number;
  readonly nrImmediate: number;
  readonly writebackPfn: Pfn;
  /** Lowest priority that was scanned at. */
  readonly priority: number;
  /** kswapd has given up. */
  readonly isHopeless: boolean;
}

/** Why a task pauses. */
export type ThrottleReason = 'isolated' | 'writeback' | 'congested' | 'no progress';

/** Longest pauses. */
export const THROTTLE_MS: Readonly<Record<ThrottleReason, number>> = { isolated: 20, writeback: 100, congested: 4, 'no progress': 4 };
/** Pages written for each task that pauses for writeback, until it goes on. */
export const WRITTEN_FOR_EACH = 32;
/** More than one inactive page in so many is isolated: too many are. */
const ISOLATED_PART = 8;
/** Of what was scanned, one in so many freed is progress. */
const PROGRESS_PART = 8;

/** Pages off the lists, and on them. */
export type Isolation = Pick<ScanFacts, 'nrIsolated' | 'nrInactive' | 'nrListed'>;

/** Too many pages are off the lists. A policy that keeps few pages as inactive counts as one that keeps half. */
export function areTooManyIsolated({ nrIsolated, nrInactive, nrListed }: Isolation): boolean {
  return nrIsolated * ISOLATED_PART > Math.max(nrInactive, nrListed / 2);
}

/** The table: why whoever scanned should pause, or null. */
export function throttleReason(facts: ScanFacts): ThrottleReason | null {
  if (facts.nrInFlight === 0) return null;
  if (areTooManyIsolated(facts)) return 'isolated';
  if (facts.nrImmediate > 0) return 'writeback';
  if (facts.isHopeless || 2 * facts.nrInFlight <= facts.nrListed) return null;
  if (facts.nrScanned > 0 && facts.nrWriteback === facts.nrScanned) return 'congested';
  return facts.priority <= 1 && facts.nrFreed * PROGRESS_PART <= facts.nrScanned ? 'no progress' : null;
}

/** Decides after each direct reclaim. */
export interface ReclaimThrottle {
  /** @returns what the task waits for, or null if it may go on at once. */
  afterScan(task: TaskContext, facts: ScanFacts): Promise<unknown> | null;
  /** Some write ended. */
  noteProgress(): void;
}

/** What a throttle is made of. */
export interface ReclaimThrottleParts {
  readonly clock: Clock;
  readonly frames: FrameTable;
  /** Woken whenever a write ends. */
  readonly progress: WaitQueue;
  /** Off the lists, and on the inactive ones, now. */
  readonly isolation: () => Isolation;
  /** Pages written since boot. */
  readonly nrWritten: () => number;
  readonly inFlight: () => Iterable<WaitParty>;
}

/** Registered under `RECLAIM_THROTTLE`. */
export type ReclaimThrottleFactory = (parts: ReclaimThrottleParts) => ReclaimThrottle;

class PauseTable implements ReclaimThrottle {
  readonly #parts: ReclaimThrottleParts;
  readonly #queues: Readonly<Record<ThrottleReason, WaitQueue>>;
  /** Pages written when those who pause for writeback go on. */
  #resumeAt = 0;

  constructor(parts: ReclaimThrottleParts) {
    this.#parts = parts;
    const queue = (reason: ThrottleReason): WaitQueue =>
      new WaitQueue({ kind: 'reclaim-throttle', name: `direct reclaim: ${reason}`, heldBy: parts.inFlight });
    this.#queues = {
      isolated: queue('isolated'),
      writeback: queue('writeback'),
      congested: queue('congested'),
      'no progress': queue('no progress'),
    };
  }

  afterScan(task: TaskContext, facts: ScanFacts): Promise<unknown> | null {
    if (facts.nrFreed === 0 || task.isReclaimer || task.ticket !== null) return null;
    const reason = throttleReason(facts);
    return reason === null ? null : this.#pause(task, reason);
  }

  async #pause(task: TaskContext, reason: ThrottleReason): Promise<void> {
    const queue = this.#queues[reason];
    if (reason === 'writeback') this.#resumeAt = this.#parts.nrWritten() + WRITTEN_FOR_EACH * (queue.nrWaiters + 1);
    const timer = this.#parts.clock.setTimer(THROTTLE_MS[reason], () => queue.wakeAll());
    await queue.wait(task);
    this.#parts.clock.clearTimer(timer);
  }

  noteProgress(): void {
    const { isolated, writeback } = this.#queues;
    if (isolated.nrWaiters > 0 && !areTooManyIsolated(this.#parts.isolation())) isolated.wakeAll();
    if (writeback.nrWaiters > 0 && this.#parts.nrWritten() >= this.#resumeAt) writeback.wakeAll();
  }
}

/** The default. */
export const pauseTable: ReclaimThrottleFactory = (parts) => new PauseTable(parts);
