/**
 * Free blocks. One is looked for from a goal on: in the goal's group behind it, then before it, then in the groups that follow.
 *
 * A block that was freed is not given out again before the transaction that freed it is durable: until then a crash brings its old owner back,
 * who must find its old content. Bitmaps as they were before that transaction's first freeing tell (`Transaction.undo`).
 */
import { Errno, KernelError, type NegErrno, type Steps } from '@tidemark/core';
import { type Geometry, groupBlocks, groupOfBlock, groupStart } from '../format/geometry.js';
import type { Handle } from '../journal/handle.js';
import type { Journal } from '../journal/journal.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';
import { clearBit, findClear, setBit, testBit } from './bits.js';
import type { GroupTable } from './group-table.js';
import type { LiveSuperblock } from './live-superblock.js';

export class BlockSpace {
  constructor(
    readonly groups: GroupTable,
    readonly superblock: LiveSuperblock,
    readonly journal: Journal,
    readonly cache: MetadataCache,
  ) {}

  get #geometry(): Geometry {
    return this.groups.geometry;
  }

  /**
   * Takes a block, at `goal` if it is free, else near it. Costs the handle up to three blocks: bitmap, descriptor, superblock.
   * @returns its number, or `-ENOSPC`.
   */
  *allocate(handle: Handle, goal: number): Steps<number | NegErrno> {
    const { nrGroups, nrBlocks, firstDataBlock } = this.#geometry;
    const wanted = goal > firstDataBlock && goal < nrBlocks ? goal : firstDataBlock;
    const first = groupOfBlock(this.#geometry, wanted);
    const { freeBlocks, blockBitmap } = this.groups;
    for (let i = 0; i < nrGroups; i++) {
      const group = (first + i) % nrGroups;
      if (freeBlocks[group] === 0) continue;
      const bitmap = yield* handle.get(blockBitmap[group]);
      const bit = this.#find(bitmap, group, i === 0 ? wanted - groupStart(this.#geometry, group) : 0);
      if (bit >= 0) return yield* this.#take(handle, bitmap, group, bit);
      if (!handle.transaction.blocks.has(bitmap.block)) handle.put(bitmap);
    }
    return -Errno.ENOSPC;
  }

  #find(bitmap: MetadataBlock, group: number, from: number): number {
    const { arena } = this.cache.memory;
    const maps = [bitmap.bytes];
    for (const pfn of this.journal.undosOf(bitmap.block)) maps.push(arena.view(pfn * 4096, bitmap.bytes.length));
    const end = groupBlocks(this.#geometry, group);
    const behind = findClear(maps, from, end);
    return behind >= 0 || from === 0 ? behind : findClear(maps, 0, from);
  }

  *#take(handle: Handle, bitmap: MetadataBlock, group: number, bit: number): Steps<number> {
    const block = groupStart(this.#geometry, group) + bit;
    if (!this.groups.mayHoldData(block))
      throw new KernelError('EUCLEAN', `${this.groups.name}: the bitmap of group ${group} says that block ${block} is free; it is not`, {
        details: { group, block },
      });
    handle.join(bitmap);
    setBit(bitmap.bytes, bit);
    this.cache.drop(block);
    yield* this.#count(handle, group, -1);
    return block;
  }

  *#count(handle: Handle, group: number, blocks: number): Steps<void> {
    const { freeBlocksCount } = this.superblock.fields;
    if (this.groups.freeBlocks[group] + blocks < 0 || freeBlocksCount + blocks < 0)
      throw new KernelError('EUCLEAN', `${this.groups.name}: group ${group} has more free blocks than its count says`, {
        details: { group },
      });
    this.superblock.change(handle, { freeBlocksCount: freeBlocksCount + blocks });
    yield* this.groups.change(handle, group, blocks, 0, 0);
  }

  /**
   * Frees consecutive blocks of one group. Costs the handle up to four blocks: bitmap, a copy of it, descriptor, superblock.
   * @param isFresh the handle itself has allocated them: they can be had again at once.
   * @throws KernelError EUCLEAN if one of them is free, or cannot belong to anybody.
   */
  *free(handle: Handle, block: number, count: number, isFresh = false): Steps<void> {
    const group = groupOfBlock(this.#geometry, block);
    if (!this.groups.mayHoldData(block, count))
      throw new KernelError(
        'EUCLEAN',
        `${this.groups.name}: ${count} blocks from ${block} on are to be freed; they are the filesystem's own`,
        {
          details: { block },
        },
      );
    const bitmap = yield* handle.get(this.groups.blockBitmap[group]);
    if (!isFresh) yield* handle.keepUndo(bitmap);
    const first = block - groupStart(this.#geometry, group);
    for (let bit = first; bit < first + count; bit++)
      if (!testBit(bitmap.bytes, bit))
        throw new KernelError('EUCLEAN', `${this.groups.name}: block ${block - first + bit} is to be freed, and is free`, {
          details: { block },
        });
    handle.join(bitmap);
    for (let bit = first; bit < first + count; bit++) clearBit(bitmap.bytes, bit);
    yield* this.#count(handle, group, count);
  }

  /** Blocks that `free` may cost a handle. */
  static readonly FREE_CREDITS = 4;
}
