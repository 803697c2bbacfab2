/**
 * Memory that is not there (test method, 3): allocations that fail, a reserve that is denied.
 *
 * An injector wraps the methods of one kernel's page allocator and accounts from outside, and takes itself off again; production code knows
 * nothing of it, and no allocation is exempt. What counts as one allocation is one call of `allocPage`, `allocPageSlow` or `allocBlock`, an
 * inner call of `allocPage` by `allocPageSlow` included; it fails as the real one does when there is nothing, with `NONE`.
 *
 * `by: 'path'` counts distinct call paths in place of calls: the n-th path that was never seen before fails. Rare sites are so reached
 * early. A path is the stack up to the nearest await, by function and place in its file.
 */
import { type Kernel, NONE, type Pfn, type ReserveAccount, type TaskContext } from '@tidemark/core';
import { hashText } from '../time/random.js';

/** Which allocations fail. */
export interface AllocationFault {
  /** `once`: the n-th; `from`: the n-th and all behind it; `deny-reserve`: none, but from the n-th on no account gives anything. */
  readonly mode: 'once' | 'from' | 'deny-reserve';
  /** From 1 on. A larger number than there are allocations injects nothing. */
  readonly nth: number;
  /** What is counted. Default `call`. */
  readonly by?: 'call' | 'path';
  /**
   * Allocations under a ticket are neither counted nor refused: what was set aside is there, or the planner has a bug (M5), and who holds a
   * ticket may wait for it without end. Default false: all of them, for what must allocate nothing.
   */
  readonly sparesTickets?: boolean;
}

/** An injector at work. */
export interface AllocationInjector {
  /** Allocations seen: calls, or distinct paths. */
  readonly nrSeen: number;
  /** Allocations and charges that were refused. */
  readonly nrInjected: number;
  /** The stack of the first allocation that was refused, or null. */
  readonly firstPath: string | null;
  /** Takes it off. Twice is fine. */
  remove(): void;
}

type Allocate = (...args: never[]) => unknown;
/** All of them, waiting or not: an injector that spares some spares writeout (trap 13). */
const METHODS = ['allocPage', 'allocPageSlow', 'allocBlock'] as const;

/** Has allocations of `kernel` fail from now on. */
export function injectAllocationFaults(kernel: Kernel, fault: AllocationFault): AllocationInjector {
  return new Injector(kernel, fault);
}

class Injector implements AllocationInjector {
  nrSeen = 0;
  nrInjected = 0;
  firstPath: string | null = null;
  readonly #fault: AllocationFault;
  readonly #paths = new Set<number>();
  readonly #undo: (() => void)[] = [];

  constructor(kernel: Kernel, fault: AllocationFault) {
    this.#fault = fault;
    const { allocator, reserve } = kernel.memory;
    for (const method of METHODS) {
      this.#wrap(allocator as unknown as Record<string, Allocate>, method, () => this.#fails(), NONE);
    }
    if (fault.mode !== 'deny-reserve') return;
    const deny = (account: ReserveAccount): void => {
      this.#wrap(account as unknown as Record<string, Allocate>, 'charge', () => this.#denies(), false);
    };
    for (const account of reserve.accounts) deny(account);
    const open = reserve.open.bind(reserve);
    reserve.open = (...opening) => {
      const account = open(...opening);
      deny(account);
      return account;
    };
    this.#undo.push(() => Reflect.deleteProperty(reserve, 'open'));
  }

  #wrap(target: Record<string, Allocate>, method: string, fails: () => boolean, result: Pfn | boolean): void {
    const original = target[method];
    const { sparesTickets = false } = this.#fault;
    const isSpared = (args: readonly unknown[]): boolean =>
      sparesTickets && ((args[0] as Partial<TaskContext> | null)?.ticket ?? null) !== null;
    target[method] = (...args) => (!isSpared(args) && fails() ? result : original.apply(target, args));
    this.#undo.push(() => Reflect.deleteProperty(target, method));
  }

  #fails(): boolean {
    const stack = this.#fault.by === 'path' ? callPath() : null;
    if (stack === null) this.nrSeen++;
    else {
      const hash = hashText(stack);
      const isNew = !this.#paths.has(hash);
      if (isNew) {
        this.#paths.add(hash);
        this.nrSeen++;
      } else if (this.#fault.mode === 'once') return false;
    }
    const { mode, nth } = this.#fault;
    if (mode === 'deny-reserve' || (mode === 'once' ? this.nrSeen !== nth : this.nrSeen < nth)) return false;
    this.nrInjected++;
    this.firstPath ??= stack ?? callPath();
    return true;
  }

  #denies(): boolean {
    if (this.nrSeen < this.#fault.nth) return false;
    this.nrInjected++;
    return true;
  }

  remove(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }
}

/** Who called, without the frames of this file. */
function callPath(): string {
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  return frames.filter((frame) => !frame.includes('allocation-faults')).join('\n');
}
