/**
 * The journal of a mounted filesystem: handles in, commits out.
 *
 *     start      a handle in the running transaction; waits for a commit if its credits would make the transaction larger than T
 *     commit     5 s after a transaction began, when it is full, and when somebody wants it durable
 *     abort      a failed write of log or metadata, or an operation that failed half way: no handle any more, nothing is committed; the
 *                cause is kept in memory, in the journal and in the superblock
 *
 * One transaction runs while one commits. Its need is T blocks, twice for a moment by one (frozen one at a time), and the log's own blocks.
 */
import {
  type Clock,
  Errno,
  errnoOf,
  invariant,
  KernelError,
  type NegErrno,
  type Steps,
  settle,
  type TaskContext,
  type TimerHandle,
  type UnitPool,
  WaitQueue,
  type WriteoutNode,
} from '@tidemark/core';
import { isAfter, revokeCapacity } from '../format/journal.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';
import type { Committer } from './commit.js';
import { Handle } from './handle.js';
import { Transaction } from './transaction.js';

const COMMIT_INTERVAL_MS = 5_000;

export interface JournalParts {
  readonly name: string;
  readonly cache: MetadataCache;
  readonly committer: Committer;
  readonly clock: Clock;
  /** T: most blocks of a transaction. */
  readonly blocksMax: number;
  /** Number of the first transaction. */
  readonly firstId: number;
  /** Commits run in it: born within the node `journal`. */
  readonly task: TaskContext;
  readonly node: WriteoutNode;
  /** Units of the node; null before it is admitted. */
  readonly units: () => UnitPool | null;
  /** Told once, when nothing can be changed any more. */
  readonly onAbort: (cause: Error) => void;
}

export class Journal {
  readonly #parts: JournalParts;
  readonly #room: WaitQueue;
  readonly #durable: WaitQueue;
  readonly #handlesEnded: WaitQueue;
  #running: Transaction | null = null;
  #committing: Transaction | null = null;
  #isBusy = false;
  #isClosed = false;
  #nextId: number;
  #durableId: number;
  #timer: TimerHandle | null = null;
  #cause: Error | null = null;

