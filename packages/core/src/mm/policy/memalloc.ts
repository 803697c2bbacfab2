/**
 * One reserve for whoever is marked (M2, M23): Linux's, since 2.2 and as it was in 2012 with `halfThrottle`.
 *
 * The reserve is every free frame below `min`. A task that does writeout is marked, and a marked task takes all of it: nobody owns any, and
 * nothing relates its size to what is needed. Others have shares of `min`, which move and overlap when `min` moves (M3):
 *
 *     who                                        floor
 *     ordinary, or merely non-blocking           min
 *     high                                       less 1/2                      = 1/2
 *     atomic: high and non-blocking              less 1/2, less 1/4            = 3/8
 *     victim of the out-of-memory killer         less 1/2                      = 1/2
 *     … allocating atomically                    less 1/2, less 1/4, less 1/2  = 3/16
 *     marked task or request                     0
 *
 * Decision order: a request marked "never from reserves" gets nothing, whatever else holds; then the mark; then the shares. A marked task
 * that misses fails at once, without reclaim and without waiting. Tidemark has no killer and no real-time tasks: no caller of it is a victim
 * or high alone.
 *
 * `halfThrottle`: ordinary callers wait before they reclaim while no more than half of `min` is free. Those that are inside a filesystem, or
 * may do no I/O, wait a second at most, since the reclaimer may need a lock that they hold. It ends when the reclaimer has given up.
 */
import { Gfp } from '../gfp.js';
import { AbortSource, eitherSignal } from '../../task/abort.js';
import type { TaskContext } from '../../task/task-context.js';
import { WaitQueue } from '../../task/wait-queue.js';
import { OnNo, type PolicyMemory, type ReservePolicy, type ReservePolicyFactory } from './reserve-policy.js';

/** Longest that a caller who may hold a lock is held up, in milliseconds. */
const THROTTLE_LOCKED_MS = 1000;

/** Parts of its floor that a caller is let off, one after the other: 2 is a half, 4 a quarter, 1 all of it. */
const RELAXATIONS = {
  ordinary: [],
  high: [2],
  atomic: [2, 4],
  victim: [2],
  victimAtomic: [2, 4, 2],
  marked: [1],
} as const;
export type MemallocCaller = keyof typeof RELAXATIONS;

/** The floor of a caller, in frames. */
export function memallocFloor(min: number, caller: MemallocCaller): number {
  return RELAXATIONS[caller].reduce<number>((floor, part) => floor - Math.floor(floor / part), min);
}

function isMarked(task: TaskContext): boolean {
  return task.ticket !== null || task.isReclaimer;
}

/** Which row of the table a request is, by the decision order. */
function callerOf(task: TaskContext, gfp: number): MemallocCaller {
  if ((gfp & Gfp.NO_RESERVE) !== 0) return 'ordinary';
  if (isMarked(task)) return 'marked';
  return (gfp & Gfp.ATOMIC) === 0 ? 'ordinary' : 'atomic';
}

/** Makes the policy. */
export function memallocPolicy(options: { readonly halfThrottle?: boolean } = {}): ReservePolicyFactory {
  return (memory) => {
    const policy: ReservePolicy = {
      name: options.halfThrottle ? 'memalloc+halfThrottle' : 'memalloc',
      reclaimRule: 'nofs',
      rightsCrossEdges: false,
      hasCleanPass: false,
      fundsDirtyPages: false,
      checksInequality: false,
      dropsTagged: options.halfThrottle ?? false, // the mark of sockets came with the throttle
      limitOf: () => 0,
      minOf: (baseFrames) => baseFrames,
      floorOf: (task, gfp) => memallocFloor(memory.min, callerOf(task, gfp)),
      onNo: (task) => (isMarked(task) ? OnNo.FAIL : OnNo.RECLAIM),
      accountOf: () => null,
      isTagged: (task, gfp, nrFree) =>
        callerOf(task, gfp) === 'marked' && nrFree <= memallocFloor(memory.min, (gfp & Gfp.ATOMIC) === 0 ? 'ordinary' : 'atomic'),
      unitsOf: () => Number.POSITIVE_INFINITY,
    };
    return options.halfThrottle ? { ...policy, ...new HalfThrottle(memory).hooks() } : policy;
  };
}

class HalfThrottle {
  readonly #memory: PolicyMemory;
  readonly #queue: WaitQueue;

  constructor(memory: PolicyMemory) {
    this.#memory = memory;
    this.#queue = new WaitQueue({ kind: 'frames', name: 'free above half of min', heldBy: () => memory.inFlight?.() ?? [] });
  }

  get #isOpen(): boolean {
    return this.#memory.isReclaimHopeless || this.#memory.nrFree > this.#memory.min >>> 1;
  }

  hooks(): Pick<ReservePolicy, 'throttle' | 'onFreed'> {
    return {
      throttle: (task) => (this.#isOpen ? undefined : this.#wait(task)),
      onFreed: () => {
        if (this.#isOpen) this.#queue.wakeAll();
      },
    };
  }

  async #wait(task: TaskContext): Promise<void> {
    const { clock } = this.#memory;
    const mayHoldLock = !task.mayIo || task.scopes.length > 0;
    if (!mayHoldLock || clock === null) {
      await this.#queue.wait(task);
      return;
    }
    const late = new AbortSource();
    const timer = clock.setTimer(THROTTLE_LOCKED_MS, () => late.abort());
    await this.#queue.wait(task.withSignal(eitherSignal(task.signal, late.signal)));
    clock.clearTimer(timer);
  }
}
