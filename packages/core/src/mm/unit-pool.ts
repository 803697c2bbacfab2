/**
 * The units of an account (M8): a reserve that is sized for k users must not be entered by k + 1.
 *
 * A unit begins when it holds one of k tickets, which are made once and used again, so that beginning a unit allocates nothing. First come,
 * first served: nobody overtakes a waiter. How many may be out at a time is the policy's to say; where units are not bounded a ticket is only
 * the mark "this is writeout", and there are as many as are asked for.
 */
import type { NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TaskContext } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';
import type { ReserveAccount } from './reserve.js';
import { WriteoutTicket } from './ticket.js';

export class UnitPool {
  readonly #account: ReserveAccount;
  readonly #queue: WaitQueue;
  readonly #all: WriteoutTicket[] = [];
  #free: WriteoutTicket | null = null;
  #nrOut = 0;
  #nrWaits = 0;

  constructor(
    account: ReserveAccount,
    /** Units that the node declared; each may hold `account.need` frames. */
    readonly nrUnits: number,
  ) {
    this.#account = account;
    this.#queue = new WaitQueue({ kind: 'unit', name: account.name, heldBy: () => account.actors });
    for (let i = 0; i < nrUnits; i++) this.#put(this.#create());
  }

  /** Units begun and not ended, and those that ended while they held frames. */
  get nrOut(): number {
    return this.#nrOut;
  }

  /** Every ticket, out or not: for checks and reports. */
  get tickets(): readonly WriteoutTicket[] {
    return this.#all;
  }

  /** Tasks that wait for a unit. */
  get nrWaiters(): number {
    return this.#queue.nrWaiters;
  }

  /** Times a task waited for a unit. */
  get nrWaits(): number {
    return this.#nrWaits;
  }

  /** Units that could begin now. */
  get nrFree(): number {
    return this.#queue.nrWaiters > 0 ? 0 : Math.max(this.#most() - this.#nrOut, 0);
  }

  #most(): number {
    return this.#account.tree.policy.unitsOf(this.#account);
  }

  /** Begins a unit if one is free and nobody waits for one. For kswapd and the flushers, who never wait for a unit (M11). */
  tryBegin(_task: TaskContext): WriteoutTicket | null {
    if (this.#queue.nrWaiters > 0 || this.#nrOut >= this.#most()) return null;
    this.#nrOut++;
    return this.#take();
  }

  /** Begins a unit, waiting for one if all are out. @returns its ticket, or the errno of the task's signal. */
  begin(task: TaskContext): MaybePromise<WriteoutTicket | NegErrno> {
    return this.tryBegin(task) ?? this.#beginSlow(task);
  }

  async #beginSlow(task: TaskContext): Promise<WriteoutTicket | NegErrno> {
    this.#nrWaits++;
    this.#account.tree.counters.reserve_waits++;
    const woken = await this.#queue.wait(task);
    return woken < 0 ? woken : this.#take(); // the unit was counted before we were woken
  }

  #create(): WriteoutTicket {
    const ticket = new WriteoutTicket(this.#account, null, this);
    this.#all.push(ticket);
    return ticket;
  }

  #put(ticket: WriteoutTicket): void {
    ticket.next = this.#free;
    this.#free = ticket;
  }

  #take(): WriteoutTicket {
    const ticket = this.#free ?? this.#create(); // more than were declared: only where units are not bounded
    this.#free = ticket.next;
    ticket.next = null;
    return ticket.start();
  }

  /** For tickets: one is over and holds nothing. */
  ended(ticket: WriteoutTicket): void {
    this.#put(ticket);
    this.#nrOut--;
    while (this.#queue.nrWaiters > 0 && this.#nrOut < this.#most()) {
      this.#nrOut++;
      this.#queue.wakeOne();
    }
  }
}
