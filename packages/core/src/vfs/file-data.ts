/**
 * Contents of regular files: the page cache of each inode, and what core adds to it: limits, times, order of writers.
 *
 * A write holds the inode's data lock while it copies into the page cache, so that writes do not mix and appends do not overlap. A task
 * with a ticket, such as a local server's that writes out somebody's dirty page, does not take it: its holder may wait for memory, and
 * nobody whom writeout waits for may wait for that (M11). Such writes are in order page by page.
 */
import { Errno, errnoOf, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PageCache, type PageCacheParts } from '../cache/page-cache.js';
import type { TaskContext } from '../task/task-context.js';
import type { Changes } from './changes.js';
import { mayUpdate } from './directory-operations.js';
import type { Inode } from './inode.js';
import type { InodeCache } from './inode-cache.js';
import { AllocateMode, FileType, PERMISSION_BITS, S_ISGID, S_ISUID } from './mode.js';
import type { OpenFile } from './open-file.js';
import { ready, run, type Steps, settle } from './steps.js';
import type { Superblock } from './superblock.js';
import type { Caller } from './walk.js';

const SET_ID_BITS = S_ISUID | S_ISGID;

export class FileData {
  readonly #parts: () => PageCacheParts;
  readonly #inodes: InodeCache;
  readonly #changes: Changes;
  readonly #nowMs: () => number;

  constructor(parts: () => PageCacheParts, inodes: InodeCache, changes: Changes, nowMs: () => number) {
    this.#parts = parts;
    this.#inodes = inodes;
    this.#changes = changes;
    this.#nowMs = nowMs;
  }

  /** The pages of a regular file; made when they are first wanted. `-ENFILE`, `-ENOMEM`, `-EIO` after an unmount by force. */
  pagesOf(task: TaskContext, inode: Inode): Steps<PageCache | NegErrno> {
    return inode.pages === null ? this.#makePages(task, inode) : ready(inode.pages);
  }

  *#makePages(task: TaskContext, inode: Inode): Steps<PageCache | NegErrno> {
    if (inode.superblock.isGone) return -Errno.EIO;
    const charge = yield* this.#inodes.chargePages(task);
    if (typeof charge === 'number') return charge;
    if (inode.pages !== null) {
      this.#inodes.giveCharge(charge); // somebody was faster while we waited for memory
      return inode.pages;
    }
    try {
      inode.pages = new PageCache(this.#parts(), inode, inode.superblock.ops.addressSpace(inode));
      inode.pagesCharge = charge;
      return inode.pages;
    } catch (error) {
      this.#inodes.giveCharge(charge);
      return errnoOf(error);
    }
  }

  /**
   * Reads from an offset, or from the file's position. What is cached is copied at once.
   * @returns bytes, 0 at the end; or a negative errno (`-EBADF`, `-EISDIR`, `-EINVAL`).
   */
  read(who: Caller, file: OpenFile, target: Uint8Array, offsetBytes: number | null): MaybePromise<number | NegErrno> {
    const { inode } = file;
    if (!file.isOpen || !file.mayRead) return -Errno.EBADF;
    if (inode.isDirectory) return -Errno.EISDIR;
    if (inode.nrPins > 0) return run(this.#readPinned(who, file, target, offsetBytes));
    if (inode.pages === null) return run(this.#readFirst(who, file, target, offsetBytes));
    return this.#readPages(who.task, inode.pages, file, target, offsetBytes);
  }

  #readPages(
    task: TaskContext,
    pages: PageCache,
    file: OpenFile,
    target: Uint8Array,
    offsetBytes: number | null,
  ): MaybePromise<number | NegErrno> {
    const got = pages.read(task, offsetBytes ?? file.positionBytes, target, file.window);
    if (offsetBytes !== null) return got;
    return isPromise(got) ? got.then((bytes) => advance(file, bytes)) : advance(file, got);
  }

  /** What a pin writes goes past the pages: those of the range are read anew. */
  *#readPinned(who: Caller, file: OpenFile, target: Uint8Array, offsetBytes: number | null): Steps<number | NegErrno> {
    const pages = yield* this.pagesOf(who.task, file.inode);
    if (typeof pages === 'number') return pages;
    const dropped = yield* settle(pages.invalidate(who.task, offsetBytes ?? file.positionBytes, target.length));
    return dropped < 0 ? dropped : yield* settle(this.#readPages(who.task, pages, file, target, offsetBytes));
  }

  *#readFirst(who: Caller, file: OpenFile, target: Uint8Array, offsetBytes: number | null): Steps<number | NegErrno> {
    const pages = yield* this.pagesOf(who.task, file.inode);
    return typeof pages === 'number' ? pages : yield* settle(this.read(who, file, target, offsetBytes));
  }

