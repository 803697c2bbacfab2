/** Free inodes. A file's is looked for in its directory's group; directories under the root are spread over the groups. */
import { Errno, KernelError, type NegErrno, type Steps } from '@tidemark/core';
import { groupOfInode } from '../format/geometry.js';
import { ReservedInode } from '../format/inode.js';
import type { Handle } from '../journal/handle.js';
import { clearBit, findClear, setBit, testBit } from './bits.js';
import type { GroupTable } from './group-table.js';
import type { LiveSuperblock } from './live-superblock.js';

export class InodeSpace {
  constructor(
    readonly groups: GroupTable,
    readonly superblock: LiveSuperblock,
  ) {}

  /**
   * Takes an inode. Costs the handle up to three blocks: bitmap, descriptor, superblock.
   * @returns its number, or `-ENOSPC`.
   */
  *allocate(handle: Handle, parent: number, isDirectory: boolean): Steps<number | NegErrno> {
    const { geometry, freeInodes, inodeBitmap } = this.groups;
    const { nrGroups, inodesPerGroup } = geometry;
    const near = groupOfInode(geometry, parent);
    const first = isDirectory && parent === ReservedInode.ROOT ? this.#emptiest() : near;
    for (let i = 0; i < nrGroups; i++) {
      const group = (first + i) % nrGroups;
      if (freeInodes[group] === 0) continue;
      const bitmap = yield* handle.get(inodeBitmap[group]);
      const bit = findClear([bitmap.bytes], 0, inodesPerGroup);
      if (bit < 0) continue; // the count is wrong; another group's may not be
      const ino = group * inodesPerGroup + bit + 1;
      if (ino < this.superblock.fields.firstInode)
        throw new KernelError('EUCLEAN', `${this.groups.name}: the reserved inode ${ino} is marked free`, { details: { ino } });
      handle.join(bitmap);
      setBit(bitmap.bytes, bit);
      yield* this.#count(handle, group, -1, isDirectory ? 1 : 0);
      return ino;
    }
    return -Errno.ENOSPC;
  }

  /** Of the groups with an average number of free inodes or more, the one with most free blocks. */
  #emptiest(): number {
    const { freeInodes, freeBlocks, geometry } = this.groups;
    const average = this.superblock.fields.freeInodesCount / geometry.nrGroups;
    let best = 0;
    for (let group = 0; group < geometry.nrGroups; group++) {
      const isBetter = freeBlocks[group] > freeBlocks[best] || freeInodes[best] < average;
      if (freeInodes[group] > 0 && freeInodes[group] >= average && isBetter) best = group;
    }
    return best;
  }

  *#count(handle: Handle, group: number, inodes: number, dirs: number): Steps<void> {
    this.superblock.change(handle, { freeInodesCount: this.superblock.fields.freeInodesCount + inodes });
    yield* this.groups.change(handle, group, 0, inodes, dirs);
  }

  /** Gives an inode back. Costs as `allocate`. @throws KernelError EUCLEAN if it is free. */
  *free(handle: Handle, ino: number, isDirectory: boolean): Steps<void> {
    const { geometry, inodeBitmap } = this.groups;
    const group = groupOfInode(geometry, ino);
    const bitmap = yield* handle.change(inodeBitmap[group]);
    const bit = (ino - 1) % geometry.inodesPerGroup;
    if (!testBit(bitmap.bytes, bit))
      throw new KernelError('EUCLEAN', `${this.groups.name}: inode ${ino} is deleted, and is free`, { details: { ino } });
    clearBit(bitmap.bytes, bit);
    yield* this.#count(handle, group, 1, isDirectory ? -1 : 0);
  }
}
