/**
 * The superblock of a mounted filesystem: its block is in memory as long as the mount is, and changes to it are part of transactions like
 * any other block's.
 */
import { BioOp, errorFrom, invariant, type NegErrno, type TaskContext } from '@tidemark/core';
import { addressOf, type BlockIo } from '../device/block-io.js';
import { putSuperblockFields, SUPERBLOCK_OFFSET, type Superblock } from '../format/superblock.js';
import type { Handle } from '../journal/handle.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';

/** Numbers of it that change while it is mounted. */
export type SuperblockChange = Parameters<typeof putSuperblockFields>[2];

export class LiveSuperblock {
  #block: MetadataBlock | null = null;

  constructor(
    readonly fields: Superblock,
    private readonly cache: MetadataCache,
    private readonly io: BlockIo,
  ) {}

  get #number(): number {
    return Math.floor(SUPERBLOCK_OFFSET / this.cache.blockSize);
  }

  /** Reads its block; it stays until `close`. */
  async open(task: TaskContext): Promise<void> {
    this.#block = await this.cache.get(task, this.#number);
  }

  get #meta(): MetadataBlock {
    invariant(this.#block !== null, 'the superblock is not there');
    return this.#block;
  }

  /** Changes some numbers, as part of a handle. At once: the block is in memory. */
  change(handle: Handle, change: SuperblockChange): void {
    handle.join(this.#meta);
    this.#put({ ...change, state: this.fields.state });
  }

  #put(change: SuperblockChange): void {
    Object.assign(this.fields, change);
    putSuperblockFields(this.#meta.bytes, SUPERBLOCK_OFFSET % this.cache.blockSize, change);
  }

  /** Changes some numbers on disk, at once and durably: for mount and unmount, when no transaction runs. @throws KernelError EIO. */
  async changeNow(task: TaskContext, change: SuperblockChange): Promise<void> {
    this.#put(change);
    const { pfn } = this.#meta;
    const transfer = this.io.begin(task, BioOp.WRITE);
    await transfer.add(this.#number * this.cache.blockSize, addressOf(pfn), this.cache.blockSize);
    let status: NegErrno = await transfer.end();
    if (status === 0) status = await this.io.flush(task);
    if (status < 0) throw errorFrom(status, `write the superblock of ${this.cache.name}`);
  }

  close(): void {
    if (this.#block !== null) this.cache.put(this.#block);
    this.#block = null;
  }
}
