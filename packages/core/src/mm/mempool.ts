/**
 * Mempools (M19): n elements kept ready, so that whoever needs one always gets one in the end.
 *
 *     get   1. the allocator, silently: no reclaim, no wait
 *           2. a ready element
 *           3. the allocator with the caller's full rights; it may reclaim
 *           4. wait for a put; with a clock, 1 is tried again every 5 s
 *     put   a waiter has it; else it is kept while fewer than n are ready; else it is really freed
 *
 * A get never spends a reserve: the caller's ticket is dropped for 1 and 3. It never fails **if** each element comes back without its
 * holder needing another of the same pool, and its life does not depend on the page allocator's progress. So each layer has a pool of
 * its own. And an element taken under a ticket that holds one of this pool already is a violation: two elements of one pool under one unit
 * can stick.
 */
import { invariant, KernelError, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { Clock, TimerHandle } from '../task/clock.js';
import type { TaskContext } from '../task/task-context.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';
import type { Violations } from './violation.js';

/** Time after which sleepers try the allocator again, in milliseconds. */
export const MEMPOOL_RECHECK_MS = 5000;

/** Where elements come from and go to. */
export interface MempoolOptions<T> {
  /** For people and stall reports. */
  readonly name: string;
  /** Elements kept ready: 1 or more. */
  readonly nrElements: number;
  /** Makes one of the n, when the pool is made. May throw: then there is no pool. */
  create(): T;
  /** One more than the n, or null. Neither reclaims nor waits. Without it the n are all there are. */
  tryAllocate?(task: TaskContext): T | null;
  /** One more than the n, with the task's rights; it may reclaim and wait. */
  allocate?(task: TaskContext): MaybePromise<T | null>;
  /** Really frees an element. */
  destroy?(element: T): void;
  /** Told of a second element under one ticket. Without it nobody is. */
  readonly violations?: Pick<Violations, 'report'>;
  /** For the recheck; without one a sleeper is woken by a put only. */
  readonly clock?: Clock;
  /** Who has the elements that are out, for stall reports. */
  heldBy?(): Iterable<WaitParty>;
}

/** A pool of `T`. */
export class Mempool<T extends object> {
  readonly name: string;
  readonly nrElements: number;
  readonly #options: MempoolOptions<T>;
  readonly #ready: T[] = [];
  /** Elements given to waiters that have not run yet. */
  readonly #handed: T[] = [];
  readonly #queue: WaitQueue;
  /** Tickets under which elements were taken, and the elements. */
  readonly #tickets = new Map<object, T>();
  readonly #takenUnder = new Map<T, object>();
  #timer: TimerHandle | null = null;
  #nrOut = 0;
  /** Gets past step 2. */
  #nrGetting = 0;
  #isDisposed = false;
  /** Elements taken; of those from step 1, from step 2, from step 3, and after a wait. */
  readonly counts = { get: 0, allocated: 0, pooled: 0, reclaimed: 0, waited: 0 };
  /** Rechecks that found an element for a sleeper: in virtual time a wake-up that was lost. */
  nrRecheckHits = 0;

  /** @throws KernelError EINVAL for a pool of nothing; what `create` throws, with everything undone. */
  constructor(options: MempoolOptions<T>) {
    if (!Number.isSafeInteger(options.nrElements) || options.nrElements < 1) {
      throw new KernelError('EINVAL', `pool ${options.name} of ${options.nrElements} elements: want 1 or more`);
    }
    this.name = options.name;
    this.nrElements = options.nrElements;
    this.#options = options;
    this.#queue = new WaitQueue({ kind: 'mempool', name: options.name, heldBy: () => options.heldBy?.() ?? [] });
    try {
      while (this.#ready.length < options.nrElements) this.#ready.push(options.create());
    } catch (cause) {
      this.#destroyReady();
      throw cause;
    }
  }

  /** Elements ready now. */
  get nrReady(): number {
    return this.#ready.length;
  }

  /** Elements taken and not put back. */
  get nrOut(): number {
    return this.#nrOut;
  }

  get nrWaiters(): number {
    return this.#queue.nrWaiters;
  }

  /** For a caller that cannot wait: steps 1 and 2. @returns null if there is none now. */
  tryGet(task: TaskContext): T | null {
    invariant(!this.#isDisposed, `pool ${this.name} is gone`);
    this.#checkFirst(task);
    const fresh = this.#options.tryAllocate?.(withoutTicket(task)) ?? null;
    if (fresh !== null) {
      this.counts.allocated++;
      return this.#taken(task, fresh);
    }
    const ready = this.#ready.pop();
    if (ready === undefined) return null;
    this.counts.pooled++;
    return this.#taken(task, ready);
  }

  /** Takes an element. @returns it; or the errno of the task's signal. */
  get(task: TaskContext): MaybePromise<T | NegErrno> {
    return this.tryGet(task) ?? this.#getCounted(task);
  }

  async #getCounted(task: TaskContext): Promise<T | NegErrno> {
    this.#nrGetting++;
    try {
      return await this.#getSlow(task);
    } finally {
      this.#nrGetting--;
    }
  }

  async #getSlow(task: TaskContext): Promise<T | NegErrno> {
    if (this.#options.allocate !== undefined) {
      const fresh = await this.#options.allocate(withoutTicket(task));
      if (fresh !== null) {
        this.counts.reclaimed++;
        return this.#taken(task, fresh);
      }
      const ready = this.#ready.pop(); // put while we were reclaiming
      if (ready !== undefined) {
        this.counts.pooled++;
        return this.#taken(task, ready);
      }
    }
    const woken = this.#queue.wait(task);
    this.#armRecheck();
    const status = await woken;
    if (this.#queue.nrWaiters === 0) this.#disarmRecheck();
    if (status < 0) return status;
    this.counts.waited++;
    return this.#taken(task, this.#handed.shift() as T); // wake-ups and elements come in the same order
  }

  /** Gives an element back; once. */
  put(element: T): void {
    invariant(this.#nrOut > 0, `pool ${this.name}: more elements put than taken`);
    this.#nrOut--;
    if (this.#takenUnder.size > 0) this.#forget(element);
    if (this.#queue.nrWaiters > 0) this.#hand(element);
    else if (this.#ready.length < this.nrElements) this.#ready.push(element);
    else this.#options.destroy?.(element);
  }

  /** Frees the pool. Safe to call twice. @throws KernelError EBUSY while elements are out or wanted. */
  dispose(): void {
    if (this.#nrOut + this.#nrGetting > 0) {
      throw new KernelError('EBUSY', `pool ${this.name} has ${this.#nrOut} elements out and ${this.#nrGetting} tasks that want one`);
    }
    this.#isDisposed = true;
    this.#destroyReady();
  }

  /** M19: the holder of an element must not need another. */
  #checkFirst({ ticket, name }: TaskContext): void {
    if (ticket !== null && this.#tickets.has(ticket))
      this.#options.violations?.report(
        'second-element',
        this.name,
        `${name} takes a second element of pool ${this.name} while it holds one`,
      );
  }

  #forget(element: T): void {
    const ticket = this.#takenUnder.get(element);
    if (ticket === undefined) return;
    this.#takenUnder.delete(element);
    if (this.#tickets.get(ticket) === element) this.#tickets.delete(ticket);
  }

  #taken({ ticket }: TaskContext, element: T): T {
    if (ticket !== null) {
      this.#tickets.set(ticket, element);
      this.#takenUnder.set(element, ticket);
    }
    this.#nrOut++;
    this.counts.get++;
    return element;
  }

  #hand(element: T): void {
    this.#handed.push(element);
    this.#queue.wakeOne();
  }

  #destroyReady(): void {
    for (const element of this.#ready.splice(0)) this.#options.destroy?.(element);
  }

  #armRecheck(): void {
    const { clock, tryAllocate } = this.#options;
    if (clock === undefined || tryAllocate === undefined || this.#timer !== null || this.#queue.nrWaiters === 0) return;
    this.#timer = clock.setTimer(MEMPOOL_RECHECK_MS, () => {
      this.#timer = null;
      this.#recheck();
    });
  }

  #disarmRecheck(): void {
    if (this.#timer !== null) this.#options.clock?.clearTimer(this.#timer);
    this.#timer = null;
  }

  #recheck(): void {
    for (let task = this.#queue.oldest; task !== null; task = this.#queue.oldest) {
      const fresh = this.#options.tryAllocate?.(withoutTicket(task)) ?? null;
      if (fresh === null) break;
      this.nrRecheckHits++;
      this.#hand(fresh);
    }
    this.#armRecheck();
  }
}

/** A pool that is filled from a reserve empties it (trap 1). */
function withoutTicket(task: TaskContext): TaskContext {
  return task.ticket === null ? task : task.withTicket(null);
}
