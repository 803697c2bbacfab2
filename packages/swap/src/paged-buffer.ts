/**
 * `PagedBuffer`: memory that may be larger than memory. A range of bytes, all zero at first, whose pages live in frames while they are
 * used and in swap areas when they are not.
 *
 *     const buffer = await PagedBuffer.create(kernel, { sizeBytes: 128 * 2 ** 20 });
 *     await buffer.write(0, source);                 // a number if every page was there, else a promise of one
 *     await buffer.read(4096, target);
 *     for await (const chunk of buffer) …            // 64 KiB at a time, in one buffer that is reused
 *     buffer.close();
 *
 * `read` and `write` return `number | Promise<number>`: a hit is synchronous and allocates nothing. Calls may overlap; each page is
 * copied in one step, so two writes to one page never mix within it, and a call that spans pages is not atomic as a whole. The caller's
 * array must stay as it is until the call has ended.
 *
 * Errors: EINVAL for a range outside the buffer, EBADF after `close`, EIO if a page cannot be read back, ENOSPC if swap is full and
 * nothing can be freed (EIO if its device has failed), ENOMEM without swap, EINTR (or the signal's own) if the task's signal aborts. A failed call has written or read
 * the pages before the one it failed on.
 */
import {
  CellTag,
  cellValue,
  Errno,
  eitherSignal,
  errnoName,
  type FrameTable,
  isPromise,
  type Arena,
  type AbortSignalLike,
  type FrameArray,
  Kernel,
  KernelError,
  type MaybePromise,
  type NegErrno,
  PAGE_SIZE,
  parseSize,
  PG,
  type Pfn,
  type Size,
  type TaskContext,
  tagOf,
} from '@tidemark/core';
import { pagedBufferTerm } from './footprint.js';
import { AnonymousSpace } from './anonymous-space.js';
import type { SwapManager } from './swap-manager.js';
import { swapManagerOf } from './plugin.js';
import { type ElementType, PagedView } from './paged-view.js';

const CHUNK_BYTES = 65_536;
/** Most bytes: 2^32 − 1 pages would be 16 TiB; this bound keeps the cells of one buffer below 4 GiB. */
const SIZE_MAX_BYTES = 2 ** 42;

/** What a buffer is made with. */
export interface PagedBufferOptions {
  /** Bytes, or a text such as `128MiB`. */
  readonly sizeBytes: Size;
  /** For messages. */
  readonly name?: string;
  /** Ends waits of this buffer's calls. */
  readonly signal?: AbortSignalLike;
}

let nrCreated = 0;

/** Bytes in anonymous memory, more of them than there is memory: what does not fit is swapped out. */
export class PagedBuffer implements AsyncIterable<Uint8Array> {
  readonly sizeBytes: number;
  readonly name: string;
  readonly #manager: SwapManager;
  readonly #space: AnonymousSpace;
  readonly #task: TaskContext;
  // Read on every hit; kept beside each other so that a hit follows no pointers but these.
  readonly #cells: FrameArray;
  readonly #frames: FrameTable;
  readonly #arena: Arena;

  private constructor(kernel: Kernel, manager: SwapManager, space: AnonymousSpace, sizeBytes: number, task: TaskContext) {
    this.#manager = manager;
    this.#space = space;
    this.sizeBytes = sizeBytes;
    this.name = space.name;
    this.#task = task;
    this.#cells = space.cells;
    this.#frames = kernel.memory.frames;
    this.#arena = kernel.memory.arena;
  }

