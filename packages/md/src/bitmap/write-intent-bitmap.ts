/**
 * The write-intent bitmap at work (M17): before data go to any member, the bits of their chunks are durable; some time after, they are cleared.
 *
 *     startWrite ── stored already ─────────────────────────────→ the write goes on, nothing was awaited or allocated
 *              └─ waitStored → all dirty pages written, one flush ─→ … and with it everybody who came before the batch began
 *
 * One writer: a batch of set bits, or one page of cleared ones; sets go first, so a set waits for one page of clears at most. Pages carry
 * whatever is in memory when they are written; a bit that is set meanwhile makes its page dirty again.
 *
 * The daemon takes a step each interval while there is something to clear and the array is healthy. Before it clears, the superblock with the
 * new events-cleared is durable, and so is what the members have acknowledged: a clear that outlived data of its chunk would hide that the
 * members differ. Losing a clear is harmless.
 *
 * A bitmap that cannot be written is given up: the array goes on without, and its superblocks' events run ahead of the bitmap's, which so
 * is stale for whoever finds it.
 */
import type { Clock, NegErrno, TimerHandle } from '@tidemark/core';
import { BitmapState, type BitmapSuperblock, encodeBitmapSuperblock } from '../format/bitmap-superblock.js';
import { WaiterList, type Waiter, waitOn } from '../waiters.js';
import { PageFlag } from './bits.js';
import type { IntentLog } from './intent-log.js';
import type { BitmapStore } from './store.js';

/** The array, as its bitmap sees it. */
export interface BitmapUser {
  readonly events: bigint;
  /** Every member is there and in sync. */
  readonly isHealthy: boolean;
  /** Makes durable what members acknowledged. @returns whether it is, on all of them. */
  flushMembers(): Promise<boolean>;
  /** The bitmap is given up. Ends when the members' superblocks, on disk, are ahead of it. */
  bitmapFailed(errno: NegErrno): Promise<void>;
}

/** Steps of the daemon after which what is idle is cleared. */
const STEPS_TO_CLEAR = 3;

export class WriteIntentBitmap {
  readonly #pages: Uint32Array;
  /** Who waits for bits, and for the superblock. */
  readonly #waiting = new WaiterList();
  readonly #superblockWaiting = new WaiterList();
  #isRunning = false;
  #isStopped = false;
  #isFailed = false;
  #timer: TimerHandle | null = null;
  #pass: Promise<void> | null = null;
  readonly #idle = new WaiterList();
  /** Batches of sets so far. */
  nrBatches = 0;

  constructor(
    readonly log: IntentLog,
    readonly store: BitmapStore,
    private superblock: BitmapSuperblock,
    private readonly clock: Clock,
    private readonly user: BitmapUser,
  ) {
    this.#pages = new Uint32Array(log.bits.nrPages);
    log.eventsCleared = superblock.eventsCleared;
  }

  get chunkBytes(): number {
    return this.superblock.chunkBytes;
  }

  get isFailed(): boolean {
    return this.#isFailed;
  }

  /** Its superblock, as last encoded. */
  get fields(): BitmapSuperblock {
    return this.superblock;
  }

  /** A write of chunks starts. @returns whether it may go on; else `waitStored`. */
  startWrite(first: number, last: number): boolean {
    this.log.startWrite(first, last);
    return this.#isFailed || this.log.bits.isStored(first, last);
  }

  /** Resumes `waiter` when every bit that is set now is durable, or the bitmap was given up. */
  waitStored(waiter: Waiter): void {
    this.#waiting.push(waiter);
    this.#kick();
  }

