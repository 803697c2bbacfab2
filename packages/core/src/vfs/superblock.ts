/**
 * A mounted filesystem: its operations, and the inodes of it that are in memory.
 *
 * | an inode is | refs | name | on |
 * |---|---|---|---|
 * | in use | > 0 | – | the table |
 * | cached | 0 | has one | the table, and the list of those that may go (`InodeCache`) |
 * | kept | 0 | has one | the table; the filesystem pinned it, because memory is its only store |
 * | to be deleted | 0 | none | the queue of the deletion task; not in the table, but its number is not free yet |
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { isPromise } from '../base/maybe-promise.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';
import { WaitQueue } from '../task/wait-queue.js';
import type { SuperblockOps } from './file-system.js';
import type { Inode } from './inode.js';
import type { InodeCache } from './inode-cache.js';
import { InodeLock } from './inode-lock.js';
import { goneOperations, Operations } from './operations.js';
import { type Steps, settle } from './steps.js';

/** The wait of one who read for several ended early; the others read again. */
function isInterruption(status: NegErrno): boolean {
  return status === -Errno.EINTR || status === -Errno.EAGAIN || status === -Errno.ECANCELED;
}

/**
 * The task that fetches something for one who may not wait: it goes on when he has left with EAGAIN, so that a later call finds it. Others
 * fetch as they are.
 */
export function patientOf(task: TaskContext): TaskContext {
  return task.checkSignal() === -Errno.EAGAIN ? task.withSignal(null) : task;
}

export class Superblock {
  readonly name: string;
  readonly fsid: number;
  readonly source: string;
  readonly rootIno: number;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly maxFileSizeBytes: number;
  readonly maxLinks: number;
  readonly updatesAtOnce: boolean;
  /** True if others change it too: attributes and entries are refreshed before they are believed. */
  readonly isShared: boolean;
  /** True if what was written is written out before a file is closed. */
  readonly flushesOnClose: boolean;
  /** The node its pages are written through, or null. */
  readonly node: WriteoutNode | null;
  /** The node its pinned files are written through, or null: they cannot be pinned. */
  readonly pinNode: WriteoutNode | null;
  readonly inodes = new Map<number, Inode>();
  /** Whoever works inside it (its deletion task, its flusher) does so within its node. */
  readonly task: TaskContext;
  /** Held by a rename from one directory to another: so that the tree above them stands still. */
  readonly renameLock: InodeLock;
  /** Replaced by ones that fail when it is unmounted by force. */
  ops: Operations;
  root: Inode | null = null;
  /** Pins of its files: as long as there is one it stays. */
  nrPins = 0;
  /** The directory it is mounted on, with a reference; null for the first of a kernel. */
  mountpoint: Inode | null = null;
  readonly #cache: InodeCache;
  /** Inodes being read, by number. */
  readonly #reading = new Map<number, Promise<NegErrno>>();
  readonly #deleting: Inode[] = [];
  readonly #deleted: WaitQueue;
  #isDeleting = false;
  #deletionError: 0 | NegErrno = 0;
  #isGone = false;

  constructor(fsid: number, source: string, ops: SuperblockOps, readOnly: boolean, cache: InodeCache, task: TaskContext) {
    this.fsid = fsid;
    this.source = source;
    this.name = ops.name;
    this.rootIno = ops.rootIno;
    this.readOnly = readOnly || ops.readOnly;
    this.blockSizeBytes = ops.blockSizeBytes;
    this.maxFileSizeBytes = ops.maxFileSizeBytes;
    this.maxLinks = ops.maxLinks;
    this.updatesAtOnce = ops.updatesAtOnce;
    this.isShared = ops.refresh !== undefined;
    this.flushesOnClose = ops.flushesOnClose === true;
    this.node = ops.writeout?.nodes[0] ?? null;
    this.pinNode = ops.pinsThrough ?? null;
    this.ops = new Operations(ops);
    this.#cache = cache;
    const named = task.named(`tasks of ${ops.name}`);
    this.task = this.node === null ? named : named.within(this.node);
    this.renameLock = new InodeLock('rename lock of', this);
    this.#deleted = new WaitQueue({ kind: 'inode', name: `inodes of ${this.name} being deleted` });
  }

