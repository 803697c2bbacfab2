/** What a check remembers: a few bits for each block and each inode. The words come from whoever asks for the check, who accounts them. */
import type { Geometry } from '../format/geometry.js';

/** Words of 32 bits, zero at first. `FrameArray` of core is one. */
export interface Words {
  get(i: number): number;
  set(i: number, value: number): void;
}

/** Gives words for something. @throws KernelError ENOMEM naming it and the shortfall. */
export type AllocateWords = (what: string, length: number) => Words;

export class CheckTables {
  readonly #blocks: Words;
  readonly #types: Words;
  readonly #links: Words;
  readonly #parents: Words;

  constructor({ nrBlocks, nrGroups, inodesPerGroup }: Geometry, allocate: AllocateWords) {
    const nrInodes = nrGroups * inodesPerGroup + 1;
    this.#blocks = allocate('blocks in use', Math.ceil(nrBlocks / 32));
    this.#types = allocate('types of inodes', Math.ceil(nrInodes / 8));
    this.#links = allocate('links found', Math.ceil(nrInodes / 2));
    this.#parents = allocate('parents of directories', nrInodes);
  }

  isUsed(block: number): boolean {
    return ((this.#blocks.get(block >>> 5) >>> (block & 31)) & 1) !== 0;
  }

  /** @returns false if it was in use already. */
  use(block: number): boolean {
    const word = this.#blocks.get(block >>> 5);
    const bit = 1 << (block & 31);
    if ((word & bit) !== 0) return false;
    this.#blocks.set(block >>> 5, (word | bit) >>> 0);
    return true;
  }

  /** Type bits of an inode's mode, by 4096; 0 if it is not in use, 15 if it is reserved and has none. */
  typeOf(inode: number): number {
    return (this.#types.get(inode >>> 3) >>> ((inode & 7) * 4)) & 0xf;
  }

  /** @param type one of `FileType`'s values, by 4096. */
  setType(inode: number, type: number): void {
    const shift = (inode & 7) * 4;
    this.#types.set(inode >>> 3, ((this.#types.get(inode >>> 3) & ~(0xf << shift)) | (type << shift)) >>> 0);
  }

  linksOf(inode: number): number {
    return (this.#links.get(inode >>> 1) >>> ((inode & 1) * 16)) & 0xffff;
  }

  /** Counts an entry that names an inode; stops at 65,535. */
  addLink(inode: number): void {
    const links = this.linksOf(inode);
    if (links === 0xffff) return;
    const shift = (inode & 1) * 16;
    this.#links.set(inode >>> 1, ((this.#links.get(inode >>> 1) & ~(0xffff << shift)) | ((links + 1) << shift)) >>> 0);
  }

  /** Directory that names a directory; 0 if none does. */
  parentOf(inode: number): number {
    return this.#parents.get(inode);
  }

  setParent(inode: number, parent: number): void {
    this.#parents.set(inode, parent);
  }
}

/** A reserved inode without a type. */
export const NO_TYPE = 0xf;
