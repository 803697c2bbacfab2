/** The contents of one file of memfs: pages that only memory holds, counted against the room of the filesystem. */
import {
  type AddressSpaceOperations,
  Errno,
  type FrameTable,
  type Inode,
  type NegErrno,
  PAGE_SIZE,
  type PageChange,
  type Pfn,
  PG,
  type TaskContext,
} from '@tidemark/core';
import type { PageRoom } from './memory-file-system.js';

export class MemoryPages implements AddressSpaceOperations {
  readonly #inode: Inode;
  readonly #frames: FrameTable;
  readonly #room: PageRoom;

  constructor(inode: Inode, frames: FrameTable, room: PageRoom) {
    this.#inode = inode;
    this.#frames = frames;
    this.#room = room;
  }

  /** One for all files of the filesystem. */
  get device(): object {
    return this.#room;
  }

  get sizeBytes(): number {
    return this.#inode.sizeBytes;
  }

  setSize(sizeBytes: number): void {
    this.#inode.sizeBytes = sizeBytes;
  }

  /** A page that was written is dirty until it is truncated: nothing ever cleans it. */
  dirtyPage(_task: TaskContext, change: PageChange): 0 | NegErrno {
    const isNew = !change.isDirty;
    if (isNew && this.#room.nrUsed >= this.#room.nrPages) return -Errno.ENOSPC;
    const status = change.bringIn();
    if (status === 0 && isNew) this.#count(1);
    return status;
  }

  invalidate(_index: number, pfn: Pfn): void {
    if (this.#holdsData(pfn)) this.#count(-1);
  }

  #count(by: 1 | -1): void {
    this.#room.nrUsed += by;
    this.#inode.blocksBytes += by * PAGE_SIZE;
  }

  #holdsData(pfn: Pfn): boolean {
    return pfn >= 0 && (this.#frames.flags[pfn] & PG.DIRTY) !== 0;
  }

  /** The first offset from `offsetBytes` on that holds data, or none. `-ENXIO` if only a hole follows. */
  seek(offsetBytes: number, wantsData: boolean): number | NegErrno {
    const { sizeBytes, pages } = this.#inode;
    if (pages === null) return wantsData ? -Errno.ENXIO : offsetBytes;
    let index = Math.floor(offsetBytes / PAGE_SIZE);
    if (!wantsData) {
      while (this.#holdsData(pages.lookup(index))) index++;
      return Math.min(Math.max(index * PAGE_SIZE, offsetBytes), sizeBytes);
    }
    for (index = pages.nextPage(index); index >= 0 && index * PAGE_SIZE < sizeBytes; index = pages.nextPage(index + 1))
      if (this.#holdsData(pages.lookup(index))) return Math.max(index * PAGE_SIZE, offsetBytes);
    return -Errno.ENXIO;
  }
}
