/**
 * Writeback of one kernel: its backings, their flushers, and the dirty throttle (M10).
 *
 * A flusher runs while its backing has dirty pages:
 *
 *     every 5 s          what has been dirty for 30 s
 *     over background    until it is no longer
 *
 * It waits for nothing: what it cannot start now it leaves for the next time a write ends, or for the next round. It yields to syncs.
 */
import type { Memory } from '../mm/memory.js';
import type { UnitPool } from '../mm/unit-pool.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { Clock, Scheduler, TimerHandle } from '../task/clock.js';
import { anyPage } from './address-space.js';
import { Backing, type BackingWatcher, type DirtyShare, type WantsOf } from './backing.js';
import { type DirtyThrottle, type DirtyThrottleFactory, hardDirtyLimits } from './dirty-throttle.js';
import { RUN_PAGES, RUNS_MAX } from './write-run.js';

const INTERVAL_MS = 5_000;
const EXPIRE_MS = 30_000;
/** Pages written of late, all backings together, after which all are halved. */
const RECENT_MAX = 4096;

export interface WritebackParts {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  /** The units of a node that was admitted; else null. */
  readonly unitsOf: (node: WriteoutNode) => UnitPool | null;
  /** Default: freerun, hard limits, pauses. */
  readonly throttle?: DirtyThrottleFactory;
}

export class Writeback implements BackingWatcher {
  readonly throttle: DirtyThrottle;
  readonly unitsOf: (node: WriteoutNode) => UnitPool | null;
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #backings = new WeakMap<object, Backing>();
  /** Those with dirty pages. */
  readonly #dirty = new Set<Backing>();
  #timer: TimerHandle | null = null;
  #isDeferred = false;
  #isStopped = false;

  constructor(parts: WritebackParts) {
    this.#clock = parts.clock;
    this.#scheduler = parts.scheduler;
    this.unitsOf = parts.unitsOf;
    const { memory, clock, throttle = hardDirtyLimits } = parts;
    this.throttle = throttle({ memory, clock, dirtyBackings: this.#dirty, wakeFlushers: () => this.#defer() });
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  /** The backing that caches with this device share. @param named for people, if it is new. */
  backingOf(device: object, named: { readonly name: string }): Backing {
    let backing = this.#backings.get(device);
    if (backing === undefined) {
      backing = new Backing(device, named.name, this);
      this.#backings.set(device, backing);
    }
    return backing;
  }

  /** How much a device may have dirty: `{ maxPercent: 1, isStrict: true }` for one that need not be trusted. */
  setShare(device: object, name: string, share: DirtyShare): void {
    this.backingOf(device, { name }).share = share;
  }

  /** Backings with dirty pages. */
  get dirtyBackings(): ReadonlySet<Backing> {
    return this.#dirty;
  }

  /**
   * Starts writing dirty pages of any backing. Never waits.
   * @param wants as `Backing.startWriteback`.
   * @returns pages started.
   */
  startWriteback(nrPages: number, wants: WantsOf): number {
    let started = 0;
    for (const backing of [...this.#dirty]) {
      if (started >= nrPages) break;
      started += backing.startWriteback(nrPages - started, wants);
    }
    return started;
  }

  hasDirty(backing: Backing): void {
    this.#dirty.add(backing);
    this.#arm();
  }

  #arm(): void {
    if (this.#timer !== null || this.#isStopped || this.#dirty.size === 0) return;
    this.#timer = this.#clock.setTimer(INTERVAL_MS, () => {
      this.#timer = null;
      this.#round();
    });
  }

  /** A round when those who run now have had their turn. */
  #defer(): void {
    if (this.#isDeferred || this.#isStopped) return;
    this.#isDeferred = true;
    this.#scheduler.defer(() => {
      this.#isDeferred = false;
      this.#round();
    });
  }

  #round(): void {
    if (this.#isStopped) return;
    const expiredMs = this.#clock.nowMs() - EXPIRE_MS;
    const ifExpired: WantsOf = ({ dirtySinceMs }) => (dirtySinceMs <= expiredMs ? anyPage : null);
    for (const backing of [...this.#dirty]) {
      if (backing.dirtyCaches.size === 0 && backing.nrWriteback === 0) this.#dirty.delete(backing);
      else if (backing.nrSyncs === 0) {
        const over = this.throttle.nrOverBackground;
        if (over > 0) backing.startWriteback(Math.min(over, RUN_PAGES * RUNS_MAX));
        else backing.startWriteback(RUN_PAGES * RUNS_MAX, ifExpired);
      }
    }
    this.#forgetSpeeds();
    this.#arm();
  }

  /** Speeds are of late. */
  #forgetSpeeds(): void {
    let nrRecent = 0;
    for (const backing of this.#dirty) nrRecent += backing.nrRecent;
    if (nrRecent > RECENT_MAX) for (const backing of this.#dirty) backing.nrRecent >>>= 1;
  }

  hasProgressed(backing: Backing): void {
    if (backing.dirtyCaches.size > 0 && (this.throttle.nrOverBackground > 0 || this.#hasExpired(backing))) this.#defer();
    if (backing.nrPages > 0) return;
    this.#dirty.delete(backing);
    if (this.#dirty.size > 0 || this.#timer === null) return;
    this.#clock.clearTimer(this.#timer);
    this.#timer = null;
  }

  #hasExpired(backing: Backing): boolean {
    const expiredMs = this.#clock.nowMs() - EXPIRE_MS;
    for (const cache of backing.dirtyCaches) if (cache.dirtySinceMs <= expiredMs) return true;
    return false;
  }

  /** Ends the flushers for good: caches write what they have when they are closed. */
  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) this.#clock.clearTimer(this.#timer);
    this.#timer = null;
  }
}