  /**
   * Writes at an offset, at the file's position, or at the end of a file opened for appending.
   * @returns bytes; or a negative errno (`-EBADF`, `-EFBIG`, `-ENOSPC`, `-EROFS`, `-EIO`).
   */
  *write(who: Caller, file: OpenFile, source: Uint8Array, offsetBytes: number | null): Steps<number | NegErrno> {
    const { inode } = file;
    if (!file.isOpen || !file.mayWrite) return -Errno.EBADF;
    const refused = mayUpdate(who, inode.superblock);
    if (refused < 0) return refused;
    const { task } = who;
    const isOrdered = task.ticket === null;
    if (isOrdered) {
      const locked = yield* settle(inode.dataLock.exclusive(task));
      if (locked < 0) return locked;
    }
    const at = file.isAppend ? inode.sizeBytes : (offsetBytes ?? file.positionBytes);
    const written = inode.nrPins > 0 ? -Errno.ETXTBSY : yield* this.#writeAt(who, file, source, at);
    if (isOrdered) inode.dataLock.unlockExclusive();
    if (written < 0) return written;
    this.#changes.changed(inode);
    if (offsetBytes === null || file.isAppend) file.positionBytes = at + written;
    if (!file.isSynchronous) return written;
    const synced = yield* this.sync(task, file, true);
    return synced < 0 ? synced : written;
  }

