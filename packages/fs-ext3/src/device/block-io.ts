/**
 * I/O of a mounted filesystem: pieces of arena memory to and from bytes of the device, gathered into as few bios as they fit.
 *
 * Bios are made and paid for at mount. A transfer that needs another one waits until one of those in flight has ended, having submitted
 * all it gathered before: so it waits for the device only.
 */
import {
  Bio,
  type BioOp,
  BioPool,
  bioPoolFrames,
  type BlockDevice,
  isPromise,
  type MaybePromise,
  type Memory,
  type NegErrno,
  PAGE_SIZE,
  Semaphore,
  type TaskContext,
  WRITE_AGAIN,
} from '@tidemark/core';
import type { FlushLosses } from './flush-losses.js';

/** Bios of one filesystem, and pieces of memory that each may name. */
const NR_BIOS = 16;
const SEGMENTS = 64;
/** `BioOp.FLUSH`. */
const FLUSH = 2;

/** Frames that so many bios are charged. */
export function bioFrames(nrBios: number): number {
  return bioPoolFrames(nrBios, SEGMENTS);
}

/** Frames that the bios of a filesystem are charged. */
export const BIO_FRAMES = bioFrames(NR_BIOS);

export class BlockIo {
  readonly #pool: BioPool;
  readonly #flushBio = new Bio(0);
  readonly #flushTurn: Semaphore;
  #nrTransfers = 0;
  #lossesSeen: number;
  #isReleased = false;

  /** @throws KernelError ENOMEM if the bios do not fit. */
  constructor(
    memory: Memory,
    readonly device: BlockDevice,
    name: string,
    /** Shared by all who write to the device. */
    private readonly losses: FlushLosses,
    nrBios = NR_BIOS,
  ) {
    this.#lossesSeen = losses.count;
    this.#pool = new BioPool(memory, `bios of ${name}`, nrBios, SEGMENTS, device);
    this.#flushTurn = new Semaphore(1, { kind: 'flush', name: device.name, heldBy: () => [device] });
  }

  /** Transfers that have not ended. */
  get nrTransfers(): number {
    return this.#nrTransfers;
  }

  /** True when its mount is gone: nothing can be read or written. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  /** Begins a transfer. @param isStable writes only: durable when it ends, if the device can do that; `canStable` tells. */
  begin(task: TaskContext, op: BioOp, isStable = false): Transfer {
    this.#nrTransfers++;
    return new Transfer(this, task, op, isStable && this.device.can.fua);
  }

  /** True if a stable write needs no flush behind it. */
  get canStable(): boolean {
    return this.device.can.fua;
  }

  /** Makes acknowledged writes durable. @returns 0, an errno, or `WRITE_AGAIN`: those since the last flush that went well may be lost. */
  flush(task: TaskContext): MaybePromise<0 | NegErrno> {
    if (!this.device.can.flush) return 0;
    const turn = this.#flushTurn.acquire(task);
    if (!isPromise(turn)) return turn < 0 ? turn : this.#flushNow(task);
    return turn.then((got) => (got < 0 ? got : this.#flushNow(task)));
  }

  #flushNow(task: TaskContext): MaybePromise<0 | NegErrno> {
    const ended = this.device.submitAndWait(task, this.#flushBio.start(FLUSH, 0, task));
    if (!isPromise(ended)) return this.#flushed(ended);
    return ended.then((status) => this.#flushed(status));
  }

  #flushed(status: 0 | NegErrno): 0 | NegErrno {
    this.#flushTurn.release();
    if (status === WRITE_AGAIN) this.losses.count++;
    if (this.losses.count === this.#lossesSeen || (status < 0 && status !== WRITE_AGAIN)) return status;
    this.#lossesSeen = this.losses.count;
    return WRITE_AGAIN;
  }

  /** For transfers. */
  tryBio(): Bio | null {
    return this.#pool.tryGet();
  }

  /** For transfers: a bio, whatever signal the task has. */
  bio(task: TaskContext): MaybePromise<Bio | NegErrno> {
    return this.#pool.get(task.withTicket(null).withSignal(null));
  }

  /** For transfers. */
  putBio(bio: Bio): void {
    this.#pool.put(bio);
  }

  /** For transfers: one has ended. */
  ended(): void {
    this.#nrTransfers--;
  }

  /** Gives the bios back. @throws KernelError EBUSY while some are in flight. */
  release(): void {
    this.#isReleased = true;
    this.#pool.dispose();
  }
}

/** Pieces on their way. `add` each, then `end`, once. */
export class Transfer {
  #bio: Bio | null = null;
  #nrPending = 0;
  #status: 0 | NegErrno = 0;
  #finish: ((status: 0 | NegErrno) => void) | null = null;

  constructor(
    private readonly io: BlockIo,
    private readonly task: TaskContext,
    private readonly op: BioOp,
    private readonly isStable: boolean,
  ) {}

  /** Adds bytes of the device from `offsetBytes` on, and the memory they come from or go to. */
  add(offsetBytes: number, address: number, lengthBytes: number): MaybePromise<void> {
    const bio = this.#bio;
    if (bio !== null) {
      const follows = bio.offsetBytes + bio.lengthBytes === offsetBytes;
      if (follows && bio.lengthBytes + lengthBytes <= this.io.device.maxTransferBytes && bio.addSegment(address, lengthBytes)) return;
      this.#submit();
    }
    const fresh = this.io.tryBio();
    if (fresh !== null) this.#start(fresh, offsetBytes, address, lengthBytes);
    else return this.#addSlow(offsetBytes, address, lengthBytes);
  }

  async #addSlow(offsetBytes: number, address: number, lengthBytes: number): Promise<void> {
    const bio = await this.io.bio(this.task);
    if (typeof bio === 'number') this.#status ||= bio;
    else this.#start(bio, offsetBytes, address, lengthBytes);
  }

  #start(bio: Bio, offsetBytes: number, address: number, lengthBytes: number): void {
    bio.start(this.op, offsetBytes, this.task);
    bio.fua = this.isStable;
    bio.addSegment(address, lengthBytes);
    bio.onEnd = (ended) => this.#bioEnded(ended);
    this.#bio = bio;
  }

  #submit(): void {
    const bio = this.#bio as Bio;
    this.#bio = null;
    this.#nrPending++;
    this.io.device.submit(bio);
  }

  #bioEnded(bio: Bio): void {
    if (bio.status < 0) this.#status ||= bio.status;
    this.io.putBio(bio);
    if (--this.#nrPending === 0 && this.#finish !== null) this.#over(this.#finish);
  }

  #over(finish: (status: 0 | NegErrno) => void): void {
    this.io.ended();
    finish(this.#status);
  }

  /** Submits what is left and waits for all of it. @returns 0 or the first error. */
  end(): MaybePromise<0 | NegErrno> {
    if (this.#bio !== null) this.#submit();
    if (this.#nrPending === 0) {
      this.io.ended();
      return this.#status;
    }
    const { device } = this.io;
    const waits = this.task.isReclaimer ? null : this.task.waits; // what reclaim has started is waited for by others, if by anybody
    return new Promise((resolve) => {
      const wait = waits?.enter(this.task, { kind: 'bio', name: `I/O on ${device.name}`, heldBy: () => [device] });
      this.#finish = (status) => {
        if (wait !== undefined) waits?.leave(wait);
        resolve(status);
      };
    });
  }
}

/** Frame number and offset as an address of the arena. */
export function addressOf(pfn: number, offsetBytes = 0): number {
  return pfn * PAGE_SIZE + offsetBytes;
}
