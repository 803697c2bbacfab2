/**
 * The metadata of a mounted filesystem that is in memory. A block that is there is had at once; one that is not is read, once, whoever
 * asks. Blocks that nobody uses are clean, or are with a transaction that pins them; so they go at once when memory is wanted.
 *
 * Memory: the frame of a block is its asker's (its ticket's, if it has one). When the last user lets go
 * of a block whose frame counts against a ticket,
 * the ticket gives the frame up: it stays as ordinary cache, or goes (M5). Objects are charged to a slab cache; as many as one transaction may
 * have are paid for at mount, for a handle never waits for ordinary memory.
 */
import {
  BioOp,
  errorFrom,
  Gfp,
  invariant,
  KernelError,
  type MaybePromise,
  type Memory,
  type NegErrno,
  PAGE_SIZE,
  PG,
  type Pfn,
  run,
  settle,
  SlabCache,
  type StandingCharge,
  type Steps,
  type TaskContext,
} from '@tidemark/core';
import { addressOf, type BlockIo } from '../device/block-io.js';
import { viewOf } from '../format/bytes.js';
import { METADATA_BLOCK_BYTES, MetadataBlock } from './metadata-block.js';

/** Gives the content of a block that is on its way to its place, and must not be read from there. */
export interface Images {
  /** @returns false if the block is at home. */
  copyTo(block: number, bytes: Uint8Array): boolean;
}

export class MetadataCache {
  readonly #blocks = new Map<number, MetadataBlock>();
  readonly #objects: SlabCache<MetadataBlock>;
  readonly #charge: StandingCharge;
  #isDisposed = false;
  /** Blocks in memory that nobody uses. */
  #nrIdle = 0;
  /** Those that `scan` has not passed yet since its last start. */
  #hand: IterableIterator<MetadataBlock> | null = null;
  images: Images = { copyTo: () => false };

