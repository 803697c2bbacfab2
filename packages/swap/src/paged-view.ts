/**
 * Typed views of a `PagedBuffer`: element access, and bulk copies to and from typed arrays. As with the buffer, what is in memory comes
 * back as a value, what is not as a promise.
 */
import { isPromise, KernelError, type MaybePromise } from '@tidemark/core';
import type { PagedBuffer } from './paged-buffer.js';

/** Element types, each with the typed array it is like. */
const ELEMENTS = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

/** Element of a view: signed and unsigned integers and floats, by their bits. */
export type ElementType = keyof typeof ELEMENTS;
/** A typed array that can be read from or written to a view. */
export type NumericArray = InstanceType<(typeof ELEMENTS)[ElementType]>;

/** A buffer as an array of numbers of one type. */
export class PagedView {
  readonly #buffer: PagedBuffer;
  readonly #cell: NumericArray;
  readonly #cellBytes: Uint8Array;
  readonly #offsetBytes: number;
  readonly elementBytes: number;
  /** Elements. */
  readonly length: number;

  /** @throws KernelError EINVAL if the range is not aligned, or not inside the buffer. */
  constructor(
    buffer: PagedBuffer,
    readonly type: ElementType,
    offsetBytes: number,
    length?: number,
  ) {
    if (!Object.hasOwn(ELEMENTS, type))
      throw new KernelError('EINVAL', `${JSON.stringify(type)} is no element type: there are ${Object.keys(ELEMENTS).join(', ')}`);
    this.#buffer = buffer;
    this.#cell = new ELEMENTS[type](1);
    this.#cellBytes = new Uint8Array(this.#cell.buffer);
    this.elementBytes = this.#cell.BYTES_PER_ELEMENT;
    this.#offsetBytes = offsetBytes;
    this.length = length ?? Math.floor((buffer.sizeBytes - offsetBytes) / this.elementBytes);
    const fits = Number.isSafeInteger(this.length) && this.length >= 0 && offsetBytes + this.length * this.elementBytes <= buffer.sizeBytes;
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || offsetBytes % this.elementBytes !== 0 || !fits) {
      throw new KernelError(
        'EINVAL',
        `a ${type} view of ${this.length} elements at ${offsetBytes} does not lie aligned in ${buffer.name} (${buffer.sizeBytes} bytes)`,
      );
    }
  }

  /** The element at `index`. */
  get(index: number): MaybePromise<number> {
    const read = this.#buffer.read(this.#at(index, 1), this.#cellBytes);
    if (!isPromise(read)) return this.#cell[0];
    // A wait lies between: the shared cell may be another call's by then.
    const own = new ELEMENTS[this.type](1);
    return read.then(() => this.read(index, own)).then(() => own[0]);
  }

  /** Sets the element at `index`. */
  set(index: number, value: number): MaybePromise<void> {
    this.#cell[0] = value;
    const at = this.#at(index, 1);
    const written = this.#buffer.write(at, this.#cellBytes.slice());
    return isPromise(written) ? written.then(() => undefined) : undefined;
  }

  /** Fills `target` from `index` on. @returns elements read. */
  read(index: number, target: NumericArray): MaybePromise<number> {
    this.#checkElements(target);
    const read = this.#buffer.read(this.#at(index, target.length), bytesOf(target));
    return isPromise(read) ? read.then((bytes) => bytes / this.elementBytes) : read / this.elementBytes;
  }

  /** Writes `source` from `index` on. @returns elements written. */
  write(index: number, source: NumericArray): MaybePromise<number> {
    this.#checkElements(source);
    const written = this.#buffer.write(this.#at(index, source.length), bytesOf(source));
    return isPromise(written) ? written.then((bytes) => bytes / this.elementBytes) : written / this.elementBytes;
  }

  #checkElements(array: NumericArray): void {
    if (array.BYTES_PER_ELEMENT === this.elementBytes) return;
    throw new KernelError('EINVAL', `a ${this.type} view and an array of ${array.BYTES_PER_ELEMENT}-byte elements do not go together`);
  }

  #at(index: number, count: number): number {
    if (!Number.isSafeInteger(index) || index < 0 || index + count > this.length) {
      throw new KernelError('EINVAL', `elements ${index} to ${index + count - 1} of a view that has ${this.length}`);
    }
    return this.#offsetBytes + index * this.elementBytes;
  }
}

function bytesOf(array: NumericArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
