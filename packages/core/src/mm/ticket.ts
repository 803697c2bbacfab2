/**
 * Tickets (M2, M5, M8): the right of one unit of writeout to memory of its node's account.
 *
 * A unit is the smallest piece of writeout work of a node: one page, bio, call or commit. Its ticket is carried by `task.withTicket(ticket)`,
 * and everything that is allocated under it counts against the need that the node declared for a unit, **whatever memory it came from**, so
 * that a declaration that is too small shows with plenty of memory, and not first in an emergency.
 *
 *     begin (UnitPool) → allocations under it: held rises → frames freed or exchanged: held falls → end, holding nothing
 */
import type { TaskContext, TicketLike } from '../task/task-context.js';
import { PAGE_SHIFT, PAGE_SIZE } from '../base/size.js';
import { invariant } from '../base/errno.js';
import type { ReserveAccount } from './reserve.js';

/** What a ticket takes on the JS heap, for who pays for many. */
export const TICKET_BYTES = 72;

/** One unit of an account. Made by the account's `units`, and used again and again. */
export class WriteoutTicket implements TicketLike {
  /** For the pool: the next ticket that is not out. */
  next: WriteoutTicket | null = null;
  #nrFrames = 0;
  #nrReserved = 0;
  #objectBytes = 0;
  #isOver = true;

  constructor(
    readonly account: ReserveAccount,
    private readonly ownNeed: number | null = null,
    /** Told when it is over and holds nothing. */
    private readonly pool: { readonly ended: (ticket: WriteoutTicket) => void } | null = null,
  ) {}

  /** Most it may hold at once, in frames: what its node declares. */
  get need(): number {
    return this.ownNeed ?? this.account.need;
  }

  /** Frames it holds now, whatever their source; objects of slab caches by their bytes, rounded up. */
  get held(): number {
    return this.#nrFrames + ((this.#objectBytes + PAGE_SIZE - 1) >>> PAGE_SHIFT);
  }

  /** Of the frames it holds, those that only a right to the reserve got (`PG.RESERVE`). */
  get reservedFrames(): number {
    return this.#nrReserved;
  }

  /** True between `begin` and `end`. */
  get isOut(): boolean {
    return !this.#isOver;
  }

  /** For the pool: the unit starts. */
  start(): this {
    this.#isOver = false;
    return this;
  }

  /**
   * The unit is over. It must hold nothing. If it does, that is a violation: its frames stay charged until they are freed, and its place
   * among the units is taken until then.
   */
  end(): void {
    invariant(!this.#isOver, `a unit of ${this.account.name} was ended twice`);
    this.#isOver = true;
    const { held } = this;
    if (held === 0) this.pool?.ended(this);
    else
      this.account.tree.violations.report('leaked', this.account.name, `a unit of ${this.account.name} ended while it held ${held} frames`);
  }

  /** For whoever is about to take frames or bytes of objects under it: more than the need is counted, and told (M5). Takes nothing. */
  checkNeed(nrFrames: number, objectBytes = 0): void {
    const wanted = this.#nrFrames + nrFrames + ((this.#objectBytes + objectBytes + PAGE_SIZE - 1) >>> PAGE_SHIFT);
    if (wanted > this.need) this.#overspent(wanted);
  }

  #overspent(wanted: number): void {
    const { account, need } = this;
    account.nrOverspends++;
    account.tree.violations.report('overspent', account.name, `a unit of ${account.name} holds ${wanted} frames; ${need} were declared`);
  }

  /** For mm: frames come (positive) or go, and so many of them are of the reserve. */
  addFrames(nrFrames: number, nrReserved: number): void {
    this.#nrFrames += nrFrames;
    this.#nrReserved += nrReserved;
    this.account.heldFrames += nrFrames;
    this.account.reservedFrames += nrReserved;
    if (nrFrames < 0) this.#lessHeld();
  }

  /** For slab caches: objects come (positive) or go. */
  addObjects(bytes: number): void {
    this.#objectBytes += bytes;
    if (bytes < 0) this.#lessHeld();
  }

  #lessHeld(): void {
    invariant(this.#nrFrames >= 0 && this.#objectBytes >= 0, `a unit of ${this.account.name} gave back more than it held`);
    if (this.#isOver && this.#nrFrames === 0 && this.#objectBytes === 0) this.pool?.ended(this);
  }
}

/** The ticket a task carries, or null. */
export function ticketOf(task: TaskContext): WriteoutTicket | null {
  return task.ticket as WriteoutTicket | null;
}
