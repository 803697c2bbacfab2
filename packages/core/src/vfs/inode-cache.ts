/**
 * The inodes of all filesystems that nobody uses now, oldest first, and the frames that pay for inodes. Under pressure the oldest
 * without dirty pages go, their pages with them.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { Memory } from '../mm/memory.js';
import { Gfp } from '../mm/gfp.js';
import type { Shrinker } from '../mm/reclaimer.js';
import { SlabCache } from '../mm/slab.js';
import type { TaskContext } from '../task/task-context.js';
import { Inode, INODE_BYTES } from './inode.js';
import type { InodeReferences } from './name-cache.js';
import { ready, type Steps, settle } from './steps.js';

/** Most inodes of a kernel: what one table of the host's can hold. */
const INODES_MAX = 2 ** 24 - 1;
/** Bytes of the JS heap a page cache takes beside its pages and the nodes of its index (measured; see the tests). */
const PAGE_CACHE_BYTES = 1024;
/** Inodes looked at to free one frame, at most. */
const SCAN_MAX = 64;
/** Times memory is asked for before an inode is refused. */
const ATTEMPTS = 8;

export class InodeCache implements Shrinker, InodeReferences {
  readonly name = 'inodes';
  readonly #memory: Memory;
  readonly #slab: SlabCache<Inode>;
  /** What page caches take on the heap, beside their pages. */
  readonly #pageCaches: SlabCache<object>;
  #newest: Inode | null = null;
  #oldest: Inode | null = null;
  #nrIdle = 0;

