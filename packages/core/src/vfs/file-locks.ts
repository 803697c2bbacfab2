/**
 * Advisory locks on ranges of a file: many readers or one writer of each byte. They bind only those who ask.
 *
 * An owner is any object (an open file, a client of a server): its own locks never stand in its way; a new one replaces what it held of
 * the range. A lock that must wait is granted first come, first served among those whose ranges meet. Nobody looks for circles of
 * waiters: a wait ends with the task's signal.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TaskContext } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';

/** Most locks of one file. */
const LOCKS_MAX = 4096;

/** Bytes `from` up to, not with, `to`; `to` may be Infinity. */
export interface LockRange {
  readonly from: number;
  readonly to: number;
}

/** A lock that is held. */
export interface HeldFileLock extends LockRange {
  readonly owner: object;
  readonly isExclusive: boolean;
}

export class FileLocks {
  #held: HeldFileLock[] = [];
  readonly #released: WaitQueue;

  constructor(name: string) {
    this.#released = new WaitQueue({ kind: 'inode', name: `advisory locks of ${name}` });
  }

  /** Locks held now. */
  get held(): readonly HeldFileLock[] {
    return this.#held;
  }

  /** The first lock that keeps `owner` from a range, or null. */
  conflict(owner: object, range: LockRange, isExclusive: boolean): HeldFileLock | null {
    return this.#held.find((lock) => lock.owner !== owner && (isExclusive || lock.isExclusive) && meets(lock, range)) ?? null;
  }

  /**
   * Takes a lock, waiting if `mayWait`.
   * @returns 0; `-EAGAIN` if it is held and may not be waited for; `-ENOLCK` for too many; the errno of the task's signal.
   */
  lock(task: TaskContext, owner: object, range: LockRange, isExclusive: boolean, mayWait: boolean): MaybePromise<0 | NegErrno> {
    if (this.conflict(owner, range, isExclusive) === null) return this.#take(owner, range, isExclusive);
    return mayWait ? this.#lockWaiting(task, owner, range, isExclusive) : -Errno.EAGAIN;
  }

  async #lockWaiting(task: TaskContext, owner: object, range: LockRange, isExclusive: boolean): Promise<0 | NegErrno> {
    while (this.conflict(owner, range, isExclusive) !== null) {
      const woken = await this.#released.wait(task);
      if (woken < 0) return woken;
    }
    return this.#take(owner, range, isExclusive);
  }

  #take(owner: object, range: LockRange, isExclusive: boolean): 0 | NegErrno {
    if (this.#held.length + 2 > LOCKS_MAX) return -Errno.ENOLCK;
    this.#cut(owner, range);
    this.#held.push({ owner, from: range.from, to: range.to, isExclusive });
    this.#released.wakeAll(); // an exclusive lock may have become a shared one
    return 0;
  }

  /** Lets go of a range. */
  unlock(owner: object, range: LockRange): void {
    this.#cut(owner, range);
    this.#released.wakeAll();
  }

  #cut(owner: object, range: LockRange): void {
    const kept: HeldFileLock[] = [];
    for (const lock of this.#held) {
      if (lock.owner !== owner || !meets(lock, range)) {
        kept.push(lock);
        continue;
      }
      if (lock.from < range.from) kept.push({ ...lock, to: range.from });
      if (lock.to > range.to) kept.push({ ...lock, from: range.to });
    }
    this.#held = kept;
  }
}

function meets(a: LockRange, b: LockRange): boolean {
  return a.from < b.to && b.from < a.to;
}
