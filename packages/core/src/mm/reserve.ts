/**
 * The reserve (M2, M3, M5): accounts in a tree. What spends them are tickets (ticket.ts).
 *
 * There is no flag that opens the reserve, and no frame of it is without an owner (trap 3). Frames of an account are not set apart by number: they are frames that the floors keep
 * free. The emergency band holds E = Σ (limit − usage) frames; an ordinary caller never goes below it, and a ticket takes from it up
 * to its own account's limit. A frame taken lowers free and E together, and comes back before its account is credited, so free ≥ E
 * holds at every step.
 *
 *     charge(n)    usage + n ≤ limit, here and in every parent → take the frames
 *     uncharge(n)  free the frames first, then lower the usage, then serve who waits for room
 */
import { invariant, KernelError } from '../base/errno.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';
import type { Counters } from './counters.js';
import type { ReservePolicy } from './policy/reserve-policy.js';
import { WriteoutTicket } from './ticket.js';
import { UnitPool } from './unit-pool.js';
import type { Violations } from './violation.js';

/** What an account is opened for. */
export interface AccountDeclaration {
  /** Most frames that one unit holds at once. Default: the limit. */
  readonly need?: number;
  /** Units at once. Default 1. */
  readonly nrUnits?: number;
  /** A of the node: frames that its callers who cannot wait take between two refills (M3). Default 0. */
  readonly atomicFrames?: number;
  /** Longest way down from the node: the lowest is served first (M8). Default 0. */
  readonly level?: number;
  /** The node, for stall reports and for policies that look at it. */
  readonly node?: WaitParty;
}

/** One node's share of the reserve. Frames. */
export class ReserveAccount {
  #usageFrames = 0;
  #highWaterFrames = 0;
  #limitFrames: number;
  /** Frames that one unit of the node holds at most. Kept by the planner when the declaration changes. */
  need: number;
  /** Frames of its callers who cannot wait. */
  readonly atomicFrames: number;
  readonly node: WaitParty | null;
  /** Kept by the planner when the graph changes. */
  level: number;
  /** Its units, each of which may hold `need` frames. */
  readonly units: UnitPool;
  /** Frames of the node that belong to none of its units: slab pages (M20). */
  readonly shared: WriteoutTicket;
  /** Who waits for a frame of this account; served by the page allocator, oldest first. */
  readonly room: WaitQueue;
  /** Frames held under its tickets now, whatever memory they came from. */
  heldFrames = 0;
  /** Of those, the frames that only a right to the reserve got (`PG.RESERVE`). */
  reservedFrames = 0;
  /** Times a task waited for room. */
  nrWaits = 0;
  /** Frames and objects taken beyond the need of a unit. */
  nrOverspends = 0;

  constructor(
    readonly tree: ReserveTree,
    readonly parent: ReserveAccount | null,
    readonly name: string,
    limitFrames: number,
    declared: AccountDeclaration = {},
  ) {
    this.#limitFrames = limitFrames;
    this.need = declared.need ?? limitFrames;
    this.atomicFrames = declared.atomicFrames ?? 0;
    this.level = declared.level ?? 0;
    this.node = declared.node ?? null;
    this.room = new WaitQueue({ kind: 'account', name, heldBy: () => this.actors });
    this.units = new UnitPool(this, declared.nrUnits ?? 1);
    this.shared = new WriteoutTicket(this, Number.POSITIVE_INFINITY).start();
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

  /** Who must act for something of this account to come back: the node, and so those below it. For stall reports. */
  get actors(): WaitParty[] {
    return this.node === null ? [] : [this.node];
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

  /** Gives room back. The frames must have been freed before. */
  uncharge(frames: number): void {
    for (let at: ReserveAccount | null = this; at !== null; at = at.parent) {
      invariant(at.#usageFrames >= frames, `account ${at.name} is credited more than it was charged`);
      at.#usageFrames -= frames;
    }
    this.tree.noteCharge(-frames);
    if (this.room.nrWaiters > 0) this.tree.serveRoom(this);
  }

  /** For the tree. */
  adjustLimit(frames: number): void {
    this.#limitFrames += frames;
  }
}

/** All accounts of a kernel. The root's limit is the sum of its children's. */
export class ReserveTree {
  readonly root: ReserveAccount;
  readonly #accounts = new Set<ReserveAccount>();
  #emergencyFrames = 0;
  #atomicFrames = 0;
  /** Who may take what. Bound by `Memory`. */
  policy!: ReservePolicy;
  /** Counts changes of limits and levels, for who keeps something derived from them. */
  revision = 0;
  /** Called when limits, levels or what is declared have changed: the floors follow. */
  onChange: () => void = () => {};
  /** Called when room came back that somebody waits for. */
  serveRoom: (account: ReserveAccount) => void = () => {};

  constructor(
    readonly counters: Counters,
    readonly violations: Violations,
  ) {
    this.root = new ReserveAccount(this, null, 'reserve', 0, { nrUnits: 0 });
  }

  /** E: what the accounts may still ask for. */
  get emergencyFrames(): number {
    return this.#emergencyFrames;
  }

  /** A: what callers who cannot wait take between two refills, over all nodes. */
  get atomicFrames(): number {
    return this.#atomicFrames;
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

  /** Adds an account. Whoever calls has made sure the frames are free. @throws KernelError EINVAL for a limit that is none. */
  open(name: string, limitFrames: number, declared: AccountDeclaration = {}): ReserveAccount {
    if (!Number.isSafeInteger(limitFrames) || limitFrames < 0) {
      throw new KernelError('EINVAL', `account ${name} wants ${limitFrames} frames, which is no count of frames`);
    }
    const account = new ReserveAccount(this, this.root, name, limitFrames, declared);
    this.#accounts.add(account);
    this.#atomicFrames += account.atomicFrames;
    this.#adjust(limitFrames);
    this.noteChange();
    return account;
  }

  /** Gives an account a new limit, but never less than it holds. Whoever raises one has made sure the frames are free. */
  setLimit(account: ReserveAccount, limitFrames: number): void {
    const change = Math.max(limitFrames, account.usageFrames) - account.limitFrames;
    if (change === 0) return;
    account.adjustLimit(change);
    this.#adjust(change);
    this.noteChange();
  }

  /** Root and E follow a child's limit. */
  #adjust(frames: number): void {
    this.root.adjustLimit(frames);
    this.#emergencyFrames += frames;
  }

  /** Limits or levels have changed. */
  noteChange(): void {
    this.revision++;
    this.onChange();
  }

  /** Takes an account away. @throws KernelError EBUSY while it is in use: that is a leak of its node. */
  close(account: ReserveAccount): void {
    if (account.usageFrames !== 0) throw new KernelError('EBUSY', `account ${account.name} still holds ${account.usageFrames} frames`);
    if (!this.#accounts.delete(account)) return;
    this.#atomicFrames -= account.atomicFrames;
    this.#adjust(-account.limitFrames);
    this.noteChange();
  }

  /** For accounts. */
  noteCharge(frames: number): void {
    this.#emergencyFrames -= frames;
  }
}
