/**
 * A model of anything that is read and written by byte ranges: an array beside it.
 *
 * Operations of one round overlap in time. Two writes of a round never touch the same byte; a read that overlaps a write must give, for
 * each byte, what was there before or what is there after. A write that failed may have been done in part: the bytes are looked at again.
 */
import { isKernelError, type MaybePromise } from '@tidemark/core';
import fc from 'fast-check';
import { firstDifference, pattern } from './pattern.js';

export interface ByteStore {
  read(offsetBytes: number, target: Uint8Array): MaybePromise<number>;
  write(offsetBytes: number, source: Uint8Array): MaybePromise<number>;
}

export interface ByteOp {
  readonly kind: 'read' | 'write' | 'zero';
  /** Of 65,536 parts of the size. */
  readonly at: number;
  readonly length: number;
  readonly isAligned: boolean;
  readonly tag: number;
}

/** Rounds of operations; most lengths are around one page, some span many. */
export const rounds = (maxRounds: number, maxOps: number): fc.Arbitrary<ByteOp[][]> =>
  fc.array(
    fc.array(
      fc.record({
        kind: fc.constantFrom('read', 'write', 'write', 'zero'),
        at: fc.nat(65_535),
        length: fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constant(4096), fc.integer({ min: 1, max: 60_000 })),
        isAligned: fc.boolean(),
        tag: fc.nat(1_000_000),
      }) as fc.Arbitrary<ByteOp>,
      { minLength: 1, maxLength: maxOps },
    ),
    { minLength: 1, maxLength: maxRounds },
  );

interface Issued {
  readonly op: ByteOp;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class ByteModel {
  readonly bytes: Uint8Array;
  readonly #store: ByteStore;
  readonly #mayFail: (code: string) => boolean;
  /** Errors that the store answered with. */
  readonly errors: string[] = [];

  constructor(store: ByteStore, sizeBytes: number, mayFail: (code: string) => boolean = () => false) {
    this.#store = store;
    this.#mayFail = mayFail;
    this.bytes = new Uint8Array(sizeBytes);
  }

  /** Issues the operations at once and checks each answer. `alsoDo` is called when all have been issued. */
  async round(ops: readonly ByteOp[], alsoDo: () => void = () => {}): Promise<void> {
    const before = this.bytes.slice();
    const writes: Issued[] = [];
    const failed: Issued[] = [];
    const reads: Issued[] = [];
    const running: Promise<void>[] = [];
    for (const op of ops) {
      const issued = this.#place(op);
      if (op.kind !== 'read' && writes.some((other) => overlaps(other, issued))) continue;
      if (op.kind === 'read') reads.push(issued);
      else {
        writes.push(issued);
        this.bytes.set(issued.bytes, issued.offset);
      }
      running.push(this.#issue(issued, failed));
    }
    alsoDo();
    await Promise.all(running);
    for (const read of reads) if (!failed.includes(read)) this.#check(read, before);
    for (const write of failed) if (write.op.kind !== 'read') await this.#lookAgain(write, before);
  }

  #place(op: ByteOp): Issued {
    const size = this.bytes.length;
    let offset = Math.floor((op.at / 65_536) * size);
    if (op.isAligned) offset -= offset % 4096;
    const length = Math.min(op.length, size - offset);
    const bytes = op.kind === 'write' ? pattern(length, op.tag) : new Uint8Array(length);
    return { op, offset, bytes };
  }

  async #issue(issued: Issued, failed: Issued[]): Promise<void> {
    const { op, offset, bytes } = issued;
    try {
      const count = await (op.kind === 'read' ? this.#store.read(offset, bytes) : this.#store.write(offset, bytes));
      if (count !== bytes.length) throw new Error(`${op.kind} of ${bytes.length} bytes at ${offset} did ${count}`);
    } catch (error) {
      this.#note(error);
      failed.push(issued);
    }
  }

  #note(error: unknown): void {
    if (!isKernelError(error) || !this.#mayFail(error.code)) throw error;
    this.errors.push(error.code);
  }

  #check({ offset, bytes }: Issued, before: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const at = offset + i;
      if (bytes[i] !== before[at] && bytes[i] !== this.bytes[at]) {
        throw new Error(`byte ${at} reads ${bytes[i]}; it was ${before[at]} and is ${this.bytes[at]}`);
      }
    }
  }

  /** Settles what a failed write has done. */
  async #lookAgain(issued: Issued, before: Uint8Array): Promise<void> {
    const seen = { ...issued, bytes: await this.readAll(issued.offset, issued.bytes.length) };
    this.#check(seen, before);
    this.bytes.set(seen.bytes, seen.offset);
  }

  /** Reads a range, as often as it takes. */
  async readAll(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#store.read(offset, bytes);
        return bytes;
      } catch (error) {
        if (attempt === 50) throw error;
        this.#note(error);
      }
    }
  }

  /** Compares everything. */
  async verify(chunkBytes = 40_000): Promise<void> {
    for (let at = 0; at < this.bytes.length; at += chunkBytes) {
      const want = this.bytes.subarray(at, at + chunkBytes);
      const difference = firstDifference(await this.readAll(at, want.length), want);
      if (difference >= 0) throw new Error(`byte ${at + difference} is not what was written`);
    }
  }
}

function overlaps(a: Issued, b: Issued): boolean {
  return a.offset < b.offset + b.bytes.length && b.offset < a.offset + a.bytes.length;
}