  *#writeAt(who: Caller, file: OpenFile, source: Uint8Array, at: number): Steps<number | NegErrno> {
    const { inode } = file;
    if (source.length === 0) return 0;
    const room = inode.superblock.maxFileSizeBytes - at;
    if (room <= 0) return -Errno.EFBIG;
    const pages = yield* this.pagesOf(who.task, inode);
    if (typeof pages === 'number') return pages;
    file.errors ??= pages.errorCursor();
    inode.modifiedMs = inode.changedMs = this.#nowMs();
    if ((inode.mode & SET_ID_BITS) !== 0 && who.credentials.uid !== 0) yield* this.#dropSetId(who, inode);
    const part = source.length <= room ? source : source.subarray(0, room);
    const written = yield* settle(pages.write(who.task, at, part));
    if (written !== -Errno.ENOSPC || inode.superblock.nrDeleting === 0 || who.task.ticket !== null) return written;
    const settled = yield* inode.superblock.settleDeletions(who.task); // what was deleted of late is free then
    return settled < 0 ? settled : yield* settle(pages.write(who.task, at, part));
  }

  /** A program that was changed must not run under its owner's name. */
  *#dropSetId(who: Caller, inode: Inode): Steps<void> {
    const mode = inode.mode & PERMISSION_BITS & ~(S_ISUID | ((inode.mode & 0o010) !== 0 ? S_ISGID : 0));
    inode.mode = (inode.mode & FileType.MASK) | mode;
    yield* settle(inode.superblock.ops.setAttributes(who.task, inode, { mode }));
  }

  /** Sets the size; what is behind it is gone, what is new reads as zeroes. Both locks are held. `-ETXTBSY` while it is pinned. */
  *changeSize(task: TaskContext, inode: Inode, sizeBytes: number): Steps<0 | NegErrno> {
    if (inode.nrPins > 0) return -Errno.ETXTBSY;
    const pages = yield* this.pagesOf(task, inode);
    if (typeof pages === 'number') return pages;
    const status = yield* settle(pages.truncate(task, sizeBytes));
    return status < 0 ? status : yield* settle(inode.superblock.ops.setAttributes(task, inode, { sizeBytes }));
  }

  /** Changes how a range is stored. @param mode one of `AllocateMode`. */
  *allocate(who: Caller, file: OpenFile, mode: number, offsetBytes: number, lengthBytes: number): Steps<0 | NegErrno> {
    const { inode } = file;
    const { task } = who;
    if (!file.isOpen || !file.mayWrite) return -Errno.EBADF;
    if (!isRange(offsetBytes, lengthBytes)) return -Errno.EINVAL;
    if (!inode.superblock.ops.canAllocate) return -Errno.EOPNOTSUPP; // before pages are let go of for it
    if (offsetBytes + lengthBytes > inode.superblock.maxFileSizeBytes) return -Errno.EFBIG;
    const refused = mayUpdate(who, inode.superblock);
    if (refused < 0) return refused;
    const pages = yield* this.pagesOf(task, inode);
    if (typeof pages === 'number') return pages;
    let status: NegErrno = yield* settle(inode.dataLock.exclusive(task));
    if (status < 0) return status;
    if (inode.nrPins > 0) status = -Errno.ETXTBSY;
    const makesZeroes = mode === AllocateMode.PUNCH_HOLE || mode === AllocateMode.ZERO_RANGE;
    const change = (): MaybePromise<0 | NegErrno> => inode.superblock.ops.allocate(task, inode, mode, offsetBytes, lengthBytes);
    // Blocks go while their pages cannot come in: who has a ticket reads and writes without the data lock.
    if (status === 0) status = yield* settle(makesZeroes ? pages.punch(task, offsetBytes, lengthBytes, change) : change());
    const grows = mode === AllocateMode.RESERVE || mode === AllocateMode.ZERO_RANGE;
    if (status === 0 && grows && offsetBytes + lengthBytes > inode.sizeBytes)
      status = yield* this.changeSize(task, inode, offsetBytes + lengthBytes);
    if (status === 0) inode.modifiedMs = inode.changedMs = this.#nowMs();
    inode.dataLock.unlockExclusive();
    return status;
  }

  /** The first offset from `offsetBytes` on that holds data, or is in a hole. `-ENXIO` if there is none. */
  *seek(who: Caller, file: OpenFile, offsetBytes: number, data: boolean): Steps<number | NegErrno> {
    const { inode } = file;
    if (!file.isOpen) return -Errno.EBADF;
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) return -Errno.EINVAL;
    if (offsetBytes >= inode.sizeBytes) return -Errno.ENXIO;
    const { ops } = inode.superblock;
    return yield* settle(data ? ops.seekData(who.task, inode, offsetBytes) : ops.seekHole(who.task, inode, offsetBytes));
  }

  /** Writes the dirty pages of a file and makes it durable. @returns 0, or the latest failure that this opener has not heard of. */
  *sync(task: TaskContext, file: OpenFile, dataOnly: boolean): Steps<0 | NegErrno> {
    const { inode } = file;
    let written: 0 | NegErrno = 0;
    if (inode.pages !== null) {
      file.errors ??= inode.pages.errorCursor();
      written = inode.pages.isSynced ? file.errors.check() : yield* settle(inode.pages.sync(task, file.errors));
    }
    const status = yield* settle(inode.superblock.ops.syncInode(task, inode, dataOnly));
    return written < 0 ? written : status;
  }

  /** Writes every dirty page of a filesystem. @returns 0 or the first error, failures of before that no opener was told among them; each file is tried. */
  *syncAll(task: TaskContext, superblock: Superblock): Steps<0 | NegErrno> {
    let first: NegErrno = 0;
    for (const { pages } of [...superblock.inodes.values()]) {
      if (pages === null) continue;
      const status = yield* settle(pages.sync(task, pages.errorCursor()));
      first ||= status;
    }
    return first;
  }

  /** Closes the pages of every file of a filesystem that is being taken off. */
  *closeAll(superblock: Superblock): Steps<0 | NegErrno> {
    let first: NegErrno = 0;
    for (const inode of [...superblock.inodes.values()]) {
      const status = yield* settle(this.#inodes.dropPages(inode, superblock.isGone));
      first ||= status;
    }
    return first;
  }
}

function advance(file: OpenFile, bytes: number): number {
  if (bytes > 0) file.positionBytes += bytes;
  return bytes;
}

function isRange(offsetBytes: number, lengthBytes: number): boolean {
  return Number.isSafeInteger(offsetBytes) && offsetBytes >= 0 && Number.isSafeInteger(lengthBytes) && lengthBytes > 0;
}