  constructor(memory: Memory) {
    this.#memory = memory;
    this.#slab = new SlabCache(memory.frameSource(Gfp.SLAB), {
      name: 'inode',
      objectBytes: INODE_BYTES,
      create: () => new Inode(),
      reset: (inode) => inode.reset(),
    });
    this.#pageCaches = new SlabCache(memory.frameSource(Gfp.SLAB), {
      name: 'page cache of a file',
      objectBytes: PAGE_CACHE_BYTES,
      create: () => ({}),
    });
  }

  /** Frames charged. */
  get nrFrames(): number {
    return this.#slab.nrFrames + this.#pageCaches.nrFrames;
  }

  /** Inodes in memory. */
  get nrInodes(): number {
    return this.#slab.nrObjects;
  }

  /** Inodes nobody uses. */
  get nrIdle(): number {
    return this.#nrIdle;
  }

  /** A blank inode, waiting for memory if need be. @returns it; `-ENOMEM`; the errno of the task's signal. */
  alloc(task: TaskContext): Steps<Inode | NegErrno> {
    const inode = this.#slab.nrObjects < INODES_MAX ? this.#slab.alloc(task) : null;
    return inode === null ? this.#allocSlow(task) : ready(inode);
  }

  *#allocSlow(task: TaskContext): Steps<Inode | NegErrno> {
    for (let attempt = 0; ; attempt++) {
      const inode = this.#slab.nrObjects < INODES_MAX ? this.#slab.alloc(task) : null;
      if (inode !== null) return inode;
      if (attempt === ATTEMPTS) return -Errno.ENOMEM;
      if (this.scan(1) > 0) continue;
      const ended = task.checkSignal();
      if (ended !== 0) return ended;
      yield* settle(this.#memory.makeRoom(task, 1));
    }
  }

  /** Takes a blank inode, or one that is nowhere any more, back. */
  free(inode: Inode): void {
    this.#slab.free(inode);
  }

  /** Gives a reference back; its superblock knows what follows. */
  put(inode: Inode): void {
    inode.superblock.put(inode);
  }

  /** Takes a reference to a cached inode. */
  use(inode: Inode): void {
    if (inode.nrRefs++ === 0 && !inode.isKept) this.#unlist(inode);
  }

  /** Nobody refers to an inode any more: it may go, last of all. */
  keep(inode: Inode): void {
    inode.lruPrev = null;
    inode.lruNext = this.#newest;
    if (this.#newest !== null) this.#newest.lruPrev = inode;
    this.#newest = inode;
    this.#oldest ??= inode;
    this.#nrIdle++;
  }

  #unlist(inode: Inode): void {
    if (inode.lruPrev === null) this.#newest = inode.lruNext;
    else inode.lruPrev.lruNext = inode.lruNext;
    if (inode.lruNext === null) this.#oldest = inode.lruPrev;
    else inode.lruNext.lruPrev = inode.lruPrev;
    inode.lruPrev = inode.lruNext = null;
    this.#nrIdle--;
  }

  /** The filesystem lets go of an inode that is in no table, and its object is free. */
  forget(inode: Inode): void {
    inode.superblock.ops.forget(inode);
    this.free(inode);
  }

  /** Pays for the page cache that an inode is about to get, waiting for memory if need be. @returns what `dropPages` gives back, or `-ENOMEM`. */
  chargePages(task: TaskContext): Steps<object | NegErrno> {
    const charge = this.#pageCaches.alloc(task);
    return charge === null ? this.#chargeSlow(task) : ready(charge);
  }

  *#chargeSlow(task: TaskContext): Steps<object | NegErrno> {
    for (let attempt = 0; attempt <= ATTEMPTS; attempt++) {
      const charge = this.#pageCaches.alloc(task);
      if (charge !== null) return charge;
      if (this.scan(1) > 0) continue;
      const ended = task.checkSignal();
      if (ended !== 0) return ended;
      yield* settle(this.#memory.makeRoom(task, 1));
    }
    return -Errno.ENOMEM;
  }

  /** Gives back what was not needed. */
  giveCharge(charge: object): void {
    this.#pageCaches.free(charge);
  }

  /** Closes the pages of an inode nobody reads or writes; at once where nothing is in flight. @param isLost what is dirty need not be written. */
  dropPages(inode: Inode, isLost: boolean): MaybePromise<0 | NegErrno> {
    const { pages } = inode;
    if (pages === null) return 0;
    if ((isLost || pages.nrDirty === 0) && pages.closeAtOnce()) {
      this.#uncharge(inode);
      return 0;
    }
    return pages.close(inode.superblock.task).then((status) => {
      this.#uncharge(inode);
      return status;
    });
  }

  #uncharge(inode: Inode): void {
    inode.pages = null;
    if (inode.pagesCharge !== null) this.#pageCaches.free(inode.pagesCharge);
    inode.pagesCharge = null;
  }

  /** Frames it could give back, if every idle inode is clean. */
  count(): number {
    return Math.floor(this.#nrIdle / this.#slab.objectsPerFrame) + this.#slab.count() + this.#pageCaches.count();
  }

  /** Forgets the oldest idle inodes until `nrFrames` are free. */
  scan(nrFrames: number): number {
    let nrFreed = this.#slab.scan(nrFrames) + this.#pageCaches.scan(nrFrames);
    for (let budget = nrFrames * SCAN_MAX; nrFreed < nrFrames && budget > 0 && this.#oldest !== null; budget--) {
      const inode = this.#oldest;
      this.#unlist(inode);
      if (!this.#evict(inode)) this.keep(inode);
      nrFreed += this.#slab.scan(nrFrames) + this.#pageCaches.scan(nrFrames);
    }
    return nrFreed;
  }

  /** Lets an idle inode that is on no list go, with its pages if they are clean and nobody uses them. */
  #evict(inode: Inode): boolean {
    const { pages } = inode;
    if (pages !== null) {
      if (pages.nrDirty > 0 || pages.nrKept > 0 || !pages.closeAtOnce()) return false;
      this.#uncharge(inode);
    }
    inode.superblock.inodes.delete(inode.ino);
    this.forget(inode);
    return true;
  }

  /** Lets every inode of a filesystem go that nobody refers to; their pages must be gone. For unmounting. */
  forgetAll(inodes: Map<number, Inode>): void {
    for (const inode of inodes.values()) {
      if (inode.nrRefs > 0) continue;
      if (!inode.isKept) this.#unlist(inode);
      this.#evict(inode);
    }
  }

  /** Gives everything back. */
  dispose(): void {
    this.#slab.dispose();
    this.#pageCaches.dispose();
  }
}
