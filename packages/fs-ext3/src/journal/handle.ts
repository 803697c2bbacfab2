/**
 * A handle: one operation's part of a transaction, all of it or nothing after a crash. It declares the most blocks it may read or change
 * (its credits), and whatever it reads stays in memory until it ends. It never waits for a commit, nor for ordinary memory: what it reads comes
 * on the transaction's ticket (M7).
 */
import { errorFrom, Gfp, invariant, type PageCache, type Steps, settle, type TaskContext } from '@tidemark/core';
import type { BlockReader } from '../metadata/block-reader.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';
import type { Transaction } from './transaction.js';

export class Handle implements BlockReader {
  readonly task: TaskContext;
  readonly #pinned = new Set<MetadataBlock>();
  #left: number;
  #revokesLeft: number;
  /** It has changed something: it cannot be given up any more. */
  hasChanged = false;

  constructor(
    task: TaskContext,
    readonly transaction: Transaction,
    readonly cache: MetadataCache,
    /** Most blocks it may join. */
    readonly credits: number,
  ) {
    const patient = task.withSignal(null);
    this.task = transaction.ticket === null ? patient : patient.withTicket(transaction.ticket);
    this.#left = this.#revokesLeft = credits;
    transaction.nrHandles++;
    transaction.nrReserved += credits;
  }

  /** Blocks it may still join. */
  get creditsLeft(): number {
    return this.#left;
  }

  /** Blocks of metadata it may still free: at most as many as it may join. */
  get revokesLeft(): number {
    return this.#revokesLeft;
  }

  *get(block: number): Steps<MetadataBlock> {
    return this.#keep(yield* settle(this.cache.get(this.task, block)));
  }

  #keep(block: MetadataBlock): MetadataBlock {
    if (this.#pinned.has(block)) this.cache.put(block);
    else this.#pinned.add(block);
    return block;
  }

  put(block: MetadataBlock): void {
    if (this.#pinned.delete(block)) this.cache.put(block);
  }

  /** A block that is about to change. */
  *change(block: number): Steps<MetadataBlock> {
    const got = yield* this.get(block);
    this.join(got);
    return got;
  }

  /** A new block of zeroes, about to be filled. */
  *create(block: number): Steps<MetadataBlock> {
    const made = this.#keep(yield* settle(this.cache.create(this.task, block)));
    this.join(made);
    return made;
  }

  /** The block, which this handle has read, is about to change. */
  join(block: MetadataBlock): void {
    const { blocks, revokes } = this.transaction;
    this.hasChanged = true;
    if (blocks.has(block.block)) return;
    this.#spend();
    this.cache.pin(block);
    blocks.set(block.block, block);
    revokes.delete(block.block);
  }

  #spend(): void {
    invariant(this.#left > 0, `an operation of ${this.cache.name} changes more than the ${this.credits} blocks it declared`);
    this.#left--;
    this.transaction.nrReserved--;
  }

  /** A block of metadata is freed: it leaves the transaction and memory, and no earlier image of it will be replayed. */
  revoke(block: number): void {
    const { blocks, revokes } = this.transaction;
    this.hasChanged = true;
    invariant(this.#revokesLeft-- > 0, `an operation of ${this.cache.name} frees more than ${this.credits} blocks of metadata`);
    const joined = blocks.get(block);
    if (joined !== undefined) {
      blocks.delete(block);
      this.cache.put(joined);
    }
    revokes.add(block);
    this.cache.drop(block);
  }

  /** Keeps a bitmap as it is, before blocks are freed in it: see `Transaction.undo`. The handle has read it. */
  *keepUndo(bitmap: MetadataBlock): Steps<void> {
    const { undo } = this.transaction;
    if (undo.has(bitmap.block)) return;
    const { allocator, arena } = this.cache.memory;
    const pfn = yield* settle(allocator.allocPageSlow(this.task, Gfp.TRANSIENT));
    if (pfn < 0) throw errorFrom(pfn, `${this.cache.name}: no memory to keep a bitmap`);
    if (undo.has(bitmap.block)) {
      allocator.freePage(pfn);
      return;
    }
    this.#spend();
    this.hasChanged = true;
    arena.copyIn(pfn, 0, bitmap.bytes, 0, bitmap.bytes.length);
    undo.set(bitmap.block, pfn);
  }

  /** The file has new blocks: its data go to disk before the transaction is durable. */
  order(pages: PageCache): void {
    this.transaction.ordered.add(pages);
  }

  /** Ends it; for the journal. */
  release(): void {
    for (const block of this.#pinned) this.cache.put(block);
    this.#pinned.clear();
    this.transaction.nrReserved -= this.#left;
    this.#left = 0;
    this.transaction.nrHandles--;
  }
}
