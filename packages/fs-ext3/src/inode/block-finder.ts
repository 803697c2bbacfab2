/**
 * Where the blocks of a file are, by their number in it: direct, or through one to three indirect blocks (format/block-path.ts). A pointer of 0
 * is a hole, at any level. Every pointer is checked before it is followed.
 */
import type { Steps } from '@tidemark/core';
import type { GroupTable } from '../alloc/group-table.js';
import { type BlockPath, blockPath, coverage } from '../format/block-path.js';
import type { BlockReader } from '../metadata/block-reader.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import type { Node } from './node.js';

export class BlockFinder {
  /** After `find` has answered 0: the first block of the hole it met, and how many there are as far as one pointer tells. */
  holeFirst = 0;
  holeBlocks = 0;

  constructor(readonly groups: GroupTable) {}

  protected get pointersPerBlock(): number {
    return this.groups.geometry.blockSize / 4;
  }

  /** A pointer, checked: of an indirect block, or of the inode. */
  protected pointer(node: Node, holder: MetadataBlock | null, index: number): number {
    const block = holder === null ? node.raw.block[index] : holder.view.getUint32(4 * index, true);
    if (block !== 0) this.groups.checkPointer(block, () => `inode ${node.ino} of ${this.groups.name}`);
    return block;
  }

  /** Device block of a block of a file; 0 in a hole and beyond what any file can have. @throws KernelError EUCLEAN, EIO. */
  *find(reader: BlockReader, node: Node, logical: number): Steps<number> {
    const path = blockPath(logical, this.pointersPerBlock);
    if (path === null) {
      this.holeFirst = logical;
      this.holeBlocks = Number.POSITIVE_INFINITY;
      return 0;
    }
    let holder: MetadataBlock | null = null;
    for (let depth = 0; ; depth++) {
      const block = this.pointer(node, holder, path[depth]);
      if (block === 0) {
        this.#noteHole(path, depth, logical);
        return 0;
      }
      if (depth === path.length - 1) return block;
      holder = yield* reader.get(block);
    }
  }

  #noteHole(path: BlockPath, depth: number, logical: number): void {
    this.holeBlocks = coverage(path.length - 1 - depth, this.pointersPerBlock);
    let before = 0; // blocks of the missing subtree that are before this one
    for (let i = depth + 1; i < path.length; i++) before = before * this.pointersPerBlock + path[i];
    this.holeFirst = logical - before;
  }
}
