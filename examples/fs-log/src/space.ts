/**
 * Space: who has which block. Data are appended through segments that are empty; when none is left, wherever a block is free, so that writing
 * a page out never waits for the cleaner. A block that is superseded may be used again when the transaction that says so is durable, and not
 * before: until then a crash leads back to it.
 */
import { type FrameArray, Gfp, type Memory } from '@tidemark/core';

/** Blocks of a segment. */
export const SEGMENT = 32;
/** Owners of blocks that are no file's. */
export const FREE = 0;
export const RESERVED = 0xffffffff;

export class Space {
  /** Inode number and page of each data block; `previous`: what it supersedes once its MAP record is durable, or 0. */
  readonly owner: FrameArray;
  readonly page: FrameArray;
  readonly previous: FrameArray;
  nrFree: number;
  /** Blocks promised to dirty pages. */
  nrPromised = 0;
  /** No segment was empty of late: there is something to clean. */
  wantsCleaning = false;
  #superseded: number[] = [];
  #head: number;

  constructor(
    memory: Memory,
    name: string,
    readonly nrBlocks: number,
    readonly nrRecordBlocks: number,
  ) {
    const table = (what: string): FrameArray => memory.allocFrameArray(`${what} of blocks of ${name}`, nrBlocks, Gfp.STANDING);
    [this.owner, this.page, this.previous] = [table('owners'), table('pages'), table('predecessors')];
    for (let block = 0; block < nrRecordBlocks; block++) this.owner.set(block, RESERVED);
    this.nrFree = nrBlocks - nrRecordBlocks;
    this.#head = nrRecordBlocks;
  }

  free(): void {
    for (const table of [this.owner, this.page, this.previous]) table.free();
  }

  /** Blocks that dirty pages may still be promised; a segment's worth is the cleaner's. */
  get nrSpare(): number {
    return this.nrFree - this.nrPromised - SEGMENT;
  }

  get nrSuperseded(): number {
    return this.#superseded.length;
  }

  get nrSegments(): number {
    return Math.ceil(this.nrBlocks / SEGMENT);
  }

  /** Blocks of a segment that are not free. */
  nrUsed(segment: number): number {
    let used = 0;
    for (let block = segment * SEGMENT; block < (segment + 1) * SEGMENT; block++)
      if (block >= this.nrBlocks || this.owner.get(block) !== FREE) used++;
    return used;
  }

  /** Takes the next block of the log. There is one: it was promised. */
  take(ino: number, page: number): number {
    const block = this.#next();
    this.claim(block, ino, page);
    this.#head = block + 1;
    return block;
  }

  #next(): number {
    const { owner, nrBlocks, nrSegments } = this;
    for (let block = this.#head; block < nrBlocks && block % SEGMENT !== 0; block++) if (owner.get(block) === FREE) return block;
    const first = Math.ceil(this.#head / SEGMENT);
    for (let i = 0; i < nrSegments; i++) if (this.nrUsed((first + i) % nrSegments) === 0) return ((first + i) % nrSegments) * SEGMENT;
    this.wantsCleaning = true;
    for (let i = 0; i < nrBlocks; i++) if (owner.get((this.#head + i) % nrBlocks) === FREE) return (this.#head + i) % nrBlocks;
    throw new Error('a promised block is not there');
  }

  claim(block: number, ino: number, page: number): void {
    this.owner.set(block, ino);
    this.page.set(block, page);
    this.previous.set(block, 0);
    this.nrFree--;
  }

  /** Nothing durable leads to a block: it may be used at once. */
  release(block: number): void {
    this.owner.set(block, FREE);
    this.nrFree++;
  }

  /** A block is superseded by what the running transaction says. */
  supersede(block: number): void {
    this.owner.set(block, RESERVED);
    this.#superseded.push(block);
  }

  /** The blocks superseded so far; given to `release` when the transaction is durable. */
  takeSuperseded(): number[] {
    return this.#superseded.splice(0);
  }
}
