/**
 * What a connection has been given to send and the peer has not acknowledged: memory by reference, in order of the stream. Offsets count
 * bytes of the stream from 0.
 */
import type { OutgoingDatagram } from '../ip/datagram.js';

interface Sending {
  readonly bytes: Uint8Array;
  readonly onSent: (() => void) | null;
  readonly startOffset: number;
}

export class SendQueue {
  /** Oldest first, from `#head` on. */
  readonly #entries: Sending[] = [];
  #head = 0;
  #endOffset = 0;
  /** Where the last look ended: looks go forward mostly. */
  #hint = 0;

  /** Offset behind the last byte that was given. */
  get endOffset(): number {
    return this.#endOffset;
  }

  push(bytes: Uint8Array, onSent: (() => void) | null): void {
    this.#entries.push({ bytes, onSent, startOffset: this.#endOffset });
    this.#endOffset += bytes.length;
  }

  /** Adds bytes `fromOffset … + lengthBytes` to a datagram. */
  gather(fromOffset: number, lengthBytes: number, datagram: OutgoingDatagram): void {
    const entries = this.#entries;
    let at =
      this.#hint >= this.#head && this.#hint < entries.length && entries[this.#hint].startOffset <= fromOffset ? this.#hint : this.#head;
    while (entries[at].startOffset + entries[at].bytes.length <= fromOffset) at++;
    const endOffset = fromOffset + lengthBytes;
    for (let offset = fromOffset; offset < endOffset; at++) {
      const { bytes, startOffset } = entries[at];
      const from = offset - startOffset;
      const to = Math.min(bytes.length, endOffset - startOffset);
      if (to > from) datagram.addPart(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to));
      offset = startOffset + to;
    }
    this.#hint = Math.max(at - 1, this.#head);
  }

  /** Everything before `offset` has been acknowledged: lets go of it, and then says so to who sent it. */
  acknowledged(offset: number): void {
    for (;;) {
      const first = this.#entries[this.#head];
      if (first === undefined || first.startOffset + first.bytes.length > offset) return;
      this.#head++;
      if (this.#head === this.#entries.length || this.#head >= 64) {
        this.#entries.splice(0, this.#head);
        this.#hint = Math.max(this.#hint - this.#head, 0);
        this.#head = 0;
      }
      first.onSent?.();
    }
  }

  /** Forgets everything; nobody is told. */
  clear(): void {
    this.#entries.length = 0;
    this.#head = this.#hint = 0;
  }
}
