/**
 * Changes of pages: what a write or the zeroing of a range does to one page after the other.
 *
 *     claim (M10) → page in memory, unlocked, or a fresh frame → dirtyPage (M7) → bringIn: one step → unclaim
 *
 * A page that is written whole, or that begins behind the end of the file, is not read: its frame is fresh and enters the index in the very
 * step that brings the data in. So nobody ever sees a page half made, and no page lock is held while `dirtyPage` waits (M11).
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { Pfn } from '../mm/arena.js';
import { PG } from '../mm/frame-table.js';
import { Gfp } from '../mm/gfp.js';
import { TaskContext } from '../task/task-context.js';
import type { AddressSpaceOperations, PageChange } from './address-space-operations.js';
import { ask } from './answer.js';
import type { Backing } from './backing.js';
import type { DirtyPages } from './dirty-pages.js';
import type { DirtyThrottle } from './dirty-throttle.js';
import { BEHIND_END, makeRoomForNode, type PageFiller } from './page-filler.js';
import type { PageIndex } from './page-index.js';
import type { PageWaits } from './page-waits.js';
import type { RangeLock } from './range-lock.js';

/** The parts of a page cache that its writes work on. */
export interface WriteParts {
  readonly pages: PageIndex;
  readonly ops: AddressSpaceOperations;
  readonly waits: PageWaits;
  readonly filler: PageFiller;
  readonly dirty: DirtyPages;
  readonly backing: Backing;
  readonly throttle: DirtyThrottle;
  readonly range: RangeLock;
}

const NO_TASK = TaskContext.root('idle');

/** Frames that a long write takes at once: in order of their numbers, so that a device sees long runs of memory. */
const SPARES_MAX = 32;

/** One write, or zeroing, of a byte range; then the next. */
export class PageWrite implements PageChange {
  index = 0;
  pfn: Pfn = 0;
  fromByte = 0;
  toByte = 0;
  readonly #parts: WriteParts;
  #task = NO_TASK;
  /** Null for zeroes, which never move the end of the file. */
  #source: Uint8Array | null = null;
  #offsetBytes = 0;
  #lengthBytes = 0;
  /** False while a range is held: whom others wait for is not paced (M11). */
  #isThrottled = true;
  #done = 0;
  /** The frame is not in the index yet. */
  #isFresh = false;
  #isIn = false;
  /** `bringIn` found that the page has to be looked for again. */
  #mustRetry = false;
  #needsNode = false;
  /** Frames for pages to come, the next one last. Given back before anything is waited for. */
  #spares: Uint32Array | null = null;
  #nrSpares = 0;
  /** Something was waited for: frames are taken one by one from here on. */
  #isWaiting = false;

  constructor(parts: WriteParts) {
    this.#parts = parts;
  }

  get isDirty(): boolean {
    return !this.#isFresh && (this.#parts.pages.memory.frames.flags[this.pfn] & PG.DIRTY) !== 0;
  }

  /**
   * Changes page after page; one run at a time.
   * @param source null for zeroes.
   * @returns bytes changed, fewer than asked for if some page failed; a negative errno if the first did.
   */
  run(
    task: TaskContext,
    offsetBytes: number,
    source: Uint8Array | null,
    lengthBytes: number,
    isThrottled = true,
  ): MaybePromise<number | NegErrno> {
    this.#task = task;
    this.#offsetBytes = offsetBytes;
    this.#source = source;
    this.#lengthBytes = lengthBytes;
    this.#isThrottled = isThrottled;
    this.#done = 0;
    this.#isWaiting = false;
    while (this.#done < lengthBytes) {
      const status = this.#step();
      if (status === 0) continue;
      this.#freeSpares();
      return isPromise(status) ? this.#rest(status) : this.#ended(status);
    }
    this.#freeSpares();
    return this.#done;
  }

  #freeSpares(): void {
    const spares = this.#spares;
    while (spares !== null && this.#nrSpares > 0) this.#parts.pages.memory.allocator.freePage(spares[--this.#nrSpares]);
  }

