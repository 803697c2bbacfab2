/** The blocks of a directory, as metadata: read, and one more when there is no room. A directory has no holes and never becomes smaller. */
import { type Inode, KernelError, type NegErrno, type Steps } from '@tidemark/core';
import { clearBlock, type DirectoryBlock } from '../format/directory-entry.js';
import { Incompat } from '../format/features.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import { type Node, nodeOf } from '../inode/node.js';
import type { Parts } from '../volume/parts.js';

/** A block of a directory, and the memory it is in. */
export interface DirectoryPart extends DirectoryBlock {
  readonly meta: MetadataBlock;
}

/** An entry: the block it is in, and the byte where it begins. */
export interface EntryPlace {
  readonly part: DirectoryPart;
  readonly at: number;
}

export class DirectoryBlocks {
  constructor(readonly parts: Parts) {}

  nameOf({ ino }: Node): string {
    return `directory ${ino} of ${this.parts.name}`;
  }

  /** How many it has. @throws KernelError EUCLEAN for a size that is no number of blocks. */
  count(node: Node): number {
    const nrBlocks = node.raw.size / this.parts.geometry.blockSize;
    if (!Number.isInteger(nrBlocks) || nrBlocks < 1)
      throw new KernelError('EUCLEAN', `${this.nameOf(node)} has ${node.raw.size} bytes, no number of blocks`, {
        details: { ino: node.ino },
      });
    return nrBlocks;
  }

  #part(node: Node, meta: MetadataBlock, logical: number): DirectoryPart {
    const { superblock } = this.parts;
    return {
      meta,
      bytes: meta.bytes,
      view: meta.view,
      name: this.nameOf(node),
      logical,
      hasFileTypes: (superblock.fields.featureIncompat & Incompat.FILETYPE) !== 0,
      inodesMax: superblock.fields.inodesCount,
    };
  }

  /** Block `logical`. @throws KernelError EUCLEAN for a hole. */
  *get(reader: BlockReader, node: Node, logical: number): Steps<DirectoryPart> {
    const block = yield* this.parts.map.find(reader, node, logical);
    if (block === 0)
      throw new KernelError('EUCLEAN', `${this.nameOf(node)} has a hole at its block ${logical}`, {
        details: { ino: node.ino, logicalBlock: logical },
      });
    return this.#part(node, yield* reader.get(block), logical);
  }

  /** One block more, of free space; the inode is written. @returns it, or `-ENOSPC`. */
  *append(handle: Handle, inode: Inode): Steps<DirectoryPart | NegErrno> {
    const { map, table, geometry } = this.parts;
    const node = nodeOf(inode);
    const logical = node.raw.size / geometry.blockSize;
    const block = yield* map.ensure(handle, node, logical, []);
    if (block < 0) return block;
    const part = this.#part(node, yield* handle.create(block), logical);
    clearBlock(part);
    node.raw.size += geometry.blockSize;
    inode.sizeBytes = node.raw.size;
    inode.blocksBytes = node.raw.sectors * 512;
    yield* table.write(handle, node);
    return part;
  }
}
