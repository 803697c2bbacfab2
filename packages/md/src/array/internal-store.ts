/**
 * A bitmap on the members themselves, behind their superblocks: a copy on each. It is written to all of them and read from any that can be. A
 * member that cannot be written is faulty, and the bitmap goes on with the others.
 */
import { KernelError, type NegErrno, PAGE_SIZE, Errno } from '@tidemark/core';
import type { BitmapStore, StoredPages } from '../bitmap/store.js';
import { bitmapBytes } from '../format/bitmap-superblock.js';
import { SECTOR_BYTES } from '../format/fields.js';
import { bitmapSpaceSectors, SUPERBLOCK_OFFSET_BYTES } from '../format/superblock.js';
import type { ArrayState } from './array-state.js';
import type { Member } from './member.js';

export interface InternalStoreHost {
  readonly state: ArrayState;
  memberFailed(member: Member, status: NegErrno): void;
}

export class InternalStore implements BitmapStore {
  readonly name: string;
  readonly spaceBytes: number;
  #pages: StoredPages | null = null;

  constructor(
    private readonly host: InternalStoreHost,
    private readonly offsetSectors: number,
  ) {
    const { state } = host;
    this.name = `the members of ${state.name}`;
    this.spaceBytes = Math.min(
      ...state.members.map(({ superblock }) => bitmapSpaceSectors({ ...superblock, bitmapOffset: offsetSectors }) * SECTOR_BYTES),
    );
  }

  /** @throws KernelError EINVAL if it does not fit behind a member's superblock. */
  bind(pages: StoredPages): void {
    if (bitmapBytes(pages.nrChunks) > this.spaceBytes)
      throw new KernelError('EINVAL', `${this.name} have ${this.spaceBytes} bytes for a bitmap of ${bitmapBytes(pages.nrChunks)}`);
    this.#pages = pages;
  }

  /** Members that data go to: theirs is the bitmap that counts. */
  get #copies(): Member[] {
    return this.host.state.slots.filter((member): member is Member => member?.isWritten ?? false);
  }

  get nrCopies(): number {
    return this.#copies.length;
  }

  /** Where a page is on a member, and its bytes: the last one is cut to whole blocks. */
  #place(member: Member, page: number): { offsetBytes: number; lengthBytes: number } {
    const { nrChunks } = this.#pages as StoredPages;
    const block = member.device.blockSizeBytes;
    const left = Math.ceil((bitmapBytes(nrChunks) - page * PAGE_SIZE) / block) * block;
    const offsetBytes = SUPERBLOCK_OFFSET_BYTES + this.offsetSectors * SECTOR_BYTES + page * PAGE_SIZE;
    return { offsetBytes, lengthBytes: Math.min(left, PAGE_SIZE) };
  }

  async writeDurably(pages: Uint32Array, count: number): Promise<0 | NegErrno> {
    return this.#everywhere(async (member) => {
      const { can } = member.device;
      for (let i = 0; i < count; i++) {
        const status = await this.#writeTo(member, pages[i], can.fua);
        if (status !== 0) return status;
      }
      return can.fua ? 0 : member.bitmapIo.flush();
    });
  }

  write(page: number): Promise<0 | NegErrno> {
    return this.#everywhere((member) => this.#writeTo(member, page, false));
  }

  #writeTo(member: Member, page: number, durable: boolean): Promise<0 | NegErrno> {
    const { offsetBytes, lengthBytes } = this.#place(member, page);
    return member.bitmapIo.write(offsetBytes, (this.#pages as StoredPages).addressOf(page), lengthBytes, durable);
  }

  /** @returns 0 if a member in sync has it; else the last error. */
  async #everywhere(work: (member: Member) => Promise<0 | NegErrno>): Promise<0 | NegErrno> {
    const members = this.#copies;
    const statuses = await Promise.all(members.map(work));
    let result: 0 | NegErrno = -Errno.EIO;
    for (const [i, member] of members.entries()) if (statuses[i] === 0 && member.state === 'in-sync') result = 0;
    for (const [i, member] of members.entries()) {
      if (statuses[i] === 0) continue;
      this.host.memberFailed(member, statuses[i]);
      if (result !== 0) result = statuses[i];
    }
    return result;
  }

  async read(copy: number, page: number): Promise<0 | NegErrno> {
    const member = this.#copies[copy];
    const { offsetBytes, lengthBytes } = this.#place(member, page);
    return member.bitmapIo.read(offsetBytes, (this.#pages as StoredPages).addressOf(page), lengthBytes);
  }
}
