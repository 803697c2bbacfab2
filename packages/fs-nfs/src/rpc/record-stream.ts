/**
 * Record marking (RFC 5531, 11): records in fragments, read from a receive slot.
 *
 *     fragment   4 bytes: bit 31 says that it is the record's last, the rest its length; then so many bytes
 *
 * A record is never held whole unless its reader wants it so: `gather` has the front of what is left of it stand in a row, by moving what is
 * there over the head of the next fragment; `consume` takes it. Bounds: bytes of a record, and fragments, of which there may be one for every
 * 256 bytes and a few more.
 */
import { KernelError } from '@tidemark/core';
import type { ReceiveSlot } from '@tidemark/net';

const HEAD_BYTES = 4;
/** Bit 31 of a fragment's head. */
export const LAST_FRAGMENT = 0x8000_0000;
const BYTES_PER_FRAGMENT = 256;
const FRAGMENTS_MIN = 16;

export class RecordStream {
  readonly #slot: ReceiveSlot;
  readonly #recordBytesMax: number;
  readonly #fragmentsMax: number;
  /** Of the record being read: bytes that follow up to the next head, and whether that is its end. */
  #left = 0;
  #isLast = false;
  #nrBytes = 0;
  #nrFragments = 0;

  constructor(slot: ReceiveSlot, recordBytesMax: number) {
    this.#slot = slot;
    this.#recordBytesMax = recordBytesMax;
    this.#fragmentsMax = FRAGMENTS_MIN + Math.floor(recordBytesMax / BYTES_PER_FRAGMENT);
  }

  /** Nothing of a record has been read. */
  get isBetween(): boolean {
    return this.#nrFragments === 0;
  }

  /** Everything that is left of the record stands in a row. */
  get isComplete(): boolean {
    return this.#isLast && this.#slot.length >= this.#left;
  }

  /** Bytes left of the record, as far as fragments have said. */
  get left(): number {
    return this.#left;
  }

  /** No fragment follows the present one. */
  get isLast(): boolean {
    return this.#isLast;
  }

  /**
   * Has up to `wanted` bytes of the record, or what is there, stand in a row from the start of the slot.
   * @returns how many do, maybe more than wanted; fewer mean that they have not come, or that the record is over (`isComplete`).
   * @throws KernelError EPROTO for a record that is too long or in too many pieces.
   */
  gather(wanted: number): number {
    const slot = this.#slot;
    while (!this.#isLast && this.#left < wanted && slot.length >= this.#left + HEAD_BYTES) {
      const head = slot.view.getUint32(slot.start + this.#left);
      if (this.#left > 0) slot.bytes.copyWithin(slot.start + HEAD_BYTES, slot.start, slot.start + this.#left);
      slot.consume(HEAD_BYTES);
      this.#isLast = head >= LAST_FRAGMENT;
      const lengthBytes = this.#isLast ? head - LAST_FRAGMENT : head;
      this.#left += lengthBytes;
      this.#nrBytes += lengthBytes;
      if (this.#nrBytes > this.#recordBytesMax)
        throw new KernelError('EPROTO', `a record of ${this.#nrBytes} bytes or more, where ${this.#recordBytesMax} are the most`);
      if (++this.#nrFragments > this.#fragmentsMax)
        throw new KernelError('EPROTO', `a record in more than ${this.#fragmentsMax} fragments`);
    }
    return Math.min(slot.length, this.#left);
  }

  /** Takes bytes that stand in a row. */
  consume(lengthBytes: number): void {
    this.#slot.consume(lengthBytes);
    this.#left -= lengthBytes;
  }

  /** Throws away what has come of the record. @returns true when that was the last of it; the next one begins. */
  skip(): boolean {
    for (;;) {
      const there = this.gather(1);
      this.consume(there);
      if (this.#isLast && this.#left === 0) break;
      if (there === 0) return false;
    }
    this.#isLast = false;
    this.#nrBytes = this.#nrFragments = 0;
    return true;
  }
}
