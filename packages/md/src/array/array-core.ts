/**
 * An array at work: what its paths, its bitmap and its passes share, and what happens when a member fails.
 *
 *     clean ──the first write──→ active on every member's superblock ──200 ms without a write, members flushed──→ clean
 *
 * A member that fails is out at once; the superblocks of the others say so before a write that missed it ends. The last member in sync never
 * fails: its errors are its user's.
 */
import type { Clock, Memory, NegErrno, TaskContext, TimerHandle, TracePoints } from '@tidemark/core';
import { Semaphore, WRITE_AGAIN } from '@tidemark/core';
import type { WriteIntentBitmap } from '../bitmap/write-intent-bitmap.js';
import type { BitmapUser } from '../bitmap/write-intent-bitmap.js';
import '../trace.js';
import type { ArrayState } from './array-state.js';
import type { Member } from './member.js';
import { type RangedWrite, RangeGate } from './range-gate.js';
import { ReadRepair } from './read-repair.js';
import { SuperblockWriter } from './superblock-writer.js';
import { type SyncLimits, SyncRunner } from './sync-runner.js';

/** Time without a write after which an array is clean. */
const SAFE_MODE_MS = 200;

/** What an array is made of. */
export interface ArrayParts {
  readonly state: ArrayState;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly trace: TracePoints;
  /** Of the array itself: inside its node, with no right to any reserve. */
  readonly task: TaskContext;
  readonly writes: readonly RangedWrite[];
  readonly windowPages: number;
  readonly readOnly: boolean;
  readonly limits: SyncLimits;
}

export class ArrayCore implements BitmapUser {
  readonly state: ArrayState;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly task: TaskContext;
  readonly gate: RangeGate;
  readonly superblocks: SuperblockWriter;
  readonly readRepair: ReadRepair;
  readonly sync: SyncRunner;
  readonly windowPages: number;
  readonly readOnly: boolean;
  bitmap: WriteIntentBitmap | null = null;
  readonly #trace: TracePoints;
  readonly #flushTurn: Semaphore;
  #nrWrites = 0;
  #idleTimer: TimerHandle | null = null;
  /** When the last write ended. */
  #idleSinceMs = 0;
  /** A write has begun since the array last tried to become clean. */
  #hasWritten = false;
  #isStopping = false;
  /** A flush of the array's own was told that writes are lost; its user is not, yet. */
  #hasUntoldLoss = false;

  constructor(parts: ArrayParts) {
    const { state } = parts;
    this.state = state;
    this.memory = parts.memory;
    this.clock = parts.clock;
    this.task = parts.task;
    this.windowPages = parts.windowPages;
    this.readOnly = parts.readOnly;
    this.#trace = parts.trace;
    this.gate = new RangeGate(state.name, parts.writes);
    this.superblocks = new SuperblockWriter({
      state,
      nowMs: () => Math.floor(this.clock.wallMs?.() ?? this.clock.nowMs()),
      updateBitmap: () => this.bitmap?.updateSuperblock() ?? Promise.resolve(),
      memberFailed: (member, status) => this.memberFailed(member, status),
    });
    this.readRepair = new ReadRepair(this, parts.task);
    this.sync = new SyncRunner(this, parts.limits);
    this.#flushTurn = new Semaphore(1, { kind: 'flush', name: `of members of ${state.name}` });
  }

  get events(): bigint {
    return this.state.events;
  }

  get isHealthy(): boolean {
    return !this.state.isDegraded && !this.state.isBroken;
  }

  /** Writes under way. */
  get nrWrites(): number {
    return this.#nrWrites;
  }