  /** A frame for a page that is written whole, now or not at all: one of several, if several are wanted and there is plenty. */
  #spareFrame(): Pfn {
    if (this.#nrSpares > 0) return (this.#spares as Uint32Array)[--this.#nrSpares];
    const { allocator } = this.#parts.pages.memory;
    const nrWanted = Math.min(SPARES_MAX, Math.floor((this.#lengthBytes - this.#done) / PAGE_SIZE));
    if (nrWanted < 2 || this.#task.ticket !== null || allocator.nrFree <= allocator.high + nrWanted) return -1;
    this.#spares ??= new Uint32Array(SPARES_MAX);
    const spares = this.#spares;
    while (this.#nrSpares < nrWanted) {
      const pfn = allocator.allocPage(this.#task, Gfp.FILE | Gfp.SPARE);
      if (pfn < 0) break;
      spares[this.#nrSpares++] = pfn;
    }
    spares.subarray(0, this.#nrSpares).sort().reverse();
    return this.#nrSpares === 0 ? -1 : spares[--this.#nrSpares];
  }

  async #rest(begun: Promise<0 | NegErrno>): Promise<number | NegErrno> {
    this.#isWaiting = true;
    let status = await begun;
    while (status === 0 && this.#done < this.#lengthBytes) {
      const next = this.#step();
      status = isPromise(next) ? await next : next;
    }
    return this.#ended(status);
  }

  #ended(status: 0 | NegErrno): number | NegErrno {
    return this.#done > 0 ? this.#done : status;
  }

  /** Refers to nothing of its last run any more. */
  forget(): void {
    this.#task = NO_TASK;
    this.#source = null;
  }

  /** Changes the next page. */
  #step(): MaybePromise<0 | NegErrno> {
    const at = this.#offsetBytes + this.#done;
    this.index = Math.floor(at / PAGE_SIZE);
    this.fromByte = at - this.index * PAGE_SIZE;
    this.toByte = Math.min(PAGE_SIZE, this.fromByte + this.#lengthBytes - this.#done);
    const { throttle, backing, ops } = this.#parts;
    if (!this.#isThrottled || ops.writepages === undefined || (ops.dirtyPage === undefined && this.#wasDirty()))
      return this.#stepped(this.#change());
    const claimed = throttle.claim(this.#task, backing);
    if (isPromise(claimed)) return claimed.then((status) => (status < 0 ? status : this.#claimed()));
    return claimed < 0 ? claimed : this.#claimed();
  }

  /** The page is dirty already: one step makes it no more so. */
  #wasDirty(): boolean {
    const { pages } = this.#parts;
    const pfn = pages.lookup(this.index);
    return pfn >= 0 && (pages.memory.frames.flags[pfn] & (PG.DIRTY | PG.LOCKED)) === PG.DIRTY;
  }

  #claimed(): MaybePromise<0 | NegErrno> {
    const { throttle, backing } = this.#parts;
    const status = this.#change();
    if (isPromise(status)) {
      return status.then((ended) => {
        throttle.unclaim(backing);
        return this.#stepped(ended) as 0 | NegErrno;
      });
    }
    throttle.unclaim(backing);
    return this.#stepped(status);
  }

  #stepped(status: MaybePromise<0 | NegErrno>): MaybePromise<0 | NegErrno> {
    if (isPromise(status)) return status.then((ended) => this.#stepped(ended));
    if (status === 0) this.#done += this.toByte - this.fromByte;
    return status;
  }

  #change(): MaybePromise<0 | NegErrno> {
    const { pages, filler, range } = this.#parts;
    if (filler.isClosed) return -Errno.EBADF;
    const pfn = pages.lookup(this.index);
    const isThere = pfn >= 0 && (pages.memory.frames.flags[pfn] & PG.LOCKED) === 0;
    const isFresh = pfn < 0 && this.#mayBeFresh();
    if ((!isThere && !isFresh) || range.covers(this.index)) return this.#changeSlow();
    this.#mustRetry = this.#needsNode = false;
    const status = isFresh ? this.#changeFresh() : this.#changePresent(pfn);
    return isPromise(status) ? status.then((ended) => this.#unlessSlow(ended)) : this.#unlessSlow(status);
  }

  #unlessSlow(status: 0 | NegErrno): MaybePromise<0 | NegErrno> {
    return this.#mustRetry || this.#needsNode ? this.#changeSlow() : status;
  }

  /** Changes a page that is in memory. */
  #changePresent(pfn: Pfn): MaybePromise<0 | NegErrno> {
    const { pages } = this.#parts;
    pages.memory.frames.pin(pfn);
    const status = this.#ask(pfn, false);
    if (!isPromise(status)) {
      pages.unpin(pfn);
      return status;
    }
    return status.then((ended) => {
      pages.unpin(pfn);
      return ended;
    });
  }

  async #changeSlow(): Promise<0 | NegErrno> {
    const { pages, waits, filler, range } = this.#parts;
    for (;;) {
      const pfn = pages.lookup(this.index);
      if (pfn < 0 && filler.isClosed) return -Errno.EBADF;
      let status: 0 | NegErrno = 0;
      if (range.covers(this.index)) {
        status = await range.over(this.#task);
        if (status < 0) return status;
        continue;
      }
      if (pfn >= 0 && (pages.memory.frames.flags[pfn] & PG.LOCKED) !== 0) {
        await waits.wait(this.#task, this.index, 'being read');
        status = this.#task.checkSignal(); // whose read failed is not our affair: we read it again
        if (status < 0) return status;
        continue;
      }
      if (pfn >= 0) status = await this.#changePresent(pfn);
      else if (this.#mayBeFresh()) status = await this.#changeFresh();
      else {
        const got = await filler.get(this.#task, this.index, 1, null);
        if (got === BEHIND_END) continue; // the file has become shorter
        if (got < 0) return got;
        status = await this.#ask(got, false);
        pages.unpin(got);
      }
      if (this.#mustRetry) continue;
      if (!this.#needsNode) return status;
      if (!(await makeRoomForNode(pages, this.#task))) return -Errno.ENOMEM;
    }
  }

  /** Every byte of the page that the file has is written, so the page need not be read. */
  #mayBeFresh(): boolean {
    const behind = this.#parts.ops.sizeBytes - this.index * PAGE_SIZE;
    return behind <= 0 || (this.fromByte === 0 && (this.toByte === PAGE_SIZE || this.toByte >= behind));
  }

  #changeFresh(): MaybePromise<0 | NegErrno> {
    const isWhole = this.toByte - this.fromByte === PAGE_SIZE;
    const spare = isWhole && !this.#isWaiting ? this.#spareFrame() : -1;
    if (spare >= 0) return this.#bringFresh(spare);
    const pfn = this.#parts.pages.memory.allocator.allocPageSlow(this.#task, isWhole ? Gfp.FILE : Gfp.FILE | Gfp.ZERO);
    return isPromise(pfn) ? pfn.then((got) => this.#bringFresh(got)) : this.#bringFresh(pfn);
  }

  #bringFresh(pfn: Pfn | NegErrno): MaybePromise<0 | NegErrno> {
    if (pfn < 0) return pfn;
    const status = this.#ask(pfn, true);
    return isPromise(status) ? status.then((ended) => this.#freshEnded(pfn, ended)) : this.#freshEnded(pfn, status);
  }

  #freshEnded(pfn: Pfn, status: 0 | NegErrno): 0 | NegErrno {
    const { pages } = this.#parts;
    if (this.#isFresh) pages.memory.allocator.freePage(pfn);
    else pages.unpin(pfn);
    return status;
  }

  /** Has the backing agree to the change and bring it in. */
  #ask(pfn: Pfn, isFresh: boolean): MaybePromise<0 | NegErrno> {
    this.pfn = pfn;
    this.#isFresh = isFresh;
    this.#isIn = this.#mustRetry = this.#needsNode = false;
    const { ops } = this.#parts;
    if (ops.dirtyPage === undefined) return this.bringIn();
    const { dirtyPage } = ops;
    const status = ask(() => dirtyPage.call(ops, this.#task, this));
    return isPromise(status) ? status.then((ended) => this.#agreed(ended)) : this.#agreed(status);
  }

  /** An operation that agrees has brought the data in; what has been brought in is written. */
  #agreed(status: 0 | NegErrno): 0 | NegErrno {
    if (this.#isIn) this.#mustRetry = this.#needsNode = false;
    else if (status === 0 && !this.#mustRetry && !this.#needsNode) return -Errno.EIO;
    return status;
  }

  bringIn(): 0 | NegErrno {
    const { pages, dirty, ops, range } = this.#parts;
    const { frames, arena, counters } = pages.memory;
    const { index, pfn } = this;
    this.#mustRetry = this.#needsNode = false;
    if (this.#isIn) return 0;
    if (range.covers(index)) return this.#retry();
    if (this.#isFresh) {
      if (!this.#mayBeFresh()) return this.#retry();
      const entered = pages.enter(index, pfn);
      if (entered === -Errno.EEXIST) return this.#retry();
      if (entered < 0) {
        this.#needsNode = true;
        return entered;
      }
    } else if (!pages.holds(pfn, index)) return this.#retry();
    const length = this.toByte - this.fromByte;
    if (this.#source === null) arena.view(pfn * PAGE_SIZE + this.fromByte, length).fill(0);
    else arena.copyIn(pfn, this.fromByte, this.#source, this.#done, length);
    if (this.#isFresh) {
      counters.pgfault++;
      pages.unlock(pfn);
      this.#isFresh = false;
    }
    frames.use(pfn, index === pages.lastWritten);
    pages.lastWritten = index;
    dirty.mark(pfn, index);
    const end = index * PAGE_SIZE + this.toByte;
    if (this.#source !== null && end > ops.sizeBytes) ops.setSize?.(end);
    this.#isIn = true;
    return 0;
  }

  #retry(): NegErrno {
    this.#mustRetry = true;
    return -Errno.EAGAIN;
  }
}
