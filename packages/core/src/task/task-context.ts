/**
 * Who is asking. There is no ambient "current": a `TaskContext` is the first argument of whatever may allocate or wait.
 *
 * No call says for itself what it may do: marks at single call sites are never complete (trap 4). It is all here, and whatever is called with
 * the task obeys it.
 *
 * It is immutable and only ever narrowed by derivation: `task.within(node)`, `task.noIo()`, `task.withTicket(ticket)`. Nothing has
 * to be restored, so no scope can leak across an await. Servers, devices and transports run in tasks born within their node.
 */
import { abortErrno, type AbortSignalLike } from './abort.js';
import type { NegErrno } from '../base/errno.js';
import type { WaitRegistry } from './wait-registry.js';

/** Anything a task can be inside of: a node of the writeout graph. Compared by identity. */
export interface TaskScope {
  readonly name: string;
}

/** One taking of a lock, see `lock.ts`: shared by the task that took it and all that are derived from it. */
export interface HeldLock {
  readonly lock: { readonly name: string; readonly node: TaskScope };
  /** Its stack tells where it was taken; null unless the kernel keeps sites. */
  readonly site: Error | null;
  /** False once it was given back. */
  isHeld: boolean;
}

/** A right to reserve memory, see `mm/reserve.ts`. Named here so that a task can carry one; only mm looks inside. */
export interface TicketLike {
  readonly account: object;
}

export interface TaskState {
  readonly name: string;
  readonly scopes: readonly TaskScope[];
  readonly scopeData: readonly unknown[];
  readonly locks: readonly HeldLock[];
  readonly mayIo: boolean;
  readonly isReclaimer: boolean;
  readonly ticket: TicketLike | null;
  readonly throttledBy: object | null;
  readonly signal: AbortSignalLike | null;
  readonly waits: WaitRegistry | null;
}

/** The context of one thread of work. */
export class TaskContext implements TaskState {
  readonly name: string;
  /** The nodes this task is inside, outermost first. */
  readonly scopes: readonly TaskScope[];
  /** For each of them what its owner put there: only that owner looks at it (M11). */
  readonly scopeData: readonly unknown[];
  /** The locks this task took, first taken first; `isHeld` tells which it holds (M11). */
  readonly locks: readonly HeldLock[];
  /** False under `noIo()`: reclaim for this task starts no I/O. */
  readonly mayIo: boolean;
  /** True for kswapd and for the work reclaim starts: such a task never enters direct reclaim. */
  readonly isReclaimer: boolean;
  readonly ticket: TicketLike | null;
  /** The only device whose dirty limit may pause this task, or null for the global rule (M16). */
  readonly throttledBy: object | null;
  readonly signal: AbortSignalLike | null;
  /** Where the kernel sees this task's waits; null for a task of no kernel. */
  readonly waits: WaitRegistry | null;

  private constructor(state: TaskState) {
    this.name = state.name;
    this.scopes = state.scopes;
    this.scopeData = state.scopeData;
    this.locks = state.locks;
    this.mayIo = state.mayIo;
    this.isReclaimer = state.isReclaimer;
    this.ticket = state.ticket;
    this.throttledBy = state.throttledBy;
    this.signal = state.signal;
    this.waits = state.waits;
  }

  /** A fresh task, inside nothing. */
  static root(name: string, signal: AbortSignalLike | null = null, waits: WaitRegistry | null = null): TaskContext {
    return new TaskContext({
      name,
      scopes: [],
      scopeData: [],
      locks: [],
      mayIo: true,
      isReclaimer: false,
      ticket: null,
      throttledBy: null,
      signal,
      waits,
    });
  }

  /** The same task under another name, for whoever reads a stall report. */
  named(name: string): TaskContext {
    return new TaskContext({ ...this, name });
  }

  /**
   * The same task, inside `node` too.
   * @param data for the node's owner alone: its `mayReclaim` is shown it for each page that reclaim would act on (M11).
   */
  within(node: TaskScope, data: unknown = null): TaskContext {
    return new TaskContext({ ...this, scopes: [...this.scopes, node], scopeData: [...this.scopeData, data] });
  }

  /** The same task, holding a lock too: what `Lock.acquire` returns. */
  holding(held: HeldLock): TaskContext {
    return new TaskContext({ ...this, locks: [...this.locks, held] });
  }

  /** True if the task holds `lock`. */
  holds(lock: object): boolean {
    return this.locks.some((held) => held.lock === lock && held.isHeld);
  }

  /** True if the task is inside `node`. */
  isWithin(node: TaskScope): boolean {
    return this.scopes.includes(node);
  }

  /** The same task, whose reclaim starts no I/O. */
  noIo(): TaskContext {
    return new TaskContext({ ...this, mayIo: false });
  }

  /** The same task as a part of reclaim itself. */
  asReclaimer(): TaskContext {
    return new TaskContext({ ...this, isReclaimer: true });
  }

  /** The same task with the right to spend one unit's reserve; null drops it (M19). */
  withTicket(ticket: TicketLike | null): TaskContext {
    return new TaskContext({ ...this, ticket });
  }

  /** The same task, paused by the dirty limit of one device only (M16). */
  localThrottle(device: object): TaskContext {
    return new TaskContext({ ...this, throttledBy: device });
  }

  /** The same task with another signal in place of the one it had; `eitherSignal` makes one of two. */
  withSignal(signal: AbortSignalLike | null): TaskContext {
    return new TaskContext({ ...this, signal });
  }

  /** 0, or the errno with which a wait of this task ends at once. */
  checkSignal(): NegErrno {
    return this.signal?.aborted ? abortErrno(this.signal) : 0;
  }
}
