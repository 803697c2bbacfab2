/** The blocks of a file, for who changes it: takes those that are missing, and the indirect blocks on the way to them. */
import { type NegErrno, type Steps, Errno } from '@tidemark/core';
import type { BlockSpace } from '../alloc/block-space.js';
import { type BlockPath, blockPath } from '../format/block-path.js';
import { groupOfInode, groupStart } from '../format/geometry.js';
import type { Handle } from '../journal/handle.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import { BlockFinder } from './block-finder.js';
import type { Node } from './node.js';

export class BlockMap extends BlockFinder {
  constructor(readonly space: BlockSpace) {
    super(space.groups);
  }

  /**
   * As `find`, for who changes the file: takes a block if there is none, with the indirect blocks on the way to it.
   * Costs up to 3 indirect blocks, and for each block taken what `BlockSpace.allocate` costs.
   * @param made gets the number of a block that was taken. What it holds is undefined.
   * @returns the block, or `-ENOSPC` with everything as before; `-EFBIG` beyond what a file can have.
   */
  *ensure(handle: Handle, node: Node, logical: number, made: number[]): Steps<number | NegErrno> {
    const path = blockPath(logical, this.pointersPerBlock);
    if (path === null) return -Errno.EFBIG;
    let holder: MetadataBlock | null = null;
    let depth = 0;
    for (; depth < path.length; depth++) {
      const block = this.pointer(node, holder, path[depth]);
      if (block === 0) break;
      if (depth === path.length - 1) return block;
      holder = yield* handle.get(block);
    }
    const fresh: number[] = [];
    let goal = this.#goal(node, holder, path[depth]);
    for (let i = depth; i < path.length; i++) {
      const block = yield* this.space.allocate(handle, goal);
      if (block < 0) {
        for (const taken of fresh) yield* this.space.free(handle, taken, 1, true);
        return block;
      }
      fresh.push(block);
      goal = block + 1;
    }
    yield* this.#link(handle, node, holder, path, depth, fresh);
    const block = fresh[fresh.length - 1];
    made.push(block);
    return block;
  }

  /** Points from the lowest indirect block that is there to the blocks that were taken, through new ones. */
  *#link(handle: Handle, node: Node, holder: MetadataBlock | null, path: BlockPath, depth: number, fresh: readonly number[]): Steps<void> {
    for (let i = 0; i + 1 < fresh.length; i++) {
      const indirect = yield* handle.create(fresh[i]);
      indirect.view.setUint32(4 * path[depth + i + 1], fresh[i + 1], true);
    }
    if (holder === null) node.raw.block[path[depth]] = fresh[0];
    else {
      handle.join(holder);
      holder.view.setUint32(4 * path[depth], fresh[0], true);
    }
    node.raw.sectors += fresh.length * (this.groups.geometry.blockSize / 512);
  }

  /** Behind the block before it; else behind the indirect block; else in the inode's group, where files of one group start apart. */
  #goal(node: Node, holder: MetadataBlock | null, index: number): number {
    for (let i = index - 1; i >= 0 && i >= index - 12; i--) {
      const before = holder === null ? node.raw.block[i] : holder.view.getUint32(4 * i, true);
      if (before !== 0) return before + (index - i);
    }
    if (holder !== null) return holder.block + 1;
    const { geometry } = this.space.groups;
    const group = groupOfInode(geometry, node.ino);
    return groupStart(geometry, group) + Math.floor((geometry.blocksPerGroup / 16) * (node.ino % 16));
  }
}
