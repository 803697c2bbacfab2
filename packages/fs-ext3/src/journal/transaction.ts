/**
 * A transaction: blocks of metadata that change together, from its first handle until they are all at home.
 *
 *     running     handles join blocks; they are pinned
 *     locked      no new handles; it waits for the open ones
 *     committing  its blocks are frozen: copies in frames of its own, while the originals may change again
 *     durable     its commit block is on disk; its images go home
 *
 * It is one unit of the node `journal` (M7): frames that handles read, undo copies and frozen copies count against its ticket.
 */
import type { PageCache, Pfn, WriteoutTicket } from '@tidemark/core';
import type { MetadataBlock } from '../metadata/metadata-block.js';

export class Transaction {
  /** Null before the journal's node is admitted. */
  ticket: WriteoutTicket | null = null;
  nrHandles = 0;
  /** Blocks that open handles may still join. */
  nrReserved = 0;
  isLocked = false;
  /** Its changes are to be durable now. */
  isWanted = false;
  /** Blocks that changed; pinned until they are frozen. */
  readonly blocks = new Map<number, MetadataBlock>();
  /** Blocks of metadata that were freed: images of before must not be replayed over what comes after. */
  readonly revokes = new Set<number>();
  /** Bitmaps as they were before the first block was freed in them: what is in use there is not given out again before this is durable. */
  readonly undo = new Map<number, Pfn>();
  /** Files whose data must be on disk before this is. */
  readonly ordered = new Set<PageCache>();
  /** Images of its blocks, in ascending order of freezing. */
  readonly frozen = new Map<number, Pfn>();
  /** Of those, the ones whose first word is the journal's magic: it is zero in the log. */
  readonly escaped = new Set<number>();

  constructor(
    /** Number: one more than that of the transaction before. */
    readonly id: number,
  ) {}

  /** Blocks it has, and may come to have. */
  get nrBlocks(): number {
    return this.blocks.size + this.undo.size + this.nrReserved;
  }

  get isEmpty(): boolean {
    return this.blocks.size === 0 && this.revokes.size === 0 && this.ordered.size === 0;
  }
}