  /**
   * @param nrSpare objects set aside: those of one running and one committing transaction.
   * @throws KernelError ENOMEM if they do not fit.
   */
  constructor(
    readonly name: string,
    readonly memory: Memory,
    readonly io: BlockIo,
    readonly blockSize: number,
    readonly nrBlocks: number,
    nrSpare: number,
  ) {
    this.#objects = new SlabCache(memory.frameSource(Gfp.SLAB), {
      name: 'metadata block',
      objectBytes: METADATA_BLOCK_BYTES,
      create: () => new MetadataBlock(),
      reset: (block) => block.reset(),
    });
    this.#charge = memory.chargeStanding(`metadata blocks of ${name}`, Math.ceil((nrSpare * METADATA_BLOCK_BYTES) / PAGE_SIZE));
  }

  /** Blocks in memory. */
  get size(): number {
    return this.#blocks.size;
  }

  /**
   * A block, pinned; at once if it is in memory.
   * @throws KernelError EUCLEAN for a number that is none, EIO, ENOMEM, EINTR; as a rejection if it had to wait.
   */
  get(task: TaskContext, block: number): MaybePromise<MetadataBlock> {
    const there = this.#blocks.get(block);
    if (there?.isValid) return this.#use(there);
    return run(this.#load(task, block, false));
  }

  /** A block that is new: zeroes, pinned, not read. @throws KernelError as `get`. */
  create(task: TaskContext, block: number): MaybePromise<MetadataBlock> {
    return run(this.#load(task, block, true));
  }

  #use(block: MetadataBlock): MetadataBlock {
    if (block.nrPins++ === 0) this.#nrIdle--;
    block.isYoung = true;
    return block;
  }

  *#load(task: TaskContext, block: number, isNew: boolean): Steps<MetadataBlock> {
    if (!(block > 0 || this.blockSize > 1024) || block >= this.nrBlocks)
      throw new KernelError('EUCLEAN', `${this.name}: there is no block ${block}`, { details: { block } });
    for (;;) {
      const there = this.#blocks.get(block);
      if (there === undefined) {
        const pfn = yield* this.#frame(task);
        if (!this.#blocks.has(block)) return yield* this.#fill(task, this.#enter(block, pfn), isNew);
        this.memory.allocator.freePage(pfn); // somebody was faster
      } else if (there.reading !== null) yield there.reading;
      else {
        if (isNew) there.bytes.fill(0);
        return this.#use(there);
      }
    }
  }

  *#frame(task: TaskContext): Steps<Pfn> {
    const pfn = yield* settle(this.memory.allocator.allocPageSlow(task, Gfp.SLAB));
    if (pfn < 0) throw errorFrom(pfn, `${this.name}: no memory for a block of metadata`);
    return pfn;
  }

  #enter(block: number, pfn: Pfn): MetadataBlock {
    let object = this.#objects.alloc();
    if (object === null) {
      object = new MetadataBlock();
      object.isSpare = true;
    }
    object.block = block;
    object.pfn = pfn;
    object.bytes = this.memory.arena.view(addressOf(pfn), this.blockSize);
    object.view = viewOf(object.bytes);
    this.#blocks.set(block, object);
    this.#nrIdle++;
    return this.#use(object);
  }

  *#fill(task: TaskContext, block: MetadataBlock, isNew: boolean): Steps<MetadataBlock> {
    if (isNew) block.bytes.fill(0);
    else if (!this.images.copyTo(block.block, block.bytes)) {
      const reading = this.#read(task, block);
      if (typeof reading !== 'number') block.reading = reading;
      const status = yield* settle(reading);
      block.reading = null;
      if (status < 0) {
        this.drop(block.block);
        this.put(block);
        throw errorFrom(status, `${this.name}: read block ${block.block}`, { block: block.block });
      }
    }
    block.isValid = true;
    return block;
  }

  #read(task: TaskContext, { block, pfn }: MetadataBlock): MaybePromise<0 | NegErrno> {
    const transfer = this.io.begin(task, BioOp.READ);
    const added = transfer.add(block * this.blockSize, addressOf(pfn), this.blockSize);
    return added === undefined ? transfer.end() : added.then(() => transfer.end());
  }

  /** Takes one more reference to a block in use. */
  pin(block: MetadataBlock): void {
    invariant(block.nrPins > 0, 'a metadata block was pinned that nobody uses');
    block.nrPins++;
  }

  /** Gives a reference back. */
  put(block: MetadataBlock): void {
    invariant(block.nrPins > 0, 'a metadata block was put back once too often');
    if (--block.nrPins > 0) return;
    if (block.isOrphan) {
      this.#free(block);
      return;
    }
    this.#nrIdle++;
    if ((this.memory.frames.flags[block.pfn] & PG.COUNTED) !== 0 && !this.memory.allocator.exchange(block.pfn)) this.#evict(block);
  }

  /** As `put`, at once for the ticket that the frame counts against, even if others use the block, as far as memory allows. */
  giveUp(block: MetadataBlock): void {
    const { pfn } = block;
    const isShared = block.nrPins > 1;
    this.put(block);
    if (isShared && (this.memory.frames.flags[pfn] & PG.COUNTED) !== 0) this.memory.allocator.exchange(pfn);
  }

  /** Forgets a block: what is on disk, or becomes of it, is others' affair. Users keep what they have. */
  drop(block: number): void {
    const there = this.#blocks.get(block);
    if (there === undefined) return;
    if (there.nrPins === 0) this.#evict(there);
    else {
      this.#blocks.delete(block);
      there.isOrphan = true;
    }
  }

  #evict(block: MetadataBlock): void {
    this.#nrIdle--;
    this.#blocks.delete(block.block);
    this.#free(block);
  }

  #free(block: MetadataBlock): void {
    this.memory.allocator.freePage(block.pfn);
    if (!block.isSpare) this.#objects.free(block);
    if (this.#isDisposed) this.#objects.shrink();
  }

  /** Frames it could give back now. */
  count(): number {
    return this.#nrIdle + this.#objects.count();
  }

  /** Gives blocks back that nobody uses, those first that were not used of late. Allocates and waits for nothing. @returns frames freed. */
  scan(nrFrames: number): number {
    let freed = 0;
    for (let left = 2 * this.#blocks.size; left > 0 && freed < nrFrames; left--) {
      this.#hand ??= this.#blocks.values();
      const { value: block, done } = this.#hand.next();
      if (done === true) this.#hand = null;
      else if (block.nrPins === 0) {
        if (block.isYoung) block.isYoung = false;
        else {
          this.#evict(block);
          freed++;
        }
      }
    }
    return freed + this.#objects.shrink();
  }

  /** Forgets every block that nobody uses. */
  dropClean(): void {
    for (const block of [...this.#blocks.values()]) if (block.nrPins === 0) this.#evict(block);
  }

  /** Gives all memory back. What somebody still uses, because the mount was taken away from under them, goes with its last user. */
  dispose(): void {
    this.#isDisposed = true;
    for (const block of [...this.#blocks.keys()]) this.drop(block);
    this.#objects.shrink();
    this.#charge.free();
  }
}
