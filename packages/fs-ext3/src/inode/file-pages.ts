/**
 * What is behind the pages of a regular file. A page's blocks are taken when it becomes dirty, in a handle (M7): there, and nowhere later, a full
 * disk shows. The page keeps their numbers, so that writing it takes bios and nothing else.
 */
import {
  type AddressSpaceOperations,
  BioOp,
  Errno,
  type Inode,
  type MaybePromise,
  type NegErrno,
  type PageCache,
  type PageChange,
  PAGE_SIZE,
  type Pfn,
  PG,
  run,
  type Steps,
  settle,
  type TaskContext,
  type WriteoutNode,
} from '@tidemark/core';
import { addressOf, type Transfer } from '../device/block-io.js';
import { RoCompat } from '../format/features.js';
import type { Handle } from '../journal/handle.js';
import { looking } from '../metadata/block-reader.js';
import { allocObject } from '../volume/heap.js';
import type { Parts } from '../volume/parts.js';
import { RangeFreer } from './free-range.js';
import { fromCore, type Node, nodeOf, type PageMapping } from './node.js';

/** Files beyond it have to be announced in the superblock. */
const SMALL_FILE_BYTES_MAX = 2 ** 31 - 1;

export class FilePages implements AddressSpaceOperations {
  readonly device: object;
  readonly #node: Node;
  readonly #blocksPerPage: number;

  constructor(
    readonly parts: Parts,
    readonly inode: Inode,
    /** Answers what an operation threw. */
    readonly failed: (error: unknown) => NegErrno,
  ) {
    this.#node = nodeOf(inode);
    this.device = parts.io.device;
    this.#blocksPerPage = PAGE_SIZE / parts.geometry.blockSize;
  }

  get sizeBytes(): number {
    return this.inode.sizeBytes;
  }

  setSize(sizeBytes: number): void {
    this.inode.sizeBytes = sizeBytes;
  }

  writesThrough(): WriteoutNode {
    return this.parts.dataNode;
  }

