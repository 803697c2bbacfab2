/**
 * The lock of an inode: many readers or one writer, first come first served. No writeout ever waits for one (page writes take page
 * locks only), so its holders may wait for memory (M11).
 *
 * | lock | shared | exclusive |
 * |---|---|---|
 * | `inode.lock` of a directory | lookup, readdir | whatever changes its entries |
 * | `inode.lock` of another file | – | its attributes and number of names |
 * | `inode.dataLock` | – | a write of a program, a change of size |
 *
 * Order: the rename lock of the superblock; directories, an ancestor before what is below it, else the lower inode number first; the
 * inodes their entries name, the lower number first; data locks.
 */
import { invariant, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TaskContext } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';

const SHARED = 0;
const EXCLUSIVE = 1;

export class InodeLock {
  /** Readers inside, or −1 for a writer. */
  #inside = 0;
  /** Made when somebody waits. */
  #queue: WaitQueue | null = null;

  /** @param what `lock of`, `data of`. @param owner its name, for stall reports: asked for when somebody waits. */
  constructor(
    readonly what: string,
    readonly owner: { readonly name: string },
  ) {}

  get name(): string {
    return `${this.what} ${this.owner.name}`;
  }

  get isFree(): boolean {
    return this.#inside === 0 && this.#nrWaiters === 0;
  }

  get #nrWaiters(): number {
    return this.#queue === null ? 0 : this.#queue.nrWaiters;
  }

  /** @returns 0, or the errno of the task's signal, and then it is not held. */
  shared(task: TaskContext): MaybePromise<0 | NegErrno> {
    if (this.#inside < 0 || this.#nrWaiters > 0) return this.#wait(task, SHARED);
    this.#inside++;
    return 0;
  }

  /** As `shared`. */
  exclusive(task: TaskContext): MaybePromise<0 | NegErrno> {
    if (this.#inside !== 0 || this.#nrWaiters > 0) return this.#wait(task, EXCLUSIVE);
    this.#inside = -1;
    return 0;
  }

  unlockShared(): void {
    invariant(this.#inside > 0, `${this.name} is not held shared`);
    this.#inside--;
    this.#admit();
  }

  unlockExclusive(): void {
    invariant(this.#inside === -1, `${this.name} is not held`);
    this.#inside = 0;
    this.#admit();
  }

  async #wait(task: TaskContext, want: number): Promise<0 | NegErrno> {
    this.#queue ??= new WaitQueue({ kind: 'inode', name: this.name });
    const woken = await this.#queue.wait(task, want);
    if (woken >= 0) return 0; // it was taken for us before we were woken
    this.#admit(); // we may have been the writer who held up the readers behind
    return woken;
  }

  /** Lets in the oldest waiter, and with a reader the readers right behind it. */
  #admit(): void {
    const queue = this.#queue;
    if (queue === null) return;
    while (queue.nrWaiters > 0) {
      if (queue.oldestWant === EXCLUSIVE) {
        if (this.#inside !== 0) return;
        this.#inside = -1;
      } else {
        if (this.#inside < 0) return;
        this.#inside++;
      }
      queue.wakeOne();
    }
    this.#queue = null;
  }
}
