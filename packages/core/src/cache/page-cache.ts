/**
 * The page cache of one file or device: an address space whose pages have a backing.
 *
 * | owns | |
 * |---|---|
 * | the cache | the index (cell → frame or shadow), dirty and writeback marks, the lock of a page being read, the order of writes |
 * | its operations | what is behind: reading a page, writing a run of pages, making them durable |
 * | replacement policy, reclaim | when a clean page goes |
 *
 * What can meet what (everything between two waits is one step):
 *
 * | | read | write | writeback | reclaim |
 * |---|---|---|---|---|
 * | read (miss) | one reads a page, the others wait for it | waits for the read | – | page has a reference |
 * | write | – | one page, one step; last one wins | sets DIRTY: written again | page is dirty: kept |
 * | writeback | none: the page stays readable | – | one a page; the second waits for the next round | page is under writeback: kept |
 *
 * A write-back error is kept and reported once, by the next `sync`, which tries every dirty page all the same; what fails stays dirty. Reclaim tries 16 times in a
 * row at most, or it would never rest beside a device that is gone.
 */
import { Errno, errnoOf, KernelError, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import { XA_MAX_INDEX, XaMark, XArray } from '../base/xarray.js';
import type { Pfn } from '../mm/arena.js';
import { type Cell, CellTag, cellValue, frameCell, tagOf } from '../mm/cell.js';
import { PG } from '../mm/frame-table.js';
import type { Memory } from '../mm/memory.js';
import { Gfp } from '../mm/gfp.js';
import type { PageAging } from '../mm/reclaimer.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import { TaskContext } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';
import { type AddressSpace, type AddressSpaceTable, anyPage, type MayWrite } from './address-space.js';
import type { AddressSpaceOperations } from './address-space-operations.js';
import { RUN_PAGES, RUNS_MAX, WriteRun } from './write-run.js';

/** Most bytes of a backing, 2^44: an index is a u32. */
const SIZE_MAX_BYTES = (XA_MAX_INDEX + 1) * PAGE_SIZE;
/** Runs in a row that fail before reclaim leaves the pages to the next sync. */
const FAILURES_MAX = 16;
/** Percent of free and file pages that may be dirty or under writeback before a writer waits (M10). */
const DIRTY_PERCENT = 20;

/** Index nodes may take one frame in this many before shadows are forgotten. */
const NODES_PART = 16;
/** Shadows worth a walk. */
const DROP_LEAST = 64;

/** What a page cache is made of. */
export interface PageCacheParts {
  readonly memory: Memory;
  readonly spaces: AddressSpaceTable;
  readonly aging: PageAging;
}

export class PageCache implements AddressSpace {
  id = 0;
  readonly isAnonymous = false;
  readonly #memory: Memory;
  readonly #spaces: AddressSpaceTable;
  readonly #aging: PageAging;
  readonly #ops: AddressSpaceOperations;
  readonly #pages: XArray;
  readonly #runs = Array.from({ length: RUNS_MAX }, () => new WriteRun());
  readonly #spareRuns = [...this.#runs];
  /** Woken when a write ends, and when the last user goes. */
  readonly #idle: WaitQueue;
  /** Queues of those who wait for a page being read, by index; made when somebody waits. */
  readonly #readers = new Map<number, WaitQueue>();
  readonly #writeTask: TaskContext;
  #nrPages = 0;
  #nrDirty = 0;
  /** No page beyond it was ever dirty. */
  #highestDirtied = -1;
  #nrRunsBegun = 0;
  /** Calls that hold a page, or wait for one. */
  #nrUsers = 0;
  #writeError: 0 | NegErrno = 0;
  #failuresInARow = 0;
  #isClosed = false;
  #closing: Promise<0 | NegErrno> | null = null;

  /** @throws KernelError EFBIG for a backing of more than 2^44 bytes, ENFILE. */
  constructor(
    parts: PageCacheParts,
    readonly name: string,
    ops: AddressSpaceOperations,
  ) {
    if (ops.sizeBytes > SIZE_MAX_BYTES)
      throw new KernelError('EFBIG', `${name}: ${ops.sizeBytes} bytes are too many, a page cache can index ${SIZE_MAX_BYTES} (2^44)`);
    this.#memory = parts.memory;
    this.#spaces = parts.spaces;
    this.#aging = parts.aging;
    this.#ops = ops;
    this.#pages = new XArray(parts.memory.xarrayNodes);
    const heldBy = (): WriteoutNode[] => [this.writesThrough()].filter((node) => node !== null);
    this.#idle = new WaitQueue({ kind: 'writeback', name, heldBy });
    this.#writeTask = TaskContext.root(`flusher ${name}`).asReclaimer();
    parts.spaces.add(this);
  }

  /** Bytes of the backing. */
  get sizeBytes(): number {
    return this.#ops.sizeBytes;
  }

  /** Pages in memory. */
  get nrPages(): number {
    return this.#nrPages;
  }

  get nrDirty(): number {
    return this.#nrDirty;
  }

  /** The frame of a page that is in memory, or -1. Allocates nothing. */
  lookup(index: number): Pfn {
    const cell = this.#pages.load(index);
    return (cell & 3) === CellTag.FRAME ? cell >>> 2 : -1;
  }

  /**
   * Copies bytes out, reading what is not in memory.
   * @returns bytes copied, fewer than asked for at the end; or a negative errno.
   */
  read(task: TaskContext, offsetBytes: number, target: Uint8Array): MaybePromise<number | NegErrno> {
    const length = Math.max(0, Math.min(target.length, this.sizeBytes - offsetBytes));
    const { frames, arena } = this.#memory;
    for (let done = 0; done < length; ) {
      const index = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const inPage = offsetBytes + done - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      const pfn = this.lookup(index);
      if (pfn < 0 || (frames.flags[pfn] & PG.LOCKED) !== 0) return this.#readRest(task, offsetBytes, target, done, length);
      if ((frames.flags[pfn] & PG.YOUNG) === 0) frames.flags[pfn] |= PG.YOUNG;
      arena.copyOut(pfn, inPage, target, done, count);
      done += count;
    }
    return length;
  }

  async #readRest(task: TaskContext, offsetBytes: number, target: Uint8Array, from: number, length: number): Promise<number | NegErrno> {
    for (let done = from; done < length; ) {
      const index = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const inPage = offsetBytes + done - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      const pfn = await this.#getPage(task, index, true);
      if (pfn >= 0) this.#memory.arena.copyOut(pfn, inPage, target, done, count);
      this.#putPage(pfn);
      if (pfn < 0) return pfn;
      done += count;
    }
    return length;
  }

  /**
   * Copies bytes in; pages that are only partly written are read first. Waits while too much is dirty.
   * @returns bytes copied, fewer than given at the end of the backing (`-ENOSPC` if none fit); or a negative errno, with the pages
   * before the one it failed on written.
   */
  async write(task: TaskContext, offsetBytes: number, source: Uint8Array): Promise<number | NegErrno> {
    const length = Math.min(source.length, this.sizeBytes - offsetBytes);
    if (length <= 0) return source.length === 0 ? 0 : -Errno.ENOSPC;
    for (let done = 0; done < length; ) {
      const index = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const inPage = offsetBytes + done - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      const throttled = await this.#throttle(task);
      if (throttled < 0) return throttled;
      const pfn = await this.#getPage(task, index, count < PAGE_SIZE);
      if (pfn >= 0) {
        this.#memory.arena.copyIn(pfn, inPage, source, done, count);
        if ((this.#memory.frames.flags[pfn] & PG.LOCKED) !== 0) this.#unlock(index, pfn);
        this.#markDirty(pfn, index);
      }
      this.#putPage(pfn);
      if (pfn < 0) return pfn;
      done += count;
    }
    return length;
  }

  /**
   * A page in memory, with a reference. A new page that the caller fills is not read first, and is still locked.
   * @returns its frame, or a negative errno; either goes to `#putPage`.
   */
  async #getPage(task: TaskContext, index: number, mustRead: boolean): Promise<Pfn | NegErrno> {
    const { frames, counters, allocator } = this.#memory;
    this.#nrUsers++;
    for (;;) {
      if (this.#isClosed) return -Errno.EBADF;
      const found = this.lookup(index);
      if (found >= 0 && (frames.flags[found] & PG.LOCKED) === 0) {
        frames.flags[found] |= PG.YOUNG;
        frames.pin(found);
        return found;
      }
      if (found >= 0) {
        const woken = await this.#waitForRead(task, index);
        if (woken < 0) return woken;
        continue;
      }
      const allocated = allocator.allocPageSlow(task, Gfp.FILE);
      const pfn = isPromise(allocated) ? await allocated : allocated;
      if (pfn < 0) return pfn;
      const entered = this.#isClosed ? -Errno.EBADF : this.#enter(index, pfn);
      if (entered < 0) {
        allocator.freePage(pfn);
        if (entered === -Errno.EEXIST || (entered === -Errno.ENOMEM && (await this.#roomForNode(task)))) continue;
        return entered;
      }
      counters.pgfault++;
      if (!mustRead) return pfn;
      counters.pgmajfault++;
      const read = this.#ops.readFolio(task, index, pfn);
      const status = isPromise(read) ? await read : read;
      if (status === 0) {
        this.#unlock(index, pfn);
        return pfn;
      }
      this.#pages.store(index, 0);
      this.#nrPages--;
      this.#wakeReaders(index);
      frames.unpin(pfn);
      allocator.freePage(pfn);
      return status;
    }
  }

  /** The caller of `#getPage` is done with what it got. */
  #putPage(got: Pfn | NegErrno): void {
    if (got >= 0) this.#memory.frames.unpin(got);
    this.#memory.allocator.reclaimer?.noteProgress();
    if (--this.#nrUsers === 0) this.#idle.wakeAll();
  }

  /** Waits for room for a page and a node of the index. @returns false if there will be none. */
  async #roomForNode(task: TaskContext): Promise<boolean> {
    const memory = this.#memory;
    await memory.makeRoom(task, 2);
    return memory.allocator.nrFree - 2 >= memory.allocator.floorOf(task);
  }

  /** Puts a locked, referenced frame into the index; it keeps the shadow that was there. @returns 0, `-EEXIST`, or `-ENOMEM`. */
  #enter(index: number, pfn: Pfn): 0 | NegErrno {
    const before = this.#pages.load(index);
    if (tagOf(before) === CellTag.FRAME) return -Errno.EEXIST;
    let status = this.#pages.store(index, frameCell(pfn));
    if (status < 0 && (this.#memory.allocator.reclaimer?.cleanPass(1) ?? 0) > 0) status = this.#pages.store(index, frameCell(pfn));
    if (status < 0) return status;
    const { frames } = this.#memory;
    frames.space[pfn] = this.id;
    frames.index[pfn] = index;
    frames.priv[pfn] = before;
    frames.flags[pfn] |= PG.LOCKED;
    frames.pin(pfn);
    this.#nrPages++;
    return 0;
  }

  /** The content of a page is valid. */
  #unlock(index: number, pfn: Pfn): void {
    const { frames } = this.#memory;
    frames.flags[pfn] &= ~PG.LOCKED;
    this.#aging.add(pfn, frames.priv[pfn]);
    frames.priv[pfn] = 0;
    this.#wakeReaders(index);
  }

  #wakeReaders(index: number): void {
    this.#readers.get(index)?.wakeAll();
    this.#readers.delete(index);
  }

  #waitForRead(task: TaskContext, index: number): Promise<number> {
    let queue = this.#readers.get(index);
    if (queue === undefined) {
      queue = new WaitQueue({ kind: 'page', name: `page ${index} of ${this.name}, being read` });
      this.#readers.set(index, queue);
    }
    return queue.wait(task);
  }

  #markDirty(pfn: Pfn, index: number): void {
    const { frames, counters, fileCounts } = this.#memory;
    if ((frames.flags[pfn] & PG.DIRTY) !== 0) return;
    frames.flags[pfn] |= PG.DIRTY;
    this.#pages.setMark(index, XaMark.DIRTY);
    if (index > this.#highestDirtied) this.#highestDirtied = index;
    this.#nrDirty++;
    fileCounts.nrDirty++;
    counters.nr_dirtied++;
  }

  /**
   * Waits while too much is dirty. One page may always be dirty, whatever the limit comes to.
   * @returns 0, the errno of the task's signal, or that of a failed write: what cannot be written must not become more.
   */
  async #throttle(task: TaskContext): Promise<0 | NegErrno> {
    if (task.ticket !== null) return 0; // its units bound it (M16)
    const { fileCounts, allocator } = this.#memory;
    const limit = Math.floor(((allocator.nrFree + allocator.classCount(Gfp.FILE)) * DIRTY_PERCENT) / 100);
    while (this.#nrDirty + fileCounts.nrWriteback > 0 && fileCounts.nrDirty + fileCounts.nrWriteback > limit) {
      this.#writeBack(RUN_PAGES * RUNS_MAX);
      if (this.#writeError !== 0 || fileCounts.nrWriteback === 0) return this.#writeError;
      const woken = await fileCounts.written.wait(task);
      if (woken < 0) return woken;
    }
    return 0;
  }

  get isBeingWritten(): boolean {
    return this.#spareRuns.length < RUNS_MAX;
  }

  writesThrough(): WriteoutNode | null {
    return this.#ops.writesThrough?.() ?? null;
  }

  startWriteback(nrPages: number, mayWrite: MayWrite = anyPage): number {
    return this.#failuresInARow < FAILURES_MAX ? this.#writeBack(nrPages, mayWrite) : 0;
  }

  #writeBack(nrPages: number, mayWrite: MayWrite = anyPage): number {
    let started = 0;
    for (let index = 0; started < nrPages && this.#spareRuns.length > 0; ) {
      index = this.#nextToWrite(index, mayWrite);
      if (index < 0) break;
      const count = this.#beginRun(index, mayWrite);
      index += count;
      started += count;
    }
    return started;
  }

  /** The first page from `index` on that is dirty and not being written, or -1. */
  #nextToWrite(index: number, mayWrite: MayWrite): number {
    const { flags } = this.#memory.frames;
    let next = this.#pages.findNext(index, XaMark.DIRTY);
    const isNone = (pfn: Pfn): boolean => (flags[pfn] & PG.WRITEBACK) !== 0 || !mayWrite(pfn);
    while (next >= 0 && isNone(this.lookup(next))) next = this.#pages.findNext(next + 1, XaMark.DIRTY);
    return next;
  }

  /** Begins to write dirty pages from `index` on; there is a spare run. @returns how many. */
  #beginRun(index: number, mayWrite: MayWrite): number {
    const run = this.#spareRuns.pop() as WriteRun;
    run.serial = ++this.#nrRunsBegun;
    this.#fillRun(run, index, mayWrite);
    const { count } = run;
    const status = this.#ops.writepages(this.#writeTask, run.index, run.pfns, 0, count);
    if (isPromise(status)) void status.then((ended) => this.#runEnded(run, ended));
    else this.#runEnded(run, status);
    return count;
  }

  /** Gathers dirty pages with consecutive indexes; they are clean before their write begins. */
  #fillRun(run: WriteRun, first: number, mayWrite: MayWrite): void {
    const { frames, fileCounts } = this.#memory;
    run.index = first;
    run.count = 0;
    while (run.count < RUN_PAGES) {
      const index = first + run.count;
      const pfn = this.lookup(index);
      if (pfn < 0 || (frames.flags[pfn] & (PG.DIRTY | PG.WRITEBACK | PG.LOCKED)) !== PG.DIRTY || !mayWrite(pfn)) break;
      frames.flags[pfn] = (frames.flags[pfn] & ~PG.DIRTY) | PG.WRITEBACK;
      this.#pages.clearMark(index, XaMark.DIRTY);
      this.#pages.setMark(index, XaMark.WRITEBACK);
      run.pfns[run.count++] = pfn;
    }
    this.#nrDirty -= run.count;
    fileCounts.nrDirty -= run.count;
    fileCounts.nrWriteback += run.count;
  }

  #runEnded(run: WriteRun, status: 0 | NegErrno): void {
    const { frames, fileCounts, counters } = this.#memory;
    for (let i = 0; i < run.count; i++) {
      const pfn = run.pfns[i];
      const wanted = (frames.flags[pfn] & PG.RECLAIM) !== 0;
      frames.flags[pfn] &= ~(PG.WRITEBACK | PG.RECLAIM);
      this.#pages.clearMark(run.index + i, XaMark.WRITEBACK);
      if (status !== 0) this.#markDirty(pfn, run.index + i);
      else if (wanted && (frames.flags[pfn] & (PG.LRU | PG.DIRTY)) === PG.LRU) {
        this.#aging.rotate(pfn);
        counters.pgrotated++;
      }
    }
    fileCounts.nrWriteback -= run.count;
    if (status === 0) {
      counters.nr_written += run.count;
      this.#failuresInARow = 0;
    } else {
      this.#writeError ||= status;
      this.#failuresInARow++;
    }
    run.serial = 0;
    this.#spareRuns.push(run);
    this.#idle.wakeAll();
    fileCounts.written.wakeAll();
    this.#memory.allocator.reclaimer?.noteProgress();
  }

  /**
   * Writes every page that is dirty now, each tried once, and makes it durable. What becomes dirty meanwhile need not be written.
   * @returns 0, or the first write-back error since the last sync; it is reported once, and the pages stay dirty.
   */
  async sync(task: TaskContext): Promise<0 | NegErrno> {
    this.#failuresInARow = 0;
    const ended = await this.#writeDirty(task);
    if (ended < 0) return ended;
    const failed = this.#writeError;
    this.#writeError = 0;
    return failed !== 0 ? failed : this.#ops.sync(task);
  }

  /**
   * One ascending pass over the dirty pages. Runs of before end first: a page they write may be dirty anew. A page that the pass finds
   * being written is so since the call began, with what it was to write.
   * @returns 0, or the errno of the task's signal.
   */
  async #writeDirty(task: TaskContext): Promise<0 | NegErrno> {
    const last = this.#highestDirtied;
    let status = await this.#runsEnded(task);
    for (let index = 0; status === 0; ) {
      index = this.#nextToWrite(index, anyPage);
      if (index < 0 || index > last) return this.#runsEnded(task);
      if (this.#spareRuns.length > 0) index += this.#beginRun(index, anyPage);
      else status = await this.#idle.wait(task);
    }
    return status;
  }

  /** Waits for the runs begun so far, not for later ones. @returns 0, or the errno of the task's signal. */
  async #runsEnded(task: TaskContext): Promise<0 | NegErrno> {
    const latest = this.#nrRunsBegun;
    let status = 0;
    while (status === 0 && this.#runs.some(({ serial }) => serial > 0 && serial <= latest)) status = await this.#idle.wait(task);
    return status;
  }

  evict(pfn: Pfn, shadow: Cell): void {
    this.#nrPages--;
    const { frames, xarrayNodes, nrFrames } = this.#memory;
    const mayKeepShadow = xarrayNodes.nrFrames * NODES_PART < nrFrames || this.#dropShadows();
    this.#pages.store(frames.index[pfn], mayKeepShadow ? shadow : 0);
  }

  /**
   * Forgets every shadow, if there are more of them than pages: a long scan would fill memory with the nodes of what it has left
   * behind. Each shadow is dropped once, so this costs a step for each eviction.
   * @returns true if there was something to forget.
   */
  #dropShadows(): boolean {
    if (this.#pages.nrEntries < 2 * this.#nrPages + DROP_LEAST) return false;
    for (let index = this.#pages.findNext(0); index >= 0; index = this.#pages.findNext(index + 1)) {
      if (tagOf(this.#pages.load(index)) === CellTag.SHADOW) this.#pages.store(index, 0);
    }
    return true;
  }

  /**
   * Refuses calls from now on (-EBADF), lets those under way end, writes what is dirty, then gives every page and node back. What fails
   * is tried once more before it is dropped. If the task's signal aborts, what is in flight is cut off. Twice is fine.
   * @returns 0, or the first error: of the first sync, or of the cutting off.
   */
  close(task: TaskContext): Promise<0 | NegErrno> {
    this.#closing ??= this.#close(task);
    return this.#closing;
  }

  async #close(task: TaskContext): Promise<0 | NegErrno> {
    this.#isClosed = true;
    let cutting: Promise<0 | NegErrno> = Promise.resolve(0);
    const cutOff = (): void => {
      cutting = this.#ops.cutOff().then(() => 0, errnoOf);
    };
    if (task.checkSignal() !== 0) cutOff();
    else task.signal?.addEventListener('abort', cutOff, { once: true });
    const patient = task.withSignal(null);
    while (this.#nrUsers > 0) await this.#idle.wait(patient);
    const status = await this.sync(task);
    if (status !== 0 && task.checkSignal() === 0) await this.sync(task);
    while (this.#spareRuns.length < RUNS_MAX) await this.#idle.wait(patient);
    task.signal?.removeEventListener('abort', cutOff);
    const { allocator, fileCounts } = this.#memory;
    fileCounts.nrDirty -= this.#nrDirty;
    this.#nrDirty = 0;
    this.#nrPages = 0;
    this.#pages.clear((_index, cell) => {
      if (tagOf(cell) !== CellTag.FRAME) return;
      const pfn = cellValue(cell);
      this.#aging.remove(pfn);
      allocator.freePage(pfn);
    });
    this.#spaces.remove(this);
    return status || cutting;
  }
}