  /**
   * Makes a buffer of zeroes. Takes 4 bytes of kernel memory a page, and frames only for what is written.
   * @throws KernelError EINVAL for a size that is none; ENOSYS without the swap plugin; ENOMEM, naming the smallest budget, if its cells
   * do not fit.
   */
  static async create(kernel: Kernel, options: PagedBufferOptions): Promise<PagedBuffer> {
    const sizeBytes = parseSize(options?.sizeBytes, 'buffer size');
    if (sizeBytes > SIZE_MAX_BYTES) throw new KernelError('EINVAL', `a PagedBuffer of ${sizeBytes} bytes is too large: at most 4 TiB`);
    if (!(kernel instanceof Kernel)) throw new KernelError('EINVAL', 'a PagedBuffer needs the kernel it is to live in');
    kernel.requireRunning('make a PagedBuffer');
    const name = options.name ?? `buffer:${nrCreated++}`;
    const manager = swapManagerOf(kernel);
    const nrPages = Math.ceil(sizeBytes / PAGE_SIZE);
    await kernel.memory.requireRoom(kernel.task, `cells of ${name}`, pagedBufferTerm(sizeBytes).frames);
    const space = new AnonymousSpace(kernel, manager, name, nrPages);
    return new PagedBuffer(
      kernel,
      manager,
      space,
      sizeBytes,
      options.signal === undefined ? kernel.task : kernel.task.withSignal(eitherSignal(kernel.task.signal, options.signal)),
    );
  }

  /**
   * Copies bytes out, from `offsetBytes` on, into `target`.
   * @returns bytes copied: fewer than `target.length` only at the end of the buffer.
   */
  read(offsetBytes: number, target: Uint8Array): MaybePromise<number> {
    if (!(target instanceof Uint8Array)) throw this.#noBytes('read', target);
    const length = this.#lengthWithin(offsetBytes, target.length, 'read');
    let done = 0;
    while (done < length) {
      const at = offsetBytes + done;
      const index = Math.floor(at / PAGE_SIZE);
      const inPage = at - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      const cell = this.#cells.get(index);
      if (tagOf(cell) === CellTag.FRAME) this.#copyOut(cellValue(cell), inPage, target, done, count);
      else if (cell === 0) target.fill(0, done, done + count);
      else return this.#readRest(offsetBytes, target, done, length);
      done += count;
    }
    return length;
  }