  #run(steps: Steps<0 | NegErrno>): MaybePromise<0 | NegErrno> {
    try {
      const status = run(steps);
      return typeof status === 'number' ? status : status.catch(this.failed);
    } catch (error) {
      return this.failed(error);
    }
  }

  readFolio(task: TaskContext, index: number, pfn: Pfn): MaybePromise<0 | NegErrno> {
    return this.#run(this.#read(task, index, Uint32Array.of(pfn), 0, 1));
  }

  readahead(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    return this.#run(this.#read(task, index, pfns, from, count));
  }

  /** First where the blocks are, then the reading: nobody who has a bio waits for another one's block. */
  *#read(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Steps<0 | NegErrno> {
    const { cache, map, geometry, io, memory } = this.parts;
    const { blockSize } = geometry;
    const perPage = this.#blocksPerPage;
    const first = index * perPage;
    const nrBlocks = Math.min(count * perPage, Math.ceil(this.inode.sizeBytes / blockSize) - first);
    const node = this.#node;
    const blocks = new Uint32Array(count * perPage);
    yield* looking(task, cache, function* (look) {
      for (let i = 0; i < nrBlocks; i++) blocks[i] = yield* map.find(look, node, first + i);
    });
    const transfer = io.begin(task, BioOp.READ);
    for (let i = 0; i < blocks.length; i++) {
      const address = addressOf(pfns[from + Math.floor(i / perPage)], (i % perPage) * blockSize);
      if (blocks[i] === 0) memory.arena.view(address, blockSize).fill(0);
      else yield* settle(transfer.add(blocks[i] * blockSize, address, blockSize));
    }
    return yield* settle(transfer.end());
  }

  dirtyPage(task: TaskContext, change: PageChange): MaybePromise<0 | NegErrno> {
    return this.#run(this.#dirty(task, change));
  }

  *#dirty(task: TaskContext, change: PageChange): Steps<0 | NegErrno> {
    const { memory, mappings, journal, credits } = this.parts;
    const node = this.#node;
    if (node.isImmutable || (node.isAppendOnly && change.index * PAGE_SIZE + change.fromByte < this.inode.sizeBytes)) return -Errno.EPERM;
    let spare: PageMapping | null = null;
    if (!node.mappings.has(change.index)) {
      const made = yield* allocObject(task, memory, mappings);
      if (typeof made === 'number') return made;
      spare = made;
    }
    const work = (handle: Handle): Steps<0 | NegErrno> => this.#inTurn(handle, change, spare as PageMapping);
    try {
      let status = yield* journal.do(task, credits.page, work);
      if (status === -Errno.ENOSPC && journal.hasUndo) {
        status = yield* journal.commit(task); // what was freed of late is free then
        if (status === 0) status = yield* journal.do(task, credits.page, work);
      }
      return status;
    } finally {
      if (spare !== null && node.mappings.get(change.index) !== spare) mappings.free(spare);
    }
  }

  *#inTurn(handle: Handle, change: PageChange, spare: PageMapping): Steps<0 | NegErrno> {
    const { mapTurn } = this.#node;
    yield* settle(mapTurn.acquire(handle.task));
    try {
      return yield* this.#change(handle, change, spare);
    } finally {
      mapTurn.release();
    }
  }

  /** Takes the blocks, brings the data in, and writes the inode. */
  *#change(handle: Handle, change: PageChange, spare: PageMapping): Steps<0 | NegErrno> {
    const node = this.#node;
    const { geometry, map, memory } = this.parts;
    if (this.inode.nrPins > 0) return -Errno.ETXTBSY; // pinned since this write began
    const { index } = change;
    const known = node.mappings.get(index);
    const mapping = known ?? spare;
    const first = Math.floor(change.fromByte / geometry.blockSize);
    const end = Math.ceil(change.toByte / geometry.blockSize);
    const made: number[] = [];
    const madeSlots: number[] = [];
    let status: NegErrno = 0;
    for (let slot = first; slot < end && status === 0; slot++) {
      if (mapping.blocks[slot] !== 0) continue;
      const nrMade = made.length;
      const block = yield* map.ensure(handle, node, index * this.#blocksPerPage + slot, made);
      if (block < 0) status = block;
      else mapping.blocks[slot] = block;
      if (made.length > nrMade) madeSlots.push(slot);
    }
    if (status === 0) {
      if (known === undefined) node.mappings.set(index, mapping);
      status = change.bringIn();
    }
    if (status < 0) {
      yield* this.#takeBack(handle, index, madeSlots, mapping);
      if (known === undefined) {
        node.mappings.delete(index);
        mapping.blocks.fill(0);
      }
    } else {
      memory.frames.flags[change.pfn] |= PG.PRIVATE;
      if (made.length > 0) handle.order(this.inode.pages as PageCache);
    }
    if (status === 0 || madeSlots.length > 0) yield* this.#writeInode(handle, made.length > 0);
    return status;
  }

  /** Frees blocks that this very handle has taken for a page that cannot be written after all. */
  *#takeBack(handle: Handle, index: number, slots: readonly number[], mapping: PageMapping): Steps<void> {
    const freer = new RangeFreer(this.parts.blocks, handle, this.#node, false, true);
    for (const slot of slots) {
      const logical = index * this.#blocksPerPage + slot;
      mapping.blocks[slot] = 0;
      yield* freer.free(logical, logical + 1);
    }
  }

  *#writeInode(handle: Handle, hasNewBlocks: boolean): Steps<void> {
    const { superblock, table, geometry } = this.parts;
    const node = this.#node;
    const { size } = node.raw;
    fromCore(node, this.inode, geometry.inodeSize);
    if (node.raw.size > SMALL_FILE_BYTES_MAX && (superblock.fields.featureRoCompat & RoCompat.LARGE_FILE) === 0)
      superblock.change(handle, { featureRoCompat: superblock.fields.featureRoCompat | RoCompat.LARGE_FILE });
    yield* table.write(handle, node);
    if (hasNewBlocks || size !== node.raw.size) node.dataTransaction = handle.transaction.id;
  }

  writepages(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    if (this.parts.io.isReleased) return -Errno.EIO;
    const node = this.#node;
    node.nrWriting++;
    const ended = (status: 0 | NegErrno): 0 | NegErrno => {
      if (--node.nrWriting === 0) node.written.wakeAll();
      return status;
    };
    const status = run(this.#write(task, index, pfns, from, count));
    return typeof status === 'number' ? ended(status) : status.then(ended);
  }

  *#write(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Steps<0 | NegErrno> {
    const { io, geometry } = this.parts;
    const { blockSize } = geometry;
    const transfer: Transfer = io.begin(task, BioOp.WRITE);
    for (let i = 0; i < count; i++) {
      const mapping = this.#node.mappings.get(index + i);
      if (mapping === undefined) continue; // what has no blocks was cut off
      for (let slot = 0; slot < this.#blocksPerPage; slot++) {
        const block = mapping.blocks[slot];
        if (block !== 0) yield* settle(transfer.add(block * blockSize, addressOf(pfns[from + i], slot * blockSize), blockSize));
      }
    }
    return yield* settle(transfer.end());
  }

  releasePage(index: number): boolean {
    this.#forget(index);
    return true;
  }

  invalidate(index: number): void {
    this.#forget(index);
  }

  #forget(index: number): void {
    const mapping = this.#node.mappings.get(index);
    if (mapping === undefined) return;
    this.#node.mappings.delete(index);
    this.parts.mappings.free(mapping);
  }
}
