/**
 * What the demo's working set holds, and what it is compared with: the input file from its first byte, then derived data. Any chunk
 * can be had again at any time, without the others and without memory of its own.
 *
 *     byte 0 … input bytes − 1          of the file, read when asked for
 *     … working set − 1                 of a generator (sfc32) started from seed and chunk number
 */
import fs from 'node:fs';
import { KernelError } from '@tidemark/core';
import { attempt } from '../host-error.js';

/** Bytes of a chunk: what is loaded, read back and compared at once. */
export const CHUNK_BYTES = 64 * 1024;

/** Without `--input`, the running program is used if it is larger than this. */
const DEFAULT_INPUT_BYTES_MIN = 32 * 1024 * 1024;

export class Source {
  readonly sizeBytes: number;
  readonly nrChunks: number;
  /** Bytes that come from the file. */
  readonly inputBytes: number;
  readonly inputPath: string | null;
  readonly #fd: number | null;
  readonly #seed: number;
  readonly #words = new Uint32Array(CHUNK_BYTES / 4);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  private constructor(input: { path: string; fd: number; sizeBytes: number } | null, sizeBytes: number, seed: number) {
    this.sizeBytes = sizeBytes;
    this.nrChunks = Math.ceil(sizeBytes / CHUNK_BYTES);
    this.inputBytes = Math.min(input?.sizeBytes ?? 0, sizeBytes);
    this.inputPath = input?.path ?? null;
    this.#fd = input?.fd ?? null;
    this.#seed = seed;
  }

  /**
   * Opens the source of a working set. `inputPath` undefined means the running program, if it is large enough.
   * @throws KernelError naming the file that cannot be read.
   */
  static open(inputPath: string | undefined, sizeBytes: number, seed: number): Source {
    const path = inputPath ?? process.execPath;
    return attempt(`open input ${path}`, () => {
      const fd = fs.openSync(path, 'r');
      const stat = fs.fstatSync(fd);
      if (inputPath === undefined && stat.size <= DEFAULT_INPUT_BYTES_MIN) {
        fs.closeSync(fd);
        return new Source(null, sizeBytes, seed);
      }
      if (!stat.isFile()) {
        fs.closeSync(fd);
        throw new KernelError(stat.isDirectory() ? 'EISDIR' : 'EINVAL', `input ${path} is not a regular file`);
      }
      return new Source({ path, fd, sizeBytes: stat.size }, sizeBytes, seed);
    });
  }

  /**
   * The bytes of a chunk, in a buffer that the next call uses again.
   * @throws KernelError EIO if the file has become shorter, or what reading it says.
   */
  chunk(index: number): Uint8Array {
    const from = index * CHUNK_BYTES;
    const length = Math.min(CHUNK_BYTES, this.sizeBytes - from);
    const fromInput = Math.min(Math.max(this.inputBytes - from, 0), length);
    if (fromInput < length) derive(this.#seed, index, this.#words);
    for (let done = 0; done < fromInput; ) {
      const got = this.#readInput(done, fromInput - done, from + done);
      if (got === 0) throw new KernelError('EIO', `input ${this.inputPath} became shorter while it was used`);
      done += got;
    }
    return length === CHUNK_BYTES ? this.#bytes : this.#bytes.subarray(0, length);
  }

  #readInput(at: number, length: number, position: number): number {
    return attempt(`read input ${this.inputPath}`, () => fs.readSync(this.#fd as number, this.#bytes, at, length, position));
  }

  /** Every chunk once, in an order that the seed decides. */
  shuffledChunks(): Uint32Array {
    const order = new Uint32Array(this.nrChunks);
    for (let i = 0; i < order.length; i++) order[i] = i;
    const random = new Uint32Array(CHUNK_BYTES / 4);
    for (let i = order.length - 1, drawn = 0; i > 0; i--, drawn++) {
      const at = drawn % random.length;
      if (at === 0) derive(this.#seed, 2 ** 32 - 1 - Math.floor(drawn / random.length), random); // streams no chunk uses
      const other = Math.floor((random[at] / 2 ** 32) * (i + 1));
      const kept = order[i];
      order[i] = order[other];
      order[other] = kept;
    }
    return order;
  }

  close(): void {
    if (this.#fd !== null) fs.closeSync(this.#fd);
  }
}

/** Fills `words` from the generator's stream `stream` under `seed`. */
function derive(seed: number, stream: number, words: Uint32Array): void {
  let a = seed | 0;
  let b = stream | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  for (let i = -12; i < words.length; i++) {
    const word = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + word) | 0;
    if (i >= 0) words[i] = word; // the first twelve mix the seed in
  }
}