  constructor(parts: JournalParts) {
    this.#parts = parts;
    this.#nextId = parts.firstId;
    this.#durableId = (parts.firstId - 1) >>> 0;
    const heldBy = (): WriteoutNode[] => [parts.node];
    this.#room = new WaitQueue({ kind: 'transaction', name: `room in a transaction of ${parts.name}`, heldBy });
    this.#durable = new WaitQueue({ kind: 'transaction', name: `commit of ${parts.name}`, heldBy });
    this.#handlesEnded = new WaitQueue({ kind: 'transaction', name: `open handles of ${parts.name}` });
    parts.cache.images = { copyTo: (block, bytes) => this.#committing !== null && parts.committer.copyTo(this.#committing, block, bytes) };
  }

  /** Why it was aborted, or null. */
  get cause(): Error | null {
    return this.#cause;
  }

  /** Number that the next transaction will have. */
  get nextId(): number {
    return this.#nextId;
  }

  get blocksMax(): number {
    return this.#parts.blocksMax;
  }

  /** Bitmaps as they were, of transactions that are not durable: see `Transaction.undo`. */
  *undosOf(block: number): Generator<number> {
    for (const transaction of [this.#running, this.#notDurable]) {
      const pfn = transaction?.undo.get(block);
      if (pfn !== undefined) yield pfn;
    }
  }

  /** The transaction that commits, as long as a crash would bring back what was before it. */
  get #notDurable(): Transaction | null {
    return this.#committing === null || this.isDurable(this.#committing.id) ? null : this.#committing;
  }

  /** True if blocks were freed that can be had after a commit. */
  get hasUndo(): boolean {
    return (this.#running?.undo.size ?? 0) + (this.#notDurable?.undo.size ?? 0) > 0;
  }

  /**
   * Does one operation in a handle of its own. What it throws after it has changed something aborts the journal: half of it must not last.
   * What it refuses, it refuses by a negative errno, having changed nothing or taken it back.
   * @param credits most blocks it reads or changes.
   */
  *do<T>(task: TaskContext, credits: number, work: (handle: Handle) => Steps<T>): Steps<T | NegErrno> {
    const handle = yield* this.#start(task, credits);
    if (typeof handle === 'number') return handle;
    try {
      return yield* work(handle);
    } catch (error) {
      if (handle.hasChanged) this.abort(error as Error);
      throw error;
    } finally {
      handle.release();
      const { transaction } = handle;
      if (this.#isClosed && transaction.nrHandles === 0) this.#giveUp(transaction);
      if (transaction.nrHandles === 0 && transaction.isLocked) this.#handlesEnded.wakeAll();
      else this.#room.wakeAll();
    }
  }

  *#start(task: TaskContext, credits: number): Steps<Handle | NegErrno> {
    const { blocksMax, cache } = this.#parts;
    invariant(credits <= blocksMax, `an operation of ${this.#parts.name} wants ${credits} blocks of a transaction; there are ${blocksMax}`);
    for (;;) {
      if (this.#cause !== null) return -Errno.EROFS;
      const running = this.#running ?? this.#begin();
      if (!running.isLocked && this.#hasRoom(running, credits)) return new Handle(task, running, cache, credits);
      running.isWanted = true;
      this.#kick();
      const woken = yield* settle(this.#room.wait(task));
      if (woken < 0) return woken;
    }
  }

  #hasRoom(running: Transaction, credits: number): boolean {
    const { blocksMax, cache } = this.#parts;
    const nrRevokes = running.revokes.size + running.nrReserved + credits;
    return running.nrBlocks + credits <= blocksMax && nrRevokes <= revokeCapacity(cache.blockSize);
  }

  #begin(): Transaction {
    const { clock, task, units } = this.#parts;
    const transaction = new Transaction(this.#nextId);
    this.#nextId = (this.#nextId + 1) >>> 0;
    transaction.ticket = units()?.tryBegin(task) ?? null;
    this.#running = transaction;
    this.#timer = clock.setTimer(COMMIT_INTERVAL_MS, () => {
      this.#timer = null;
      transaction.isWanted = true;
      this.#kick();
    });
    return transaction;
  }

  /** True for a transaction whose commit has not begun: what is written to disk before that is durable with it. */
  isRunning(id: number): boolean {
    return this.#running?.id === id && !this.#running.isLocked;
  }

  /** Makes everything durable that handles have changed so far. @returns 0, `-EIO` if it cannot be, or the errno of the task's signal. */
  *commit(task: TaskContext): Steps<0 | NegErrno> {
    const last = this.#running ?? this.#committing;
    return last === null ? (this.#cause === null ? 0 : -Errno.EIO) : yield* this.waitFor(task, last.id);
  }

  /** True if a transaction is durable, or never was. */
  isDurable(id: number): boolean {
    return !isAfter(id, this.#durableId);
  }

  /** Waits until a transaction is durable, and has it committed if need be. As `commit`. */
  *waitFor(task: TaskContext, id: number): Steps<0 | NegErrno> {
    while (!this.isDurable(id)) {
      if (this.#cause !== null) return -Errno.EIO;
      if (this.#running === null && this.#committing === null) return 0; // nothing was ever joined under that number
      if (this.#running?.id === id) this.#running.isWanted = true;
      this.#kick();
      const woken = yield* settle(this.#durable.wait(task));
      if (woken < 0) return woken;
    }
    return 0;
  }

  #kick(): void {
    if (!this.#isBusy && this.#running?.isWanted) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    while (this.#running?.isWanted && this.#cause === null) {
      try {
        await this.#commit(this.#running);
      } catch (error) {
        this.abort(error as Error);
      }
    }
    this.#isBusy = false;
    this.#room.wakeAll();
    this.#durable.wakeAll();
  }

  async #commit(transaction: Transaction): Promise<void> {
    const { clock, task, committer } = this.#parts;
    if (this.#timer !== null) clock.clearTimer(this.#timer);
    this.#timer = null;
    transaction.isLocked = true;
    while (transaction.nrHandles > 0) await this.#handlesEnded.wait(task);
    if (this.#cause !== null) return;
    const mine = task.withTicket(transaction.ticket);
    if (transaction.isEmpty) {
      this.#discard(transaction);
      return;
    }
    this.#committing = transaction;
    await committer.freeze(mine, transaction);
    this.#running = null;
    this.#room.wakeAll();
    await committer.writeData(task, transaction);
    this.#check(await committer.makeDurable(mine, transaction), 'write the journal');
    if (committer.log !== null) this.#noteDurable(transaction.id);
    this.#check(await committer.bringHome(mine, transaction), 'write metadata home');
    committer.release(transaction);
    this.#committing = null;
    this.#noteDurable(transaction.id);
    this.#room.wakeAll();
  }

  /** Nothing was changed in it. Its number is the next one's: whoever replays the log stops at a number that is missing. */
  #discard(transaction: Transaction): void {
    this.#nextId = transaction.id;
    this.#running = null;
    this.#parts.committer.release(transaction);
    this.#room.wakeAll();
    this.#durable.wakeAll();
  }

  #noteDurable(id: number): void {
    this.#durableId = id;
    this.#durable.wakeAll();
  }

  #check(status: 0 | NegErrno, doing: string): void {
    if (status < 0) throw new KernelError('EIO', `${this.#parts.name}: could not ${doing} (errno ${-status})`);
  }

  /** Nothing changes on disk from here on. The first cause is kept. */
  abort(cause: Error): void {
    if (this.#cause !== null) return;
    this.#cause = cause;
    if (this.#timer !== null) this.#parts.clock.clearTimer(this.#timer);
    this.#timer = null;
    this.#room.wakeAll();
    this.#durable.wakeAll();
    this.#parts.onAbort(cause);
  }

  /** Errno of the cause, for the journal's superblock. */
  get causeErrno(): NegErrno {
    return this.#cause === null ? 0 : errnoOf(this.#cause);
  }

  /** Ends it: everything was committed, or it was aborted. Waits for a commit under way. */
  async close(): Promise<void> {
    const { task, clock } = this.#parts;
    while (this.#isBusy) await this.#durable.wait(task);
    if (this.#timer !== null) clock.clearTimer(this.#timer);
    this.#timer = null;
    this.#isClosed = true;
    const left = new Set([this.#committing, this.#running]);
    this.#committing = this.#running = null;
    for (const transaction of left) if (transaction !== null && transaction.nrHandles === 0) this.#giveUp(transaction);
  }

  /** A transaction that will never be committed lets go of what it has. */
  #giveUp(transaction: Transaction): void {
    const { cache, committer } = this.#parts;
    for (const block of transaction.blocks.values()) cache.put(block);
    transaction.blocks.clear();
    committer.release(transaction);
  }
}