  #copyOut(pfn: Pfn, inPage: number, target: Uint8Array, at: number, count: number): void {
    const { flags } = this.#frames;
    if ((flags[pfn] & PG.YOUNG) === 0) flags[pfn] |= PG.YOUNG;
    this.#arena.copyOut(pfn, inPage, target, at, count);
  }

  async #readRest(offsetBytes: number, target: Uint8Array, from: number, length: number): Promise<number> {
    let done = from;
    while (done < length) {
      const at = offsetBytes + done;
      const index = Math.floor(at / PAGE_SIZE);
      const inPage = at - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      this.#checkOpen('read');
      if (this.#cells.get(index) === 0) target.fill(0, done, done + count);
      else {
        const found = this.#space.fault(this.#task, index);
        const pfn = isPromise(found) ? await found : found;
        if (pfn < 0) throw this.#error('read', index, pfn);
        this.#arena.copyOut(pfn, inPage, target, done, count);
        this.#space.unref(pfn);
      }
      done += count;
    }
    return length;
  }

  /**
   * Copies `source` in, from `offsetBytes` on.
   * @returns `source.length`.
   * @throws KernelError EINVAL, and nothing is written, if it does not fit in whole.
   */
  write(offsetBytes: number, source: Uint8Array): MaybePromise<number> {
    if (!(source instanceof Uint8Array)) throw this.#noBytes('write', source);
    const length = this.#lengthWithin(offsetBytes, source.length, 'write');
    if (length < source.length) throw this.#rangeError('write', offsetBytes, source.length);
    let done = 0;
    while (done < length) {
      const at = offsetBytes + done;
      const index = Math.floor(at / PAGE_SIZE);
      const inPage = at - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      const cell = this.#cells.get(index);
      if (tagOf(cell) === CellTag.FRAME) {
        this.#space.markDirty(cellValue(cell));
        this.#arena.copyIn(cellValue(cell), inPage, source, done, count);
      } else if (cell === 0 || count === PAGE_SIZE) {
        const frame = this.#space.allocFrame(this.#task, count < PAGE_SIZE);
        if (isPromise(frame) || frame < 0) return this.#writeRest(offsetBytes, source, done, frame);
        this.#space.install(index, frame, count === PAGE_SIZE);
        this.#arena.copyIn(frame, inPage, source, done, count);
      } else return this.#writeRest(offsetBytes, source, done, null);
      done += count;
    }
    return length;
  }

  /**
   * Writes from `from` on, waiting where need be. A page that is written whole is not read first.
   * @param first a frame for a new page that is on its way, or null.
   */
  async #writeRest(offsetBytes: number, source: Uint8Array, from: number, first: MaybePromise<Pfn | NegErrno> | null): Promise<number> {
    let frame = first;
    for (let done = from; done < source.length; ) {
      const at = offsetBytes + done;
      const index = Math.floor(at / PAGE_SIZE);
      const inPage = at - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, source.length - done);
      const isWhole = count === PAGE_SIZE;
      if (frame === null) {
        this.#checkOpen('write');
        const cell = this.#cells.get(index);
        if (cell === 0 || (isWhole && tagOf(cell) !== CellTag.FRAME)) frame = this.#space.allocFrame(this.#task, !isWhole);
      }
      if (frame !== null) {
        const pfn: Pfn | NegErrno = isPromise(frame) ? await frame : frame;
        frame = null;
        if (pfn < 0) throw this.#error('write', index, pfn);
        if (!this.#space.install(index, pfn, isWhole)) continue;
        this.#arena.copyIn(pfn, inPage, source, done, count);
      } else {
        const found = this.#space.fault(this.#task, index);
        const pfn = isPromise(found) ? await found : found;
        if (pfn < 0) throw this.#error('write', index, pfn);
        this.#space.markDirty(pfn);
        this.#arena.copyIn(pfn, inPage, source, done, count);
        this.#space.unref(pfn);
      }
      done += count;
    }
    return source.length;
  }

  /** The buffer's bytes in order, at most 64 KiB at a time. The array is reused: copy what you keep. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, this.sizeBytes));
    for (let at = 0; at < this.sizeBytes; at += chunk.length) {
      const count = await this.read(at, chunk);
      yield count === chunk.length ? chunk : chunk.subarray(0, count);
    }
  }

  /**
   * The buffer, or a part of it, as an array of numbers in the machine's byte order.
   * @param offsetBytes a multiple of the element's size.
   * @param length elements; default: all that fit.
   */
  view(type: ElementType, offsetBytes = 0, length?: number): PagedView {
    return new PagedView(this, type, offsetBytes, length);
  }

  /** Gives every page, slot and cell back. Calls under way end with EBADF. Twice is fine. */
  close(): void {
    this.#space.close();
  }

  get isClosed(): boolean {
    return this.#space.isClosed;
  }

  #checkOpen(doing: string): void {
    if (!this.#space.isClosed) return;
    if (this.#space.wasCutOff) throw new KernelError('EIO', `${doing} ${this.name}: its kernel is shut down`);
    throw new KernelError('EBADF', `${doing} ${this.name}: the buffer is closed`);
  }

  #lengthWithin(offsetBytes: number, wanted: number, doing: string): number {
    if (this.#space.isClosed) this.#checkOpen(doing);
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) throw this.#rangeError(doing, offsetBytes, wanted);
    return Math.max(0, Math.min(wanted, this.sizeBytes - offsetBytes));
  }

  #noBytes(doing: string, given: unknown): KernelError {
    return new KernelError('EINVAL', `${doing} ${this.name}: want a Uint8Array, not ${given === null ? 'null' : typeof given}`);
  }

  #rangeError(doing: string, offsetBytes: number, length: number): KernelError {
    return new KernelError('EINVAL', `${doing} ${length} bytes at ${offsetBytes} of ${this.name}, which has ${this.sizeBytes} bytes`, {
      details: { offsetBytes, length, sizeBytes: this.sizeBytes },
    });
  }

  #error(doing: string, index: number, errno: NegErrno): KernelError {
    const offsetBytes = index * PAGE_SIZE;
    if (errno === -Errno.EBADF) this.#checkOpen(doing);
    const cause = errno === -Errno.ENOMEM ? this.#manager.whyFull : null;
    const where = `${doing} ${this.name} at ${offsetBytes}`;
    if (cause === null) return new KernelError(errnoName(errno), where, { details: { offsetBytes } });
    return new KernelError(cause.code, `${where}: ${cause.message}`, { cause, details: { offsetBytes } });
  }
}
