/**
 * The page cache of one file or device: an address space whose pages have a backing.
 *
 * | part | owns |
 * |---|---|
 * | `PageIndex` | cell → frame or shadow; what leaves memory |
 * | `PageFiller`, `ReadaheadWindow` | pages on their way in |
 * | `PageWrite` | what a write does to a page |
 * | `DirtyPages`, `Backing` | pages on their way out, dirty limits, errors |
 * | `Truncation` | ranges that go |
 * | `DirectIo` | reads and writes past the cache |
 * | its operations | what is behind |
 * | replacement policy, reclaim | when a clean page goes |
 *
 * What can meet what. Everything between two waits is one step; the column is there first, the row comes. Each pair has a test under random
 * schedules. A fault is a read or a write like any other: nobody maps pages.
 *
 * | | read in flight | write waiting in `dirtyPage` | writeback | truncation | reclaim |
 * |---|---|---|---|---|---|
 * | read | waits for that read | sees the page as it is, or reads it | sees the page | is cut at the new end | reads again |
 * | write | waits for that read | the last to bring in wins; who finds another's page in place of its own asks again | brings in: dirty again, written again | of a page that goes: waits, asks again | reads again, or begins afresh |
 * | writeback | page is not dirty | writes what was dirty before | one a page; waits for the next round | begins no page that goes | – |
 * | truncation | waits for it, drops the page | takes the page out: the write asks again | waits for it, drops the page | one at a time | page has gone |
 * | reclaim | page is locked, on no list | page has a reference | page is under writeback: kept | page has gone | – |
 *
 * Offsets go to 2^44 bytes. A write that stops early returns what it has written; the error comes with the next.
 */
