/**
 * Reading metadata: whoever reads has the blocks pinned until it is through. Two do: a `Look`, which changes nothing, and a handle, which is part
 * of a transaction.
 */
import { type Steps, settle, type TaskContext } from '@tidemark/core';
import type { MetadataBlock } from './metadata-block.js';
import type { MetadataCache } from './metadata-cache.js';

/** Gives blocks of metadata. */
export interface BlockReader {
  readonly task: TaskContext;
  /** A block, which stays until this reader ends or puts it back. @throws KernelError EUCLEAN, EIO, ENOMEM. */
  get(block: number): Steps<MetadataBlock>;
  /** Lets go of a block before the end, for those who look at many. */
  put(block: MetadataBlock): void;
}

export class Look implements BlockReader {
  readonly #pinned = new Set<MetadataBlock>();

  constructor(
    readonly task: TaskContext,
    private readonly cache: MetadataCache,
  ) {}

  *get(block: number): Steps<MetadataBlock> {
    const got = yield* settle(this.cache.get(this.task, block));
    if (this.#pinned.has(got)) this.cache.put(got);
    else this.#pinned.add(got);
    return got;
  }

  put(block: MetadataBlock): void {
    if (this.#pinned.delete(block)) this.cache.put(block);
  }

  /** Lets go of all. */
  end(): void {
    for (const block of this.#pinned) this.cache.put(block);
    this.#pinned.clear();
  }
}

/** Does some reading, and lets go of what it read, whatever happens. */
export function* looking<T>(task: TaskContext, cache: MetadataCache, work: (look: Look) => Steps<T>): Steps<T> {
  const look = new Look(task, cache);
  try {
    return yield* work(look);
  } finally {
    look.end();
  }
}
