/**
 * Direct I/O: reads and writes past the cache, coherent with it. Whole pages only; the last page of a file may be partial.
 *
 *     read    dirty pages of the range are written first; then the backing answers
 *     write   dirty pages of the range are written, the pages leave the cache, the backing gets the new bytes; the range is held meanwhile
 *
 * The bytes pass through a few frames of ordinary memory; a write is funded and begun as any writeout (M7, M8).
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { isPromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { Pfn } from '../mm/arena.js';
import { Gfp } from '../mm/gfp.js';
import type { TaskContext } from '../task/task-context.js';
import type { AddressSpaceOperations, PageChange } from './address-space-operations.js';
import { ask } from './answer.js';
import type { WriteParts } from './page-write.js';
import type { Truncation } from './truncation.js';
import { RUN_PAGES } from './write-run.js';

/** The frames of one call, at most a write run's. */
class Bounce {
  readonly pfns = new Uint32Array(RUN_PAGES);
  nrFrames = 0;

  constructor(readonly parts: WriteParts) {}

  /** Takes up to `wanted` frames, waiting for the first only. @returns 0 or a negative errno. */
  async take(task: TaskContext, wanted: number): Promise<0 | NegErrno> {
    const { allocator } = this.parts.pages.memory;
    while (this.nrFrames < Math.min(wanted, RUN_PAGES)) {
      const isFirst = this.nrFrames === 0;
      const got = isFirst ? allocator.allocPageSlow(task, Gfp.TRANSIENT) : allocator.allocPage(task, Gfp.TRANSIENT | Gfp.SPARE);
      const pfn = isPromise(got) ? await got : got;
      if (pfn < 0) return isFirst ? pfn : 0;
      this.pfns[this.nrFrames++] = pfn;
    }
    return 0;
  }

  free(): void {
    while (this.nrFrames > 0) this.parts.pages.memory.allocator.freePage(this.pfns[--this.nrFrames]);
  }
}

/** One page of a direct write, for `dirtyPage`: the bytes go to the frame. The file grows when they have been written. */
class DirectChange implements PageChange {
  readonly fromByte = 0;
  readonly isDirty = false;
  isIn = false;

  constructor(
    readonly parts: WriteParts,
    readonly index: number,
    readonly pfn: Pfn,
    readonly toByte: number,
    readonly source: Uint8Array,
    readonly sourceAt: number,
  ) {}

  bringIn(): 0 {
    if (this.isIn) return 0;
    const { arena } = this.parts.pages.memory;
    arena.copyIn(this.pfn, 0, this.source, this.sourceAt, this.toByte);
    if (this.toByte < PAGE_SIZE) arena.view(this.pfn * PAGE_SIZE + this.toByte, PAGE_SIZE - this.toByte).fill(0);
    this.isIn = true;
    return 0;
  }
}

export class DirectIo {
  constructor(
    private readonly parts: WriteParts,
    private readonly truncation: Truncation,
    /** Writes the dirty pages of a range. */
    private readonly flush: (task: TaskContext, offsetBytes: number, lengthBytes: number) => Promise<0 | NegErrno>,
  ) {}

  /** As `PageCache.read`. @returns also `-EINVAL` for what does not begin with a page. */
  async read(task: TaskContext, offsetBytes: number, target: Uint8Array): Promise<number | NegErrno> {
    if (offsetBytes % PAGE_SIZE !== 0) return -Errno.EINVAL;
    const written = await this.flush(task, offsetBytes, target.length);
    if (written < 0) return written;
    return this.parts.range.shared(task, () => this.#read(task, offsetBytes, target));
  }

  async #read(task: TaskContext, offsetBytes: number, target: Uint8Array): Promise<number | NegErrno> {
    const bounce = new Bounce(this.parts);
    let done = 0;
    let status: 0 | NegErrno = 0;
    for (;;) {
      const { sizeBytes } = this.parts.ops;
      const left = Math.min(target.length, sizeBytes - offsetBytes) - done;
      if (left <= 0) break;
      status = await bounce.take(task, Math.ceil(left / PAGE_SIZE));
      if (status === 0) status = await this.#readRun(task, (offsetBytes + done) / PAGE_SIZE, bounce, Math.ceil(left / PAGE_SIZE));
      if (status < 0) break;
      const length = Math.min(left, bounce.nrFrames * PAGE_SIZE, Math.max(this.parts.ops.sizeBytes - offsetBytes - done, 0));
      for (let at = 0; at < length; at += PAGE_SIZE)
        this.parts.pages.memory.arena.copyOut(bounce.pfns[at / PAGE_SIZE], 0, target, done + at, Math.min(PAGE_SIZE, length - at));
      if (length === 0) break;
      done += length;
    }
    bounce.free();
    return done > 0 ? done : status;
  }

