/**
 * A device that takes a page a request, acknowledges one a turn of the event loop, and, while told to, loses what is not flushed in the
 * middle of a flush, which then asks to write again. What is acknowledged during that flush before the loss is lost with the rest.
 */
import { type Bio, BioOp, type BlockDeviceOps, PAGE_SIZE, WRITE_AGAIN } from '@tidemark/core';

/** Pages acknowledged between the start of a flush and the loss that ends it. */
const ACKNOWLEDGED_BEFORE_LOSS = 10;

export class LossyDevice implements BlockDeviceOps {
  readonly apiVersion = 1;
  readonly name = 'lossy';
  readonly sizeBytes = 24 * 2 ** 20;
  readonly blockSizeBytes = 512;
  readonly maxTransferBytes = PAGE_SIZE;
  readonly readOnly = false;
  readonly trusted = false;
  readonly viaSocket = false;
  readonly can = { flush: true, fua: false, discard: false, writeZeroes: false };
  nrLosses = 0;
  /** Losses there may still be. */
  nrLossesLeft = 0;
  /** What is stored for good, by offset. */
  readonly durable = new Map<number, Uint8Array>();
  readonly #acknowledged = new Map<number, Uint8Array>();
  readonly #writes: Bio[] = [];
  #flush: Bio | null = null;
  #nrSinceFlush = 0;

  constructor(private readonly view: (address: number, lengthBytes: number) => Uint8Array) {}

  submit(bio: Bio): void {
    if (bio.op === BioOp.READ) {
      const stored = this.#acknowledged.get(bio.offsetBytes) ?? this.durable.get(bio.offsetBytes);
      this.view(bio.addresses[0], PAGE_SIZE).set(stored ?? new Uint8Array(PAGE_SIZE));
      bio.end(0);
      return;
    }
    if (bio.op === BioOp.FLUSH) {
      this.#flush = bio;
      this.#nrSinceFlush = 0;
    } else this.#writes.push(bio);
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    const write = this.#writes.shift();
    if (write !== undefined) {
      this.#acknowledged.set(write.offsetBytes, this.view(write.addresses[0], PAGE_SIZE).slice());
      this.#nrSinceFlush++;
      write.end(0);
    }
    const flush = this.#flush;
    if (flush === null || (this.#writes.length > 0 && this.#nrSinceFlush < ACKNOWLEDGED_BEFORE_LOSS)) return;
    this.#flush = null;
    if (this.#nrSinceFlush >= ACKNOWLEDGED_BEFORE_LOSS && this.nrLossesLeft > 0) {
      this.nrLossesLeft--;
      this.nrLosses++;
      this.#acknowledged.clear();
      flush.end(WRITE_AGAIN);
      return;
    }
    for (const [offset, bytes] of this.#acknowledged) this.durable.set(offset, bytes);
    this.#acknowledged.clear();
    flush.end(0);
  }

  async close(): Promise<void> {}
}
