/**
 * The reserve (M2, M3, M5): accounts in a tree, and tickets that spend them.
 *
 * There is no flag that opens the reserve. Frames of an account are not set apart by number: they are frames that the floors keep
 * free. The emergency band holds E = Σ (limit − usage) frames; an ordinary caller never goes below it, and a ticket takes from it up
 * to its own account's limit. A frame taken lowers free and E together, and comes back before its account is credited, so free ≥ E
 * holds at every step.
 *
 *     charge(n)    usage + n ≤ limit, here and in every parent → take the frames
 *     uncharge(n)  free the frames first, then lower the usage, then wake who waits for room
 */
import { invariant, KernelError } from '../base/errno.js';
import type { TicketLike } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';

/** One node's share of the reserve. Frames. */
export class ReserveAccount {
  #usageFrames = 0;
  #highWaterFrames = 0;
  #limitFrames: number;
  /** Woken, oldest first, when room comes back. */
  readonly room: WaitQueue;

  constructor(
    readonly tree: ReserveTree,
    readonly parent: ReserveAccount | null,
    readonly name: string,
    limitFrames: number,
  ) {
    this.#limitFrames = limitFrames;
    this.room = new WaitQueue({ kind: 'account', name });
  }

  get limitFrames(): number {
    return this.#limitFrames;
  }

  get usageFrames(): number {
    return this.#usageFrames;
  }

  /** Most that was ever in use at once. */
  get highWaterFrames(): number {
    return this.#highWaterFrames;
  }

  /** Takes room for `frames`, in this account and its parents. @returns false, with nothing changed, if any has too little. */
  charge(frames: number): boolean {
    for (let at: ReserveAccount | null = this; at !== null; at = at.parent) if (at.#usageFrames + frames > at.#limitFrames) return false;
    for (let at: ReserveAccount | null = this; at !== null; at = at.parent) {
      at.#usageFrames += frames;
      if (at.#usageFrames > at.#highWaterFrames) at.#highWaterFrames = at.#usageFrames;
    }
    this.tree.noteCharge(frames);
    return true;
  }

  /** Gives room back. The frames must have been freed before (trap 7). */
  uncharge(frames: number): void {
    for (let at: ReserveAccount | null = this; at !== null; at = at.parent) {
      invariant(at.#usageFrames >= frames, `account ${at.name} is credited more than it was charged`);
      at.#usageFrames -= frames;
    }
    this.tree.noteCharge(-frames);
    this.room.wakeOne();
  }

  /** For the tree. */
  adjustLimit(frames: number): void {
    this.#limitFrames += frames;
  }
}

/** All accounts of a kernel. The root's limit is the sum of its children's. */
export class ReserveTree {
  readonly root: ReserveAccount = new ReserveAccount(this, null, 'reserve', 0);
  readonly #accounts = new Set<ReserveAccount>();
  #emergencyFrames = 0;
  /** Called when Σ limit changed: the floors follow. */
  onLimitChange: () => void = () => {};

  /** E: what the accounts may still ask for. */
  get emergencyFrames(): number {
    return this.#emergencyFrames;
  }

  get limitFrames(): number {
    return this.root.limitFrames;
  }

  get usageFrames(): number {
    return this.root.usageFrames;
  }

  get accounts(): ReadonlySet<ReserveAccount> {
    return this.#accounts;
  }

  /** Adds an account. Whoever calls has made sure the frames are free. */
  open(name: string, limitFrames: number): ReserveAccount {
    if (!Number.isSafeInteger(limitFrames) || limitFrames < 0) {
      throw new KernelError('EINVAL', `account ${name} wants ${limitFrames} frames, which is no count of frames`);
    }
    const account = new ReserveAccount(this, this.root, name, limitFrames);
    this.root.adjustLimit(limitFrames);
    this.#emergencyFrames += limitFrames;
    this.#accounts.add(account);
    this.onLimitChange();
    return account;
  }

  /** Takes an account away. @throws KernelError EBUSY while it is in use: that is a leak of its node. */
  close(account: ReserveAccount): void {
    if (account.usageFrames !== 0) throw new KernelError('EBUSY', `account ${account.name} still holds ${account.usageFrames} frames`);
    if (!this.#accounts.delete(account)) return;
    this.root.adjustLimit(-account.limitFrames);
    this.#emergencyFrames -= account.limitFrames;
    this.onLimitChange();
  }

  /** For accounts. */
  noteCharge(frames: number): void {
    this.#emergencyFrames -= frames;
  }
}

/** The right to spend one unit's worth of an account. Carried by `task.withTicket(ticket)`. */
export class WriteoutTicket implements TicketLike {
  constructor(readonly account: ReserveAccount) {}
}
