/**
 * A commit in ordered mode (M7). It takes no lock and no page lock, opens no handle, and allocates from its ticket only.
 *
 *     freeze      copies of the blocks; from here on the originals may change for the next transaction
 *     data        what the files of the transaction have dirty goes to its blocks
 *     log         revokes, descriptors, images → flush → commit block → durable: who waits for it goes on
 *     home        the images go to their blocks; durable there with the next flush, and until then in the log
 *
 * A filesystem without a journal does the same but for the log: what changed together is written together, as well as ext2 can.
 */
import { BioOp, errorFrom, Gfp, type NegErrno, type Pfn, type TaskContext } from '@tidemark/core';
import { addressOf, type BlockIo } from '../device/block-io.js';
import { viewOf } from '../format/bytes.js';
import { JOURNAL_MAGIC } from '../format/journal.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';
import { type Log, logOverhead } from './log.js';
import type { Transaction } from './transaction.js';

export class Committer {
  constructor(
    readonly cache: MetadataCache,
    readonly io: BlockIo,
    /** Null without a journal. */
    readonly log: Log | null,
  ) {}

  get #blockSize(): number {
    return this.cache.blockSize;
  }

  async #frame(task: TaskContext): Promise<Pfn> {
    const pfn = await this.cache.memory.allocator.allocPageSlow(task, Gfp.TRANSIENT);
    if (pfn < 0) throw errorFrom(pfn, `${this.cache.name}: no memory for a commit`);
    return pfn;
  }

  #bytes(pfn: Pfn): Uint8Array {
    return this.cache.memory.arena.view(addressOf(pfn), this.#blockSize);
  }

  /** Takes copies of the blocks, whose handles have ended, and lets go of the originals. */
  async freeze(task: TaskContext, transaction: Transaction): Promise<void> {
    const { blocks, frozen, escaped } = transaction;
    for (const [number, block] of blocks) {
      const pfn = await this.#frame(task);
      this.#bytes(pfn).set(block.bytes);
      frozen.set(number, pfn);
      if (block.view.getUint32(0, false) === JOURNAL_MAGIC) escaped.add(number);
      blocks.delete(number);
      this.cache.giveUp(block);
    }
  }

  /** The content of a block that is frozen and perhaps not at home. */
  copyTo(transaction: Transaction, block: number, bytes: Uint8Array): boolean {
    const pfn = transaction.frozen.get(block);
    if (pfn === undefined) return false;
    bytes.set(this.#bytes(pfn));
    if (transaction.escaped.has(block)) viewOf(bytes).setUint32(0, JOURNAL_MAGIC, false);
    return true;
  }

  /** Writes the data of the transaction's files. What fails is told to their users by the page cache, and does not stop the commit. */
  async writeData(task: TaskContext, transaction: Transaction): Promise<void> {
    for (const pages of transaction.ordered) await pages.sync(task.withTicket(null), pages.errorCursor());
  }

  /** Makes the transaction durable. */
  async makeDurable(task: TaskContext, transaction: Transaction): Promise<0 | NegErrno> {
    if (this.log === null) return 0;
    const scratch: Pfn[] = [];
    try {
      for (let i = logOverhead(transaction.frozen.size, this.#blockSize); i > 0; i--) scratch.push(await this.#frame(task));
      this.#setFirstWords(transaction, 0);
      return await this.log.append(task, transaction, scratch);
    } finally {
      this.#setFirstWords(transaction, JOURNAL_MAGIC);
      for (const pfn of scratch) this.cache.memory.allocator.freePage(pfn);
    }
  }

  #setFirstWords({ frozen, escaped }: Transaction, word: number): void {
    for (const block of escaped) viewOf(this.#bytes(frozen.get(block) as Pfn)).setUint32(0, word, false);
  }

  /** Brings the images to their blocks. Without a journal: and makes them durable. */
  async bringHome(task: TaskContext, { frozen }: Transaction): Promise<0 | NegErrno> {
    const transfer = this.io.begin(task, BioOp.WRITE);
    const blocks = [...frozen.keys()].sort((a, b) => a - b);
    for (const block of blocks) await transfer.add(block * this.#blockSize, addressOf(frozen.get(block) as Pfn), this.#blockSize);
    const status = await transfer.end();
    return status < 0 || this.log !== null ? status : this.io.flush(task);
  }

  /** Gives the frames back; it is over. */
  release(transaction: Transaction): void {
    const { frozen, undo, ticket } = transaction;
    for (const pfn of [...frozen.values(), ...undo.values()]) this.cache.memory.allocator.freePage(pfn);
    frozen.clear();
    undo.clear();
    ticket?.end();
  }
}