  async #readRun(task: TaskContext, index: number, bounce: Bounce, wanted: number): Promise<0 | NegErrno> {
    const { ops, pages } = this.parts;
    const count = Math.min(bounce.nrFrames, wanted);
    const { readahead, readFolio } = ops;
    if (readahead !== undefined && count > 1) return ask(() => readahead.call(ops, task, index, bounce.pfns, 0, count));
    for (let i = 0; i < count; i++) {
      if (readFolio === undefined) pages.memory.arena.zero(bounce.pfns[i]);
      const status = readFolio === undefined ? 0 : await ask(() => readFolio.call(ops, task, index + i, bounce.pfns[i]));
      if (status < 0) return status;
    }
    return 0;
  }

  /** As `PageCache.write`. @returns also `-EINVAL` for what does not begin with a page, or ends within one before the end of the file. */
  async write(task: TaskContext, offsetBytes: number, source: Uint8Array): Promise<number | NegErrno> {
    const { ops } = this.parts;
    const end = offsetBytes + source.length;
    if (ops.writepages === undefined || offsetBytes % PAGE_SIZE !== 0 || (end % PAGE_SIZE !== 0 && end < ops.sizeBytes))
      return -Errno.EINVAL;
    const written = await this.flush(task, offsetBytes, source.length);
    if (written < 0) return written;
    // Before the range is held: whoever writes out may come to wait for it, and nobody whom writeout waits for may wait for memory (M11).
    const bounce = new Bounce(this.parts);
    const taken = await bounce.take(task, Math.ceil(source.length / PAGE_SIZE));
    if (taken < 0) return taken;
    let done = 0;
    const status = await this.truncation.replace(task, offsetBytes, source.length, async () => {
      let ended: 0 | NegErrno = 0;
      while (done < source.length) {
        const length = Math.min(source.length - done, bounce.nrFrames * PAGE_SIZE);
        ended = await this.#writeRun(task, ops, offsetBytes + done, source.subarray(done, done + length), bounce);
        if (ended < 0) break;
        done += length;
        if (offsetBytes + done > ops.sizeBytes) ops.setSize?.(offsetBytes + done);
      }
      return ended;
    });
    bounce.free();
    return done > 0 ? done : status;
  }

  async #writeRun(task: TaskContext, ops: AddressSpaceOperations, at: number, bytes: Uint8Array, bounce: Bounce): Promise<0 | NegErrno> {
    const count = Math.ceil(bytes.length / PAGE_SIZE);
    for (let i = 0; i < count; i++) {
      const toByte = Math.min(PAGE_SIZE, bytes.length - i * PAGE_SIZE);
      const change = new DirectChange(this.parts, at / PAGE_SIZE + i, bounce.pfns[i], toByte, bytes, i * PAGE_SIZE);
      const { dirtyPage } = ops;
      const status = dirtyPage === undefined ? change.bringIn() : await ask(() => dirtyPage.call(ops, task, change));
      if (status < 0) return status;
      if (!change.isIn) return -Errno.EIO;
    }
    return this.parts.dirty.writeNow(task, at / PAGE_SIZE, bounce.pfns, count);
  }
}