  /** A write of chunks has ended; as `IntentLog.endWrite`. */
  endWrite(first: number, last: number, isEverywhere: boolean): void {
    const { log, user } = this;
    const isNews = user.events !== log.eventsCleared;
    log.endWrite(first, last, isEverywhere, isNews && user.isHealthy ? user.events : 0n);
    if (this.#timer === null) this.wake();
  }

  /** Makes the superblock with the array's events durable. Before the members' ones are written. */
  async updateSuperblock(): Promise<void> {
    if (this.#isFailed) return;
    this.#encode();
    const stored = waitOn(this.#superblockWaiting);
    this.#kick();
    await stored;
  }

  /** Every page is to be written: a copy is new. */
  touchAll(): void {
    for (let page = 0; page < this.log.bits.nrPages; page++) this.log.bits.mark(page, PageFlag.SET);
  }

  #encode(): void {
    const { events } = this.user;
    const { eventsCleared, bits } = this.log;
    this.superblock = { ...this.superblock, events, eventsCleared, state: 0 };
    encodeBitmapSuperblock(bits.page(0), this.superblock);
    bits.mark(0, PageFlag.SET);
  }

  #kick(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    await null; // whoever starts writes in this same turn is part of the batch
    for (let work = this.#next(); work !== null; work = this.#next()) await work;
    this.#isRunning = false;
    this.#idle.resumeAll();
  }

  #next(): Promise<void> | null {
    const { bits } = this.log;
    const isWanted = !this.#waiting.isEmpty || !this.#superblockWaiting.isEmpty;
    if (this.#isFailed) return isWanted ? this.#writeSets() : null;
    if (isWanted || bits.nextWith(PageFlag.SET) >= 0) return this.#writeSets();
    const page = bits.nextWith(PageFlag.CLEARED);
    return page < 0 ? null : this.#writeCleared(page);
  }

  async #writeSets(): Promise<void> {
    const { bits } = this.log;
    const covered = new WaiterList();
    const superblockCovered = new WaiterList();
    this.#waiting.moveTo(covered);
    this.#superblockWaiting.moveTo(superblockCovered);
    let count = 0;
    for (let page = bits.nextWith(PageFlag.SET); page >= 0; page = bits.nextWith(PageFlag.SET, page + 1)) {
      bits.unmark(page, PageFlag.SET | PageFlag.CLEARED);
      bits.mark(page, PageFlag.WRITING);
      this.#pages[count++] = page;
    }
    if (count > 0 && !this.#isFailed) {
      this.nrBatches++;
      const status = await this.store.writeDurably(this.#pages, count);
      for (let i = 0; i < count; i++) bits.unmark(this.#pages[i], PageFlag.WRITING);
      if (status !== 0) {
        this.#isFailed = true;
        superblockCovered.resumeAll(); // what failing waits for may wait for these
        this.#superblockWaiting.resumeAll();
        await this.#giveUp(status);
      }
    }
    superblockCovered.resumeAll();
    covered.resumeAll();
  }

  async #giveUp(status: NegErrno): Promise<void> {
    this.#disarm();
    await this.user.bitmapFailed(status);
    this.superblock = { ...this.superblock, state: BitmapState.STALE | BitmapState.WRITE_ERROR };
    encodeBitmapSuperblock(this.log.bits.page(0), this.superblock);
    this.#pages[0] = 0;
    await this.store.writeDurably(this.#pages, 1); // it may help whoever looks; it is stale by its events anyhow
  }

  async #writeCleared(page: number): Promise<void> {
    const { bits } = this.log;
    bits.unmark(page, PageFlag.CLEARED);
    const status = await this.store.write(page);
    if (status === 0) return;
    this.#isFailed = true;
    this.#superblockWaiting.resumeAll();
    await this.#giveUp(status);
  }

  /** Has the daemon look, if there is anything for it. Also to be called when the array is healthy again. */
  wake(): void {
    if (this.#timer !== null || this.#pass !== null || this.#isStopped || this.#isFailed || !this.user.isHealthy || !this.log.hasWork)
      return;
    this.#timer = this.clock.setTimer(this.superblock.daemonSeconds * 1000, () => {
      this.#timer = null;
      this.#pass = this.#daemonPass().finally(() => {
        this.#pass = null;
        this.wake();
      });
    });
  }

  #disarm(): void {
    if (this.#timer !== null) this.clock.clearTimer(this.#timer);
    this.#timer = null;
  }

  async #daemonPass(): Promise<void> {
    const { log, user } = this;
    if (!user.isHealthy || this.#isFailed) return;
    if (log.isSuperblockDue) {
      const cleared = log.eventsCleared;
      await this.updateSuperblock();
      if (log.eventsCleared === cleared) log.isSuperblockDue = false;
    }
    if (log.hasIdle && !(await user.flushMembers())) return;
    if (!user.isHealthy || this.#isFailed) return;
    log.step();
    this.#kick();
  }

  /** Ends the daemon; clears what can be cleared, and writes what is to be written. No writes may be under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#disarm();
    await this.#pass;
    for (let step = 0; step < STEPS_TO_CLEAR && this.log.hasWork; step++) await this.#daemonPass();
    if (this.#isRunning) await waitOn(this.#idle);
  }
}
