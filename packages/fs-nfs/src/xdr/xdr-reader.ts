/**
 * Reading XDR (RFC 4506): big-endian, everything padded to four bytes.
 *
 * A reader is placed on a range of bytes and used again and again; it never copies and never allocates but what it is asked for. Every
 * length is checked against its maximum and against what is left before anything is made of it. What does not fit throws `XdrError`, which
 * whoever parses a message turns into an answer (`GARBAGE_ARGS`) or a `KernelError` (`EPROTO`).
 */

/** Bytes that are not what the protocol says. */
export class XdrError extends Error {
  /** @param offsetBytes where, counted from the beginning of the range. */
  constructor(
    message: string,
    readonly offsetBytes: number,
  ) {
    super(`${message} at byte ${offsetBytes}`);
    this.name = 'XdrError';
  }
}

const NO_BYTES = new Uint8Array(0);

export class XdrReader {
  #bytes: Uint8Array = NO_BYTES;
  #view: DataView = new DataView(NO_BYTES.buffer);
  #from = 0;
  #at = 0;
  #end = 0;

  /** Places the reader on `bytes[from … end)`. @param view one of the same bytes, if there is one. */
  reset(bytes: Uint8Array, from = 0, end = bytes.length, view?: DataView): this {
    this.#bytes = bytes;
    this.#view = view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#from = from;
    this.#at = from;
    this.#end = end;
    return this;
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.#end - this.#at;
  }

  /** Index of the next byte in the bytes the reader stands on. */
  get position(): number {
    return this.#at;
  }

  /** @throws XdrError saying `what`, where the reader stands. */
  fail(what: string): never {
    throw new XdrError(what, this.#at - this.#from);
  }

  #take(lengthBytes: number): number {
    if (lengthBytes > this.#end - this.#at) this.fail(`${lengthBytes} bytes are wanted and ${this.left} are left`);
    const at = this.#at;
    this.#at += lengthBytes;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), false);
  }

  /** An enumeration: 0 … `largest`. */
  enum(largest: number, what: string): number {
    const value = this.u32();
    if (value > largest) this.fail(`${what} is ${value}; at most ${largest} is known`);
    return value;
  }

  bool(): boolean {
    return this.enum(1, 'a truth value') === 1;
  }

  /** A number of 64 bits; beyond 2^53 it is not exact: for sizes and offsets, which are compared with a limit. */
  u64(): number {
    const at = this.#take(8);
    return this.#view.getUint32(at, false) * 2 ** 32 + this.#view.getUint32(at + 4, false);
  }

  /** The bytes of an opaque of known length: a view. */
  fixed(lengthBytes: number): Uint8Array {
    const at = this.#take(padded(lengthBytes));
    return this.#bytes.subarray(at, at + lengthBytes);
  }

  /** The bytes of an opaque of variable length: a view. */
  opaque(maxBytes: number, what: string): Uint8Array {
    return this.fixed(this.length(maxBytes, what));
  }

  /** The length before an opaque, a string or an array. */
  length(max: number, what: string): number {
    const length = this.u32();
    if (length > max) this.fail(`${what} has a length of ${length}; at most ${max} is allowed`);
    return length;
  }

  skip(lengthBytes: number): void {
    this.#take(lengthBytes);
  }
}

/** Bytes that `lengthBytes` take with their padding. */
export function padded(lengthBytes: number): number {
  return (lengthBytes + 3) & ~3;
}