  tell(
    event: 'failed' | 'added' | 'removed' | 'in-sync' | 'sync-begins' | 'sync-ends' | 'bitmap-failed' | 'last-member',
    what: string,
    detail = 0,
  ): void {
    if (this.#trace.enabled) this.#trace.emit('md', { array: this.state.name, event, what, detail });
  }

  /** True if what a member cannot read may be written to it anew. */
  mayRepair(member: Member): boolean {
    return !this.readOnly && !this.#isStopping && member.state === 'in-sync' && this.state.nrInSync > 1 && !this.state.isBroken;
  }

  /** A member failed, or is said to have. Not the last one in sync. @returns whether it is faulty now. */
  memberFailed(member: Member, status: NegErrno): boolean {
    const { state } = this;
    if (member.state === 'faulty') return true;
    if (member.state === 'in-sync' && state.nrInSync === 1) {
      this.tell('last-member', member.name, status);
      return false;
    }
    member.state = 'faulty';
    state.drop(member);
    if (state.nrInSync === 1) state.resyncFrom = null; // nobody is left that could differ from it
    this.tell('failed', member.name, status);
    if (!this.readOnly) this.superblocks.want();
    this.sync.kick();
    return true;
  }

  /** Makes durable what members acknowledged. @returns whether it is, on every member there is. */
  async flushMembers(): Promise<boolean> {
    if ((await this.#flushTurn.acquire(this.task)) !== 0) return false;
    try {
      const members = this.state.members.filter(({ isWritten }) => isWritten);
      const isDurable = this.state.markProgress();
      const statuses = await Promise.all(members.map((member) => member.flushIo.flush()));
      for (const [i, member] of members.entries()) {
        if (statuses[i] === 0 || this.memberFailed(member, statuses[i])) continue;
        if (statuses[i] === WRITE_AGAIN) this.#hasUntoldLoss = true;
      }
      const isWhole = statuses.every((status) => status === 0);
      if (isWhole) isDurable();
      return isWhole;
    } finally {
      this.#flushTurn.release();
    }
  }

  /** @returns whether the next flush of the array's user has to end with `WRITE_AGAIN`; once. */
  takeUntoldLoss(): boolean {
    const had = this.#hasUntoldLoss;
    this.#hasUntoldLoss = false;
    return had;
  }

  /** A write starts. */
  writeBegins(): void {
    this.#nrWrites++;
    this.#hasWritten = true;
  }

  /** It has ended. */
  writeEnds(): void {
    if (--this.#nrWrites > 0 || this.#isStopping || !this.state.isActive) return;
    this.#idleSinceMs = this.clock.nowMs();
    if (this.#idleTimer === null) this.#waitIdle(SAFE_MODE_MS);
  }

  /** One timer at a time, which looks again if there were writes meanwhile: setting one for each write would cost more than the write. */
  #waitIdle(delayMs: number): void {
    this.#idleTimer = this.clock.setTimer(delayMs, () => {
      this.#idleTimer = null;
      if (this.#nrWrites > 0) return; // the last of them sets it anew
      const leftMs = this.#idleSinceMs + SAFE_MODE_MS - this.clock.nowMs();
      if (leftMs > 0) this.#waitIdle(leftMs);
      else void this.#goClean();
    });
  }

  #disarm(): void {
    if (this.#idleTimer !== null) this.clock.clearTimer(this.#idleTimer);
    this.#idleTimer = null;
  }

  async #goClean(): Promise<void> {
    this.#hasWritten = false;
    if (!(await this.flushMembers()) || this.#isStopping) return;
    if (this.#hasWritten) return; // even one that has ended meanwhile: the flush did not wait for it
    this.state.isActive = false;
    this.superblocks.want();
  }

  async bitmapFailed(errno: NegErrno): Promise<void> {
    this.tell('bitmap-failed', this.bitmap?.store.name ?? '', errno);
    this.state.bitmapOffset = null;
    await this.superblocks.write();
  }

  /** Has every page of the bitmap written: a member is new to it. */
  async rewriteBitmap(): Promise<void> {
    this.bitmap?.touchAll();
    await this.bitmap?.updateSuperblock();
  }

  /** Ends: no request may be under way. What can be clean is. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#disarm();
    await this.sync.stop();
    if (!this.readOnly && !this.state.isBroken) {
      await this.superblocks.settle();
      const isFlushed = await this.flushMembers();
      await this.bitmap?.stop();
      if (isFlushed || this.state.isDegraded) {
        this.state.isActive = false;
        await this.superblocks.write();
      }
    } else await this.bitmap?.stop();
    await this.superblocks.settle();
  }
}
