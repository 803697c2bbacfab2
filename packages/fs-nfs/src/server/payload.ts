/** The data of a WRITE on their way: read from the receive slot piece by piece, never held whole. */
import { Errno, type NegErrno, PAGE_SIZE, type Steps, settle } from '@tidemark/core';
import type { ReceiveSlot } from '@tidemark/net';
import type { RecordStream } from '../rpc/record-stream.js';

export class Payload {
  readonly #slot: ReceiveSlot;
  readonly #stream: RecordStream;
  readonly #wantMore: () => void;
  #arrived: (() => void) | null = null;
  #isCut = false;
  /** The stream is broken; the connection must end. */
  error: unknown = null;

  /** @param wantMore has the socket read on. */
  constructor(slot: ReceiveSlot, stream: RecordStream, wantMore: () => void) {
    this.#slot = slot;
    this.#stream = stream;
    this.#wantMore = wantMore;
  }

  /** More bytes stand in the slot. */
  arrived(): void {
    const wake = this.#arrived;
    this.#arrived = null;
    wake?.();
  }

  /** No more will come. */
  cut(): void {
    this.#isCut = true;
    this.arrived();
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#arrived = resolve;
      this.#wantMore();
    });
  }

  /** What stands in a row of the record; 0 of a broken one. */
  #gather(wanted: number): number {
    try {
      return this.#stream.gather(wanted);
    } catch (error) {
      this.#break(error);
      return 0;
    }
  }

  #break(error: unknown): void {
    this.error ??= error;
    this.#isCut = true;
  }

  /**
   * The next piece, for offset `offsetBytes` of the file: up to the end of a page, or of the data. It stays in the slot until `release`.
   * @param left bytes of data that have not been taken.
   * @returns the bytes; `-EPROTO` if the record ends before, `-ECONNRESET` if the connection does.
   */
  *take(offsetBytes: number, left: number): Steps<Uint8Array | NegErrno> {
    const least = Math.min(left, PAGE_SIZE - (offsetBytes % PAGE_SIZE));
    for (;;) {
      const there = this.#gather(least);
      if (there >= least) {
        let length = Math.min(there, left);
        if (length < left) length -= (offsetBytes + length) % PAGE_SIZE;
        const from = this.#slot.start;
        this.#stream.consume(length);
        this.#slot.hold();
        return this.#slot.bytes.subarray(from, from + length);
      }
      if (this.#isCut) return -Errno.ECONNRESET;
      if (this.#stream.isComplete) return -Errno.EPROTO;
      yield* settle(this.#wait());
    }
  }

  release(): void {
    this.#slot.release();
  }

  #skip(): boolean {
    try {
      return this.#stream.skip();
    } catch (error) {
      this.#break(error);
      return true;
    }
  }

  /** Throws away what is left of the record, as it comes. */
  *drain(): Steps<void> {
    while (!this.#isCut && !this.#skip()) yield* settle(this.#wait());
  }
}