  /** True once it was unmounted by force: what its users do fails with EIO. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Inodes whose deletion has not ended. */
  get nrDeleting(): number {
    return this.#deleting.length + (this.#isDeleting ? 1 : 0);
  }

  /**
   * The inode of a number, read if it is not in memory, with a reference.
   * @param hint of the lookup that found the number.
   * @returns it, or `-ESTALE`, `-ENOMEM`, what the filesystem says.
   */
  *get(task: TaskContext, ino: number, hint: unknown): Steps<Inode | NegErrno> {
    for (;;) {
      const cached = this.inodes.get(ino);
      if (cached !== undefined) {
        this.#cache.use(cached);
        if (this.isShared) {
          const status = yield* settle(this.ops.refresh(task, cached, hint));
          if (status < 0) {
            this.put(cached);
            return status;
          }
        }
        return cached;
      }
      const reading = this.#reading.get(ino);
      if (reading === undefined) break;
      const status = yield* settle(reading);
      if (status < 0 && !(isInterruption(status) && task.checkSignal() === 0)) return status;
    }
    if (this.#deleting.some((inode) => inode.ino === ino)) return -Errno.ESTALE;
    const inode = yield* this.#cache.alloc(task);
    if (typeof inode === 'number') return inode;
    if (this.inodes.has(ino) || this.#reading.has(ino)) {
      this.#cache.free(inode); // somebody was faster while we waited for memory
      return yield* this.get(task, ino, hint);
    }
    inode.superblock = this;
    inode.ino = ino;
    const read = this.ops.readInode(patientOf(task), inode, hint);
    if (isPromise(read)) {
      const ended = read.then((status) => this.#read(inode, status));
      this.#reading.set(ino, ended);
      const status = yield* settle(ended);
      return status < 0 ? status : inode;
    }
    const status = this.#read(inode, read);
    return status < 0 ? status : inode;
  }

  #read(inode: Inode, status: NegErrno): NegErrno {
    this.#reading.delete(inode.ino);
    if (status < 0) {
      this.#cache.free(inode);
      return status;
    }
    inode.nrRefs = 1;
    this.inodes.set(inode.ino, inode);
    return 0;
  }

  /** Puts an inode that `create` has numbered into the table, with a reference. */
  adopt(inode: Inode): void {
    inode.nrRefs = 1;
    this.inodes.set(inode.ino, inode);
  }

  /** Gives a reference back. */
  put(inode: Inode): void {
    if (--inode.nrRefs > 0) return;
    if (inode.nlink > 0 && !this.#isGone) {
      if (!inode.isKept) this.#cache.keep(inode);
      return;
    }
    this.inodes.delete(inode.ino);
    this.#deleting.push(inode);
    if (!this.#isDeleting) void this.#deleteAll();
  }

  /** The deletion task: one inode after the other; at once where the filesystem can. */
  async #deleteAll(): Promise<void> {
    this.#isDeleting = true;
    for (let inode = this.#deleting.shift(); inode !== undefined; inode = this.#deleting.shift()) {
      const dropped = this.#cache.dropPages(inode, true);
      if (isPromise(dropped)) await dropped;
      const { ops } = this;
      if (!this.#isGone) {
        const deleted = ops.deleteInode(this.task, inode);
        this.#deletionError ||= isPromise(deleted) ? await deleted : deleted;
      }
      this.#cache.forget(inode);
    }
    this.#isDeleting = false;
    this.#deleted.wakeAll();
  }

  /** What a deletion has failed with since the last call: nobody waited for it, so the next `sync` tells. */
  takeDeletionError(): 0 | NegErrno {
    const status = this.#deletionError;
    this.#deletionError = 0;
    return status;
  }

  /** Waits until every deletion begun has ended. @returns 0, or the errno of the task's signal. */
  *settleDeletions(task: TaskContext): Steps<0 | NegErrno> {
    while (this.#isDeleting) {
      const woken = yield* settle(this.#deleted.wait(task));
      if (woken < 0) return woken;
    }
    return 0;
  }

  /** Takes the filesystem away from under its users. */
  setGone(): void {
    this.#isGone = true;
    this.ops = goneOperations();
  }
}
