/**
 * Recovery: what a journal says had been committed is brought to its place.
 *
 *     scan     from `start` on, transaction by transaction, up to the first that has no commit block
 *     revoke   block → last transaction that revoked it: no image up to and including it is replayed
 *     replay   every image of those transactions, in order, to its block
 *     end      flush; then the log is empty, and the next transaction's number is one that no stale block of the log can have
 *
 * It stops at the first block that does not fit, and never goes round the log more than once. Running it again does the same again, so a
 * crash in the middle costs nothing.
 */
import { KernelError } from '@tidemark/core';
import { viewOf } from '../format/bytes.js';
import {
  BlockType,
  getLogHeader,
  getRevokes,
  getTags,
  isAfter,
  JOURNAL_MAGIC,
  JournalIncompat,
  type JournalSuperblock,
  putJournalSuperblock,
  TagFlag,
} from '../format/journal.js';

/** Blocks of the device, as recovery reads and writes them. Rejections are I/O errors. */
export interface BlockStore {
  readonly blockSize: number;
  readonly nrBlocks: number;
  /** Fills `bytes`, one block long. */
  read(block: number, bytes: Uint8Array): Promise<void>;
  write(block: number, bytes: Uint8Array): Promise<void>;
  flush(): Promise<void>;
}

/** The journal of a filesystem. */
export interface JournalFile {
  /** For messages. */
  readonly name: string;
  readonly superblock: JournalSuperblock;
  /** Device block of a log block. Rejects with EUCLEAN for one that is not mapped. */
  blockOf(logBlock: number): Promise<number>;
}

/** What recovery did. */
export interface RecoveryReport {
  readonly nrTransactions: number;
  readonly nrReplayed: number;
  /** Images not replayed because they were revoked. */
  readonly nrRevoked: number;
  /** Number of the next transaction. */
  readonly nextTransaction: number;
}

/** Brings a journal's transactions home, and empties it. @throws KernelError EUCLEAN naming block and transaction; what the store rejects with. */
export async function recover(store: BlockStore, journal: JournalFile): Promise<RecoveryReport> {
  const { superblock } = journal;
  if (superblock.start === 0) return { nrTransactions: 0, nrReplayed: 0, nrRevoked: 0, nextTransaction: (superblock.sequence + 1) >>> 0 };
  const recovery = new Recovery(store, journal);
  const end = await recovery.walk(null, null);
  const revoked = new Map<number, number>();
  await recovery.walk(end, { onRevokes: (blocks, transaction) => noteRevokes(revoked, blocks, transaction) });
  let nrReplayed = 0;
  let nrRevoked = 0;
  await recovery.walk(end, {
    onImage: async (block, flags, logBlock, transaction) => {
      const until = revoked.get(block);
      if (until !== undefined && !isAfter(transaction, until)) nrRevoked++;
      else {
        await recovery.replay(block, flags, logBlock, transaction);
        nrReplayed++;
      }
    },
  });
  await store.flush();
  const nextTransaction = (end + 1) >>> 0;
  await emptyLog(store, journal, nextTransaction);
  return { nrTransactions: (end - superblock.sequence) >>> 0, nrReplayed, nrRevoked, nextTransaction };
}

function noteRevokes(revoked: Map<number, number>, blocks: readonly number[], transaction: number): void {
  for (const block of blocks) {
    const until = revoked.get(block);
    if (until === undefined || isAfter(transaction, until)) revoked.set(block, transaction);
  }
}

/** Says in the journal that its log is empty. Durable when it returns. */
export async function emptyLog(store: BlockStore, { superblock, blockOf }: JournalFile, sequence: number): Promise<void> {
  superblock.start = 0;
  superblock.sequence = sequence;
  const at = await blockOf(0);
  const bytes = new Uint8Array(store.blockSize);
  await store.read(at, bytes);
  putJournalSuperblock(bytes, superblock);
  await store.write(at, bytes);
  await store.flush();
}

interface Visitor {
  onImage?(block: number, flags: number, logBlock: number, transaction: number): Promise<void>;
  onRevokes?(blocks: readonly number[], transaction: number): void;
}

class Recovery {
  readonly #store: BlockStore;
  readonly #journal: JournalFile;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #is64Bit: boolean;

  constructor(store: BlockStore, journal: JournalFile) {
    this.#store = store;
    this.#journal = journal;
    this.#bytes = new Uint8Array(store.blockSize);
    this.#view = viewOf(this.#bytes);
    this.#is64Bit = (journal.superblock.featureIncompat & JournalIncompat.BIT64) !== 0;
  }

  /**
   * Goes through the log up to transaction `end`, which is not visited; null goes to the first that was not committed.
   * @returns where it ended.
   */
  async walk(end: number | null, visitor: Visitor | null): Promise<number> {
    const { name, superblock } = this.#journal;
    const { first, maxlen, start, sequence } = superblock;
    const lapBlocks = maxlen - first;
    let at = start;
    let seen = 0;
    let transaction = sequence;
    const forward = (count: number): void => {
      seen += count;
      at = first + ((at - first + count) % lapBlocks);
    };
    while (transaction !== end && seen < lapBlocks) {
      await this.#readLog(at);
      const header = getLogHeader(this.#view);
      if (header === null || header.transaction !== transaction) break;
      if (header.type === BlockType.COMMIT) {
        transaction = (transaction + 1) >>> 0;
        forward(1);
      } else if (header.type === BlockType.REVOKE) {
        visitor?.onRevokes?.(getRevokes(name, this.#bytes, this.#is64Bit), transaction);
        forward(1);
      } else if (header.type === BlockType.DESCRIPTOR) {
        const tags = getTags(name, this.#bytes, this.#is64Bit);
        forward(1);
        for (const { block, flags } of tags) {
          if (visitor?.onImage !== undefined && seen < lapBlocks) await visitor.onImage(block, flags, at, transaction);
          forward(1);
        }
      } else break;
    }
    return transaction;
  }

  /** Writes one image to its place. */
  async replay(block: number, flags: number, logBlock: number, transaction: number): Promise<void> {
    const { name } = this.#journal;
    if (block >= this.#store.nrBlocks)
      throw new KernelError(
        'EUCLEAN',
        `${name}: transaction ${transaction} has an image of block ${block}; there are ${this.#store.nrBlocks}`,
        {
          details: { transaction, block },
        },
      );
    await this.#readLog(logBlock);
    if ((flags & TagFlag.ESCAPE) !== 0) this.#view.setUint32(0, JOURNAL_MAGIC, false);
    await this.#store.write(block, this.#bytes);
  }

  async #readLog(logBlock: number): Promise<void> {
    await this.#store.read(await this.#journal.blockOf(logBlock), this.#bytes);
  }
}
