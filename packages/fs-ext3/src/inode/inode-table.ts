/** Inodes on disk: each is a part of a block of its group's table. */
import { KernelError, type Steps } from '@tidemark/core';
import type { GroupTable } from '../alloc/group-table.js';
import type { Geometry } from '../format/geometry.js';
import { attributeSpace, getInode, LATER_FLAGS, OLD_INODE_BYTES, putInode, type RawInode } from '../format/inode.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';
import type { Node } from './node.js';

export class InodeTable {
  constructor(
    readonly groups: GroupTable,
    readonly inodesCount: number,
  ) {}

  get #geometry(): Geometry {
    return this.groups.geometry;
  }

  /** For messages. */
  nameOf(ino: number): string {
    return `inode ${ino} of ${this.groups.name}`;
  }

  /** Reads an inode. @throws KernelError EUCLEAN for a number that is none and for flags of later formats. */
  *read(reader: BlockReader, ino: number): Steps<RawInode> {
    if (!Number.isSafeInteger(ino) || ino < 1 || ino > this.inodesCount)
      throw new KernelError('EUCLEAN', `${this.groups.name}: there is no inode ${ino}`, { details: { ino } });
    const { block, at } = this.groups.placeOf(ino);
    const { view } = yield* reader.get(block);
    const raw = getInode(this.nameOf(ino), view, at, this.#geometry.inodeSize);
    if ((raw.flags & LATER_FLAGS) !== 0 && raw.linksCount > 0)
      throw new KernelError('EUCLEAN', `${this.nameOf(ino)} has flags 0x${raw.flags.toString(16)}, which ext3 does not have`, {
        details: { ino },
      });
    return raw;
  }

  /** Writes an inode as part of a handle; costs one block. */
  *write(handle: Handle, node: Node): Steps<void> {
    const { block, at } = this.groups.placeOf(node.ino);
    const { view } = yield* handle.change(block);
    putInode(view, at, this.#geometry.inodeSize, node.raw);
    node.transaction = handle.transaction.id;
    node.isUntouched = false;
  }

  /** Clears every byte of an inode that is new. */
  *clear(handle: Handle, ino: number): Steps<void> {
    const { block, at } = this.groups.placeOf(ino);
    const { bytes } = yield* handle.change(block);
    bytes.fill(0, at, at + this.#geometry.inodeSize);
  }

  /** The bytes of an inode behind its fields, for attributes; empty if it has no room. A view. */
  *space(reader: BlockReader, { ino, raw }: Node): Steps<Uint8Array> {
    const { block, at } = this.groups.placeOf(ino);
    const { bytes } = yield* reader.get(block);
    const room = attributeSpace(this.#geometry.inodeSize, raw.extraBytes);
    const from = at + OLD_INODE_BYTES + raw.extraBytes;
    return bytes.subarray(from, from + room);
  }
}
