/**
 * Frees blocks of a file in steps, each small enough for one handle: it stops when the handle's credits are nearly spent, with everything
 * consistent, and goes on in the next. Indirect blocks go when nothing is left in them.
 */
import type { Steps } from '@tidemark/core';
import { BlockSpace } from '../alloc/block-space.js';
import { coverage } from '../format/block-path.js';
import { groupOfBlock } from '../format/geometry.js';
import { DIRECT_BLOCKS, NR_POINTERS } from '../format/inode.js';
import type { Handle } from '../journal/handle.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import type { Node } from './node.js';

/** Credits that must be left to begin to free something: what freeing costs, and the indirect block it stands in. */
const LEAST_CREDITS = BlockSpace.FREE_CREDITS + 2;

/** Blocks of a file from `first` to before `end`. */
interface Range {
  readonly first: number;
  readonly end: number;
}

export class RangeFreer {
  constructor(
    readonly space: BlockSpace,
    readonly handle: Handle,
    readonly node: Node,
    /** The blocks hold metadata: those of directories and long symbolic links. */
    readonly isMetadata: boolean,
    /** The handle itself has taken them. */
    readonly isFresh = false,
  ) {}

  get #pointersPerBlock(): number {
    return this.space.groups.geometry.blockSize / 4;
  }

  /** Frees as much of a range as the handle can pay for. @returns true if it was all. */
  *free(first: number, end: number): Steps<boolean> {
    const range: Range = { first, end };
    if (!(yield* this.#freeData(null, 0, DIRECT_BLOCKS, 0, range))) return false;
    let base = DIRECT_BLOCKS;
    for (let index = DIRECT_BLOCKS; index < NR_POINTERS; index++) {
      const depth = index - DIRECT_BLOCKS + 1;
      if (!(yield* this.#freeTree(null, index, depth, base, range))) return false;
      base += coverage(depth, this.#pointersPerBlock);
    }
    return true;
  }

  #get(holder: MetadataBlock | null, index: number): number {
    return holder === null ? this.node.raw.block[index] : holder.view.getUint32(4 * index, true);
  }

  #clear(holder: MetadataBlock | null, index: number): void {
    if (holder === null) this.node.raw.block[index] = 0;
    else holder.view.setUint32(4 * index, 0, true);
  }

  get #canGoOn(): boolean {
    return this.handle.creditsLeft >= LEAST_CREDITS && this.handle.revokesLeft > 1;
  }

  /** Frees what a pointer to an indirect block of `depth` levels leads to, and that block if it is empty then. */
  *#freeTree(holder: MetadataBlock | null, index: number, depth: number, base: number, range: Range): Steps<boolean> {
    const block = this.#get(holder, index);
    const each = coverage(depth - 1, this.#pointersPerBlock);
    const last = base + each * this.#pointersPerBlock;
    if (block === 0 || base >= range.end || last <= range.first) return true;
    this.space.groups.checkPointer(block, () => `inode ${this.node.ino} of ${this.space.groups.name}`);
    const child = yield* this.handle.get(block);
    if (depth === 1) {
      if (!(yield* this.#freeData(child, 0, this.#pointersPerBlock, base, range))) return false;
    } else {
      for (let i = 0; i < this.#pointersPerBlock; i++)
        if (!(yield* this.#freeTree(child, i, depth - 1, base + i * each, range))) return false;
    }
    if (child.bytes.some((byte) => byte !== 0)) return true;
    if (!this.#canGoOn) return false;
    if (holder !== null) this.handle.join(holder);
    this.#clear(holder, index);
    this.handle.put(child);
    this.handle.revoke(block);
    yield* this.#freeRun(block, 1);
    return true;
  }

  /** Frees data blocks that pointers `from` to before `to` lead to, of which the first is block `base` of the file. */
  *#freeData(holder: MetadataBlock | null, from: number, to: number, base: number, range: Range): Steps<boolean> {
    const { geometry } = this.space.groups;
    for (let i = from; i < to; ) {
      const logical = base + i - from;
      const block = logical >= range.first && logical < range.end ? this.#get(holder, i) : 0;
      if (block === 0) {
        i++;
        continue;
      }
      if (!this.#canGoOn) return false;
      const most = Math.min(to - i, range.end - logical, this.isMetadata ? this.handle.revokesLeft - 1 : Number.POSITIVE_INFINITY);
      const group = groupOfBlock(geometry, block);
      let count = 1;
      while (count < most && this.#get(holder, i + count) === block + count && groupOfBlock(geometry, block + count) === group) count++;
      if (holder !== null) this.handle.join(holder);
      for (let k = 0; k < count; k++) {
        this.#clear(holder, i + k);
        if (this.isMetadata) this.handle.revoke(block + k);
      }
      yield* this.#freeRun(block, count);
      i += count;
    }
    return true;
  }

  *#freeRun(block: number, count: number): Steps<void> {
    yield* this.space.free(this.handle, block, count, this.isFresh);
    this.node.raw.sectors -= count * (this.space.groups.geometry.blockSize / 512);
  }
}
