/**
 * Writing XDR (RFC 4506) into memory that is there already: a header buffer of a call, a place in a reply ring.
 *
 * What does not fit is a bug of the caller, which knows the largest message it makes: it throws. `mark` and `back` let a list take what
 * fits and leave the rest.
 */
import { invariant } from '@tidemark/core';
import { padded } from './xdr-reader.js';

const NO_BYTES = new Uint8Array(0);

export class XdrWriter {
  #bytes: Uint8Array = NO_BYTES;
  #view: DataView = new DataView(NO_BYTES.buffer);
  #from = 0;
  #at = 0;
  #end = 0;

  /** Places the writer on `bytes[from … end)`. */
  reset(bytes: Uint8Array, from = 0, end = bytes.length, view?: DataView): this {
    this.#bytes = bytes;
    this.#view = view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#from = from;
    this.#at = from;
    this.#end = end;
    return this;
  }

  /** Bytes written. */
  get length(): number {
    return this.#at - this.#from;
  }

  /** Bytes there is room for. */
  get room(): number {
    return this.#end - this.#at;
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#at;
  }

  /** Forgets what was written from `position` on. */
  back(position: number): void {
    invariant(position >= this.#from && position <= this.#at, 'XDR: back to where nothing was written');
    this.#at = position;
  }

  /** What was written. */
  written(): Uint8Array {
    return this.#bytes.subarray(this.#from, this.#at);
  }

  #take(lengthBytes: number): number {
    const at = this.#at;
    invariant(lengthBytes <= this.#end - at, `XDR: ${lengthBytes} bytes do not fit into ${this.#end - at}`);
    this.#at += lengthBytes;
    return at;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#take(4), value, false);
    return this;
  }

  bool(value: boolean): this {
    return this.u32(value ? 1 : 0);
  }

  /** Up to 2^53. */
  u64(value: number): this {
    const at = this.#take(8);
    this.#view.setUint32(at, Math.floor(value / 2 ** 32), false);
    this.#view.setUint32(at + 4, value % 2 ** 32, false);
    return this;
  }

  /** Bytes of a length that both sides know. */
  fixed(bytes: Uint8Array): this {
    const at = this.#take(padded(bytes.length));
    this.#bytes.set(bytes, at);
    this.#bytes.fill(0, at + bytes.length, this.#at);
    return this;
  }

  /** Room for bytes that somebody else writes: a view of it. Padding is the caller's too. */
  space(lengthBytes: number): Uint8Array {
    const at = this.#take(lengthBytes);
    return this.#bytes.subarray(at, at + lengthBytes);
  }

  /** A length, and the bytes. */
  opaque(bytes: Uint8Array): this {
    return this.u32(bytes.length).fixed(bytes);
  }

  /** Writes a word again that was left open, such as a count. */
  patch(position: number, value: number): void {
    this.#view.setUint32(position, value, false);
  }
}