import { Errno, errnoOf, KernelError, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import { XA_MAX_INDEX } from '../base/xarray.js';
import type { Pfn } from '../mm/arena.js';
import type { Cell } from '../mm/cell.js';
import { PG } from '../mm/frame-table.js';
import type { Memory } from '../mm/memory.js';
import type { PageAging } from '../mm/reclaimer.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';
import type { AddressSpace, AddressSpaceTable } from './address-space.js';
import type { AddressSpaceOperations } from './address-space-operations.js';
import { ask } from './answer.js';
import type { Backing } from './backing.js';
import { DirtyPages } from './dirty-pages.js';
import type { ErrorCursor } from './error-sequence.js';
import { DirectIo } from './direct-io.js';
import { BEHIND_END, PageFiller } from './page-filler.js';
import { PageIndex } from './page-index.js';
import { PageWaits } from './page-waits.js';
import { PageWrite, type WriteParts } from './page-write.js';
import { RangeLock } from './range-lock.js';
import { ReadaheadWindow } from './readahead-window.js';
import { type FreePages, Truncation } from './truncation.js';
import type { Writeback } from './writeback.js';

/** Most bytes of a file, 2^44: an index is a u32. */
export const FILE_SIZE_MAX_BYTES = (XA_MAX_INDEX + 1) * PAGE_SIZE;

/** What a page cache is made of; `kernel.cacheParts`. */
export interface PageCacheParts {
  readonly memory: Memory;
  readonly spaces: AddressSpaceTable;
  readonly aging: PageAging;
  readonly writeback: Writeback;
}

export class PageCache implements AddressSpace {
  readonly isAnonymous = false;
  readonly #memory: Memory;
  readonly #spaces: AddressSpaceTable;
  readonly #ops: AddressSpaceOperations;
  readonly #pages: PageIndex;
  readonly #filler: PageFiller;
  readonly #dirty: DirtyPages;
  readonly #backing: Backing;
  readonly #truncation: Truncation;
  readonly #parts: WriteParts;
  readonly #named: { readonly name: string } | string;
  // What most files never need is made when it is first wanted: a kernel has very many of them.
  #direct: DirectIo | null = null;
  /** Of a write that asks nobody: nobody can come back to it when it is another's. Null before the first, and while it is in use. */
  #spareWrite: PageWrite | null = null;
  /** The window and the cursor of those who have none of their own. */
  #window: ReadaheadWindow | null = null;
  #cursor: ErrorCursor | null = null;
  /** Woken when the last user goes, and when a read ends. */
  #idle: WaitQueue | null = null;
  /** Calls that hold a page, or wait for one. */
  #nrUsers = 0;
  #closing: Promise<0 | NegErrno> | null = null;

  /**
   * @param named its name, or what has one: it is asked for when somebody wants to know.
   * @throws KernelError EFBIG for a backing of more than 2^44 bytes, ENFILE.
   */
  constructor(
    { memory, spaces, aging, writeback }: PageCacheParts,
    named: { readonly name: string } | string,
    ops: AddressSpaceOperations,
  ) {
    this.#named = named;
    if (ops.sizeBytes > FILE_SIZE_MAX_BYTES)
      throw new KernelError(
        'EFBIG',
        `${this.name}: ${ops.sizeBytes} bytes are too many, a page cache can index ${FILE_SIZE_MAX_BYTES} (2^44)`,
      );
    this.#memory = memory;
    this.#spaces = spaces;
    this.#ops = ops;
    const pages = new PageIndex(memory, aging);
    const waits = new PageWaits(this);
    const range = new RangeLock(this);
    const filler = new PageFiller(pages, ops, waits, range, this);
    const backing = writeback.backingOf(ops.device ?? ops, this);
    const dirty = new DirtyPages(this, { pages, ops, waits, backing, range, writeback });
    this.#parts = { pages, ops, waits, filler, dirty, backing, range, throttle: writeback.throttle };
    this.#truncation = new Truncation(this.#parts);
    this.#pages = pages;
    this.#filler = filler;
    this.#dirty = dirty;
    this.#backing = backing;
    spaces.add(this);
  }

  get name(): string {
    return typeof this.#named === 'string' ? this.#named : this.#named.name;
  }

  get id(): number {
    return this.#pages.spaceId;
  }

  set id(id: number) {
    this.#pages.spaceId = id;
  }

  get #directIo(): DirectIo {
    this.#direct ??= new DirectIo(this.#parts, this.#truncation, async (task, offsetBytes, lengthBytes) =>
      this.#dirty.write(task, ...pageRange(offsetBytes, lengthBytes)),
    );
    return this.#direct;
  }

  /** Who must act for a wait for one of its pages to end: the node it is written through. */
  *heldBy(): Generator<WriteoutNode> {
    const node = this.writesThrough();
    if (node !== null) yield node;
  }

  /** What its dirty limits go by: what `task.localThrottle` names (M16). */
  get backingKey(): object {
    return this.#backing.key;
  }

  /** Bytes of the file. */
  get sizeBytes(): number {
    return this.#ops.sizeBytes;
  }

  /** Pages in memory. */
  get nrPages(): number {
    return this.#pages.nrPages;
  }

  get nrDirty(): number {
    return this.#dirty.nrDirty;
  }

  /** Pages in memory that are nowhere else, of a file without `writepages`. */
  get nrKept(): number {
    return this.#dirty.nrKept;
  }

  /** The frame of a page that is in memory, or -1. Allocates nothing. */
  lookup(index: number): Pfn {
    return this.#pages.lookup(index);
  }

  /** The first page in memory from `index` on: its index, or -1. */
  nextPage(index: number): number {
    return this.#pages.nextPage(index);
  }

  /**
   * Copies bytes out, reading what is not in memory.
   * @param window of the opener; default: one for all who have none.
   * @returns bytes copied, fewer than asked for at the end, or before a page that could not be read; a negative errno if none were.
   */
  read(
    task: TaskContext,
    offsetBytes: number,
    target: Uint8Array,
    window: ReadaheadWindow = this.#sharedWindow,
  ): MaybePromise<number | NegErrno> {
    const length = Math.max(0, Math.min(target.length, this.#ops.sizeBytes - offsetBytes));
    const { frames, arena } = this.#memory;
    for (let done = 0; done < length; ) {
      const index = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const inPage = offsetBytes + done - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done);
      const pfn = this.#pages.lookup(index);
      if (pfn < 0) return this.#readRest(task, offsetBytes, target, done, window);
      const flags = frames.flags[pfn];
      if ((flags & (PG.LOCKED | PG.READAHEAD | PG.YOUNG)) !== PG.YOUNG) {
        if ((flags & PG.LOCKED) !== 0) return this.#readRest(task, offsetBytes, target, done, window);
        frames.flags[pfn] = flags & ~PG.READAHEAD;
        frames.use(pfn, index === window.last);
        if ((flags & PG.READAHEAD) !== 0) this.#filler.readAhead(task, index, window);
      }
      arena.copyOut(pfn, inPage, target, done, count);
      window.last = index;
      done += count;
    }
    return length;
  }

  async #readRest(
    task: TaskContext,
    offsetBytes: number,
    target: Uint8Array,
    from: number,
    window: ReadaheadWindow,
  ): Promise<number | NegErrno> {
    if (this.#filler.isClosed) return from > 0 ? from : -Errno.EBADF;
    this.#nrUsers++;
    let done = from;
    let status: 0 | NegErrno = 0;
    for (;;) {
      const length = Math.min(target.length, this.#ops.sizeBytes - offsetBytes);
      if (done >= length) break;
      const index = Math.floor((offsetBytes + done) / PAGE_SIZE);
      const nrWanted = Math.ceil((offsetBytes + length) / PAGE_SIZE) - index;
      const pfn = await this.#filler.get(task, index, nrWanted, window);
      if (pfn < 0) {
        status = pfn === BEHIND_END ? 0 : pfn;
        break;
      }
      const inPage = offsetBytes + done - index * PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - inPage, length - done, this.#ops.sizeBytes - offsetBytes - done);
      if (count > 0) this.#memory.arena.copyOut(pfn, inPage, target, done, count);
      this.#pages.unpin(pfn);
      window.last = index;
      done += Math.max(count, 0);
    }
    this.#userGoes();
    return done > 0 ? done : status;
  }

  get #sharedWindow(): ReadaheadWindow {
    this.#window ??= new ReadaheadWindow();
    return this.#window;
  }

  #userGoes(): void {
    this.#memory.allocator.reclaimer?.noteProgress();
    if (--this.#nrUsers === 0) this.#idle?.wakeAll();
  }

  /** For the filler: a read has ended. */
  readEnded(): void {
    this.#idle?.wakeAll();
  }

  /**
   * Copies bytes in; pages that are only partly written are read first. Waits while too much is dirty. Writes behind the end make the file
   * longer, if it can be.
   * @returns bytes copied, fewer than given if some page could not be written; a negative errno if none were: `-ENOSPC` at the end of a
   * backing of fixed size, `-EFBIG` beyond 2^44.
   */
  write(task: TaskContext, offsetBytes: number, source: Uint8Array): MaybePromise<number | NegErrno> {
    const mayGrow = this.#ops.setSize !== undefined;
    const length = Math.min(source.length, (mayGrow ? FILE_SIZE_MAX_BYTES : this.#ops.sizeBytes) - offsetBytes);
    if (this.#filler.isClosed) return -Errno.EBADF;
    if (source.length === 0) return 0;
    if (length <= 0) return mayGrow ? -Errno.EFBIG : -Errno.ENOSPC;
    this.#nrUsers++;
    const write = this.#spareWrite ?? new PageWrite(this.#parts);
    this.#spareWrite = null;
    const writing = write.run(task, offsetBytes, source, length);
    return isPromise(writing) ? writing.then((done) => this.#written(write, done)) : this.#written(write, writing);
  }

  #written(write: PageWrite, done: number | NegErrno): number | NegErrno {
    if (this.#ops.dirtyPage === undefined) {
      write.forget();
      this.#spareWrite = write;
    }
    this.#userGoes();
    return done;
  }

  writesThrough(): WriteoutNode | null {
    return this.#ops.writesThrough?.() ?? null;
  }

  /** Starts writing dirty pages, about `nrPages`. Never waits. @returns pages started. */
  startWriteback(nrPages: number): number {
    return this.#dirty.startWriteback(nrPages);
  }

  /** The cursor of one more opener: hears of each loss once. */
  errorCursor(): ErrorCursor {
    return this.#dirty.errors.cursor();
  }

  /** A `sync` would have nothing to write and nothing to flush: it could only tell of failures. */
  get isSynced(): boolean {
    return this.#dirty.nrDirty === 0 && this.#dirty.nrRuns === 0 && this.#ops.sync === undefined;
  }

  /**
   * Writes what is dirty now, each page tried once, and makes it durable; a part of the file, or all of it. What becomes dirty meanwhile need
   * not be written.
   * @param cursor of the opener who asks. Default: one for all who have none.
   * @returns 0; or the latest failure to write or flush that this opener has not heard of; pages that could not be written stay dirty.
   */
  async sync(
    task: TaskContext,
    cursor: ErrorCursor | null = null,
    offsetBytes = 0,
    lengthBytes = FILE_SIZE_MAX_BYTES,
  ): Promise<0 | NegErrno> {
    const status = await this.#flush(task, offsetBytes, lengthBytes);
    if (status < 0) return status;
    if (cursor !== null) return cursor.check();
    this.#cursor ??= this.#dirty.errors.first();
    return this.#cursor.check();
  }

  /** Failures to write or flush are in the error sequence. @returns 0, or the errno of the task's signal. */
  async #flush(task: TaskContext, offsetBytes: number, lengthBytes: number): Promise<0 | NegErrno> {
    const ended = await this.#dirty.write(task, ...pageRange(offsetBytes, lengthBytes));
    if (ended < 0) return ended;
    const { sync } = this.#ops;
    const status = sync === undefined ? 0 : await ask(() => sync.call(this.#ops, task));
    const aborted = task.checkSignal();
    if (status < 0 && aborted < 0) return aborted;
    if (status < 0) this.#dirty.errors.report(status);
    return 0;
  }

  /**
   * Has the clean pages of a range count against no ticket any more (M5): another frame takes the place of one of an account, and the page stays;
   * where there is none, the page goes. What a server does before the unit of an entitled WRITE ends.
   * @returns pages that still count, because they are dirty or in use.
   */
  release(offsetBytes = 0, lengthBytes = FILE_SIZE_MAX_BYTES): number {
    return this.#pages.release(...pageRange(offsetBytes, lengthBytes));
  }

  /** Reads past the cache, whole pages from a whole page on. As `read`; `-EINVAL` for what does not begin with a page. */
  readDirect(task: TaskContext, offsetBytes: number, target: Uint8Array): Promise<number | NegErrno> {
    return this.#using(() => this.#directIo.read(task, offsetBytes, target));
  }

  /** Writes past the cache. As `write`; `-EINVAL` for what does not begin with a page, or ends within one before the end of the file. */
  writeDirect(task: TaskContext, offsetBytes: number, source: Uint8Array): Promise<number | NegErrno> {
    return this.#using(() => this.#directIo.write(task, offsetBytes, source));
  }

  /** As `Truncation.resize`. */
  truncate(task: TaskContext, sizeBytes: number, free?: () => MaybePromise<0 | NegErrno>): MaybePromise<0 | NegErrno> {
    if (sizeBytes > FILE_SIZE_MAX_BYTES) return -Errno.EFBIG;
    if (free === undefined && !this.#filler.isClosed && this.#truncation.resizeAtOnce(sizeBytes)) return 0;
    return this.#using(() => this.#truncation.resize(task, sizeBytes, free ?? (() => 0)));
  }

  /** As `Truncation.punch`. */
  punch(task: TaskContext, offsetBytes: number, lengthBytes: number, free: FreePages = () => 0): Promise<0 | NegErrno> {
    return this.#using(() => this.#truncation.punch(task, offsetBytes, lengthBytes, free));
  }

  /** As `Truncation.invalidate`. */
  invalidate(task: TaskContext, offsetBytes = 0, lengthBytes = FILE_SIZE_MAX_BYTES): Promise<0 | NegErrno> {
    return this.#using(() => this.#truncation.invalidate(task, offsetBytes, lengthBytes));
  }

  async #using(work: () => Promise<number>): Promise<number> {
    if (this.#filler.isClosed) return -Errno.EBADF;
    this.#nrUsers++;
    const status = await work();
    this.#userGoes();
    return status;
  }

  evict(pfn: Pfn, shadow: Cell): void {
    this.#pages.evict(pfn, shadow);
  }

  mayEvict(pfn: Pfn): boolean {
    return this.#ops.releasePage?.(this.#memory.frames.index[pfn], pfn) ?? true;
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

  /**
   * Closes it without writing what is dirty, if nobody uses it and nothing is in flight: for a file that is deleted, or clean.
   * @returns false if it is in use.
   */
  closeAtOnce(): boolean {
    if (this.#closing !== null || this.#nrUsers > 0 || this.#filler.nrReads > 0 || this.#dirty.nrRuns > 0) return false;
    if (!this.#truncation.dropAtOnce(0)) return false;
    this.#closing = Promise.resolve(0);
    this.#filler.isClosed = true;
    this.#dirty.drop();
    this.#pages.clear();
    this.#spaces.remove(this);
    return true;
  }

  async #close(task: TaskContext): Promise<0 | NegErrno> {
    this.#filler.isClosed = true;
    let cutting: Promise<0 | NegErrno> = Promise.resolve(0);
    const cutOff = (): void => {
      cutting = (this.#ops.cutOff?.() ?? Promise.resolve()).then(() => 0, errnoOf);
    };
    if (task.checkSignal() !== 0) cutOff();
    else task.signal?.addEventListener('abort', cutOff, { once: true });
    const patient = task.withSignal(null);
    this.#idle ??= new WaitQueue({ kind: 'page-cache', name: `users of ${this.name}`, heldBy: () => this.heldBy() });
    while (this.#nrUsers > 0 || this.#filler.nrReads > 0) await this.#idle.wait(patient);
    const status = await this.sync(task);
    if (status !== 0 && task.checkSignal() === 0) await this.#flush(task, 0, FILE_SIZE_MAX_BYTES);
    while (this.#dirty.nrRuns > 0) await this.#backing.idle.wait(patient);
    task.signal?.removeEventListener('abort', cutOff);
    this.#dirty.drop();
    this.#pages.clear();
    this.#spaces.remove(this);
    return status || cutting;
  }
}

/** The first and the last page of a range of bytes. */
function pageRange(offsetBytes: number, lengthBytes: number): [first: number, last: number] {
  const last = Math.ceil(Math.min(offsetBytes + lengthBytes, FILE_SIZE_MAX_BYTES) / PAGE_SIZE) - 1;
  return [Math.floor(offsetBytes / PAGE_SIZE), last];
}
