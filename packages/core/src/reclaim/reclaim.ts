/**
 * Reclaim: frees frames by dropping clean pages and starting the writeout of dirty ones (M18, M6).
 *
 *     candidates from the policy, 32 at a time → verdict on each → free | start writing | put back
 *
 * A scan is synchronous and allocates nothing. What it starts ends later in `endSwapWriteback`, which frees the page if nobody has
 * used it meanwhile. Pages being written are on no list; whoever writes them brings them back.
 *
 * | | frees clean | starts writes | waits |
 * |---|---|---|---|
 * | clean pass | yes | no | no |
 * | kswapd | yes | yes, as far as units are free | for progress only |
 * | direct reclaim | yes | yes, unless the task is `noIo` | as `ReclaimThrottle` says, when the scan is over; the allocator waits for frames |
 */
import type { MaybePromise } from '../base/maybe-promise.js';
import type { TracePoints } from '../base/trace.js';
import { type AddressSpaceTable, anyPage } from '../cache/address-space.js';
import type { Writeback } from '../cache/writeback.js';
import type { Pfn } from '../mm/arena.js';
import { PG } from '../mm/frame-table.js';
import type { Counters } from '../mm/counters.js';
import type { Memory } from '../mm/memory.js';
import type { Reclaimer, Shrinker } from '../mm/reclaimer.js';
import type { Clock, Scheduler } from '../task/clock.js';
import type { TaskContext } from '../task/task-context.js';
import type { WaitRegistry } from '../task/wait-registry.js';
import { type WaitParty, WaitQueue } from '../task/wait-queue.js';
import { Kswapd } from './kswapd.js';
import type { MayEnter, ReclaimRule } from './reclaim-rule.js';
import { type Isolation, pauseTable, type ReclaimThrottle, type ReclaimThrottleFactory, type ScanFacts } from './reclaim-throttle.js';
import { PageKind, PutBack, type ReplacementPolicy } from './replacement-policy.js';
import { scanBalance } from './scan-balance.js';
import type { SwapWriteout } from './swap-writeout.js';
import { Unlaunderable } from './unlaunderable.js';
import { judge, Verdict } from './verdict.js';

/** Candidates judged at once. */
export const SCAN_BATCH = 32;
const LOWEST_PRIORITY = 12;
/** Frames the clean pass frees beyond what was asked for. */
const CLEAN_PASS_EXTRA = 32;

export interface ReclaimParts {
  readonly memory: Memory;
  readonly spaces: AddressSpaceTable;
  readonly policy: ReplacementPolicy;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly trace: TracePoints;
  readonly shrinkers: readonly Shrinker[];
  readonly rule: ReclaimRule;
  readonly waits: WaitRegistry;
  readonly writeback: Writeback;
  /** Default: the table of M18. */
  readonly throttle?: ReclaimThrottleFactory;
}

/** What one scan may do, and what it did. */
interface ScanControl {
  readonly byKswapd: boolean;
  maySwapOut: boolean;
  /** For a task inside a node: what it may act on. */
  readonly mayEnter: MayEnter | null;
  readonly mayWrite: boolean;
  /** Frames freed or on their way out that satisfy the scan. */
  readonly target: number;
  scanned: number;
  freed: number;
  started: number;
  dirtyFiles: number;
  /** Lowest so far. */
  priority: number;
  /** Pages met that are being written; that had been met before; the last of them, or -1. */
  nrWriteback: number;
  nrImmediate: number;
  writebackPfn: Pfn;
}

export class Reclaim implements Reclaimer {
  readonly kswapd: Kswapd;
  /** Woken whenever pages come out of writeback. */
  readonly progress = new WaitQueue({ kind: 'writeback', name: 'any page coming out of writeback', heldBy: () => this.inFlight() });
  /** Bound by the kernel once the swap plugin is there. */
  swap: SwapWriteout | null = null;
  readonly #parts: ReclaimParts;
  readonly #candidates = new Uint32Array(SCAN_BATCH);
  readonly #toWrite = new Uint32Array(SCAN_BATCH);
  #inCleanPass = false;

  readonly unlaunderable: Unlaunderable;
  readonly #throttle: ReclaimThrottle;

  constructor(parts: ReclaimParts) {
    this.#parts = parts;
    this.#throttle = (parts.throttle ?? pauseTable)({
      clock: parts.clock,
      frames: parts.memory.frames,
      progress: this.progress,
      isolation: () => this.#isolation(),
      nrWritten: () => writtenPages(parts.memory.counters),
      inFlight: () => this.inFlight(),
    });
    this.unlaunderable = new Unlaunderable(parts.memory, parts.shrinkers, () => this.swap);
    this.kswapd = new Kswapd(this, parts);
  }

  get policy(): ReplacementPolicy {
    return this.#parts.policy;
  }

  get isWorkInFlight(): boolean {
    return this.nrInFlight > 0 || this.#parts.memory.frames.nrPinned > 0;
  }

  get isHopeless(): boolean {
    return this.kswapd.isHopeless;
  }

  /** Pages whose writeout has begun and not ended. */
  get nrInFlight(): number {
    return this.#parts.memory.fileCounts.nrWriteback + (this.swap?.nrWriteback ?? 0);
  }

  *inFlight(): Generator<WaitParty> {
    if (this.swap !== null) yield* this.swap.inFlight();
    for (const backing of this.#parts.writeback.dirtyBackings) {
      if (backing.nrWriteback > 0) yield { kind: 'writeback', name: backing.name, heldBy: () => backing.writers() };
    }
  }

  wakeKswapd(): void {
    this.kswapd.wake();
  }

  directReclaim(task: TaskContext, nrFrames: number): MaybePromise<number> {
    if (task.isReclaimer) return 0;
    const { allocator } = this.#parts.memory;
    const before = allocator.nrFreed;
    const control = this.#controlOf(nrFrames, task.mayIo, false, task);
    // What is on its way out already is waited for, not added to.
    if (this.nrInFlight < nrFrames) this.#scan(control);
    // Clean pages go even if no write can begin, or those that have begun do not end.
    if (allocator.nrFreed === before && this.#nrClean > 0) this.#dropClean(nrFrames, true);
    const freed = allocator.nrFreed - before;
    if (freed > 0) this.kswapd.hope();
    if (this.#parts.trace.enabled) {
      this.#parts.trace.emit('directReclaim', { task: task.name, nrReclaimed: freed, nrFree: allocator.nrFree });
    }
    if (this.nrInFlight === 0) return freed;
    const pause = this.#throttle.afterScan(task, this.#facts(control, freed));
    return pause === null ? freed : pause.then(() => freed);
  }

  #isolation(): Isolation {
    const { policy } = this.#parts;
    return {
      nrIsolated: this.swap?.nrWriteback ?? 0,
      nrInactive: policy.countInactive(PageKind.ANON) + policy.countInactive(PageKind.FILE),
      nrListed: policy.count(PageKind.ANON) + policy.count(PageKind.FILE),
    };
  }

  #facts(control: ScanControl, nrFreed: number): ScanFacts {
    const { priority, scanned, nrWriteback, nrImmediate, writebackPfn } = control;
    return {
      ...this.#isolation(),
      nrInFlight: this.nrInFlight,
      nrScanned: scanned,
      nrFreed,
      nrWriteback,
      nrImmediate,
      writebackPfn,
      priority,
      isHopeless: this.isHopeless,
    };
  }

  /**
   * Scans until `target` frames are freed or on their way out, with falling priority.
   * @param task for whom; what it is inside of decides on which nodes reclaim may act (M11). Null: for nobody in particular.
   * @returns frames freed at once plus pages whose writing was started.
   */
  shrink(target: number, mayWrite: boolean, byKswapd: boolean, task: TaskContext | null = null): number {
    return this.#scan(this.#controlOf(target, mayWrite, byKswapd, task));
  }

  #controlOf(target: number, mayWrite: boolean, byKswapd: boolean, task: TaskContext | null): ScanControl {
    const { rule } = this.#parts;
    return {
      byKswapd,
      mayWrite,
      maySwapOut: mayWrite,
      mayEnter: task === null || task.scopes.length === 0 ? null : (node, pfn) => rule.mayEnter(task, node, pfn),
      target,
      scanned: 0,
      freed: 0,
      started: 0,
      dirtyFiles: 0,
      priority: LOWEST_PRIORITY,
      nrWriteback: 0,
      nrImmediate: 0,
      writebackPfn: -1,
    };
  }

  #scan(control: ScanControl): number {
    for (let priority = LOWEST_PRIORITY; priority >= 0 && control.freed + control.started < control.target; priority--) {
      control.priority = priority;
      this.#shrinkAt(priority, control);
    }
    this.#flush(control);
    const { counters } = this.#parts.memory;
    if (control.byKswapd) {
      counters.pgscan_kswapd += control.scanned;
      counters.pgsteal_kswapd += control.freed;
    } else {
      counters.pgscan_direct += control.scanned;
      counters.pgsteal_direct += control.freed;
    }
    return control.freed + control.started;
  }

  #shrinkAt(priority: number, control: ScanControl): void {
    const { policy, memory, shrinkers } = this.#parts;
    const { anon, file } = scanBalance({
      priority,
      nrAnon: policy.count(PageKind.ANON),
      nrFile: policy.count(PageKind.FILE),
      maySwap: this.#canSwapOut(control),
      nrFree: memory.allocator.nrFree,
      high: memory.allocator.high,
    });
    let anonLeft = anon;
    let fileLeft = file;
    while (anonLeft + fileLeft > 0 && control.freed + control.started < control.target) {
      fileLeft -= this.#shrinkKind(PageKind.FILE, fileLeft, control);
      if (control.freed + control.started >= control.target) break;
      anonLeft = this.#canSwapOut(control) ? anonLeft - this.#shrinkKind(PageKind.ANON, anonLeft, control) : 0;
    }
    for (const shrinker of shrinkers) {
      const count = shrinker.count();
      if (count > 0 && control.freed < control.target) control.freed += shrinker.scan(Math.max(1, count >>> priority));
    }
  }

  /** True if a swap-out could begin now. A clean page with a slot goes without one, by the clean pass. */
  #canSwapOut({ maySwapOut, mayEnter }: ScanControl): boolean {
    if (!maySwapOut || this.swap === null) return false;
    return (mayEnter === null ? this.swap.writeRoom : this.swap.writeRoomWithin(mayEnter)) > 0;
  }

  /** Judges one batch. @returns pages scanned, or all that was asked for if there are no more. */
  #shrinkKind(kind: PageKind, wanted: number, control: ScanControl): number {
    if (wanted <= 0) return 0;
    const { policy, memory } = this.#parts;
    const { flags, refs } = memory.frames;
    const candidates = this.#candidates;
    const isAnonymous = kind === PageKind.ANON;
    const count = policy.isolate(kind, candidates, Math.min(wanted, SCAN_BATCH));
    memory.frames.touch(candidates, count);
    let nrToWrite = 0;
    const dirtyBefore = control.dirtyFiles;
    for (let i = 0; i < count; i++) {
      const pfn = candidates[i];
      switch (judge(flags[pfn], refs[pfn], isAnonymous, control.maySwapOut)) {
        case Verdict.FREE:
          this.#freeClean(pfn);
          control.freed++;
          break;
        case Verdict.RELEASE:
          if (this.#release(pfn)) control.freed++;
          else policy.putBack(pfn, PutBack.ACTIVATE);
          break;
        case Verdict.ADD_TO_SWAP:
          if (this.swap?.addToSwap(pfn, control.mayEnter)) this.#toWrite[nrToWrite++] = pfn;
          else policy.putBack(pfn, PutBack.ACTIVATE);
          break;
        case Verdict.WRITE:
          if (control.mayEnter === null || control.mayEnter((this.swap as SwapWriteout).nodeOf(pfn))) this.#toWrite[nrToWrite++] = pfn;
          else policy.putBack(pfn, PutBack.KEEP);
          break;
        case Verdict.FLUSH:
          flags[pfn] |= PG.RECLAIM;
          control.dirtyFiles++;
          policy.putBack(pfn, PutBack.KEEP);
          break;
        case Verdict.IN_WRITEBACK:
          control.nrWriteback++;
          control.writebackPfn = pfn;
          if ((flags[pfn] & PG.RECLAIM) !== 0) control.nrImmediate++;
          flags[pfn] |= PG.RECLAIM;
          policy.putBack(pfn, PutBack.KEEP);
          break;
        case Verdict.ACTIVATE:
          flags[pfn] &= ~(PG.YOUNG | PG.REFERENCED);
          policy.putBack(pfn, PutBack.ACTIVATE);
          break;
        default:
          if ((flags[pfn] & PG.YOUNG) !== 0) flags[pfn] = (flags[pfn] & ~PG.YOUNG) | PG.REFERENCED;
          policy.putBack(pfn, PutBack.KEEP);
      }
    }
    if (nrToWrite > 0) this.#startSwapWriteback(nrToWrite, control);
    if (count > 0 && control.dirtyFiles - dirtyBefore === count) this.#flush(control); // nothing but dirt is next to go
    control.scanned += count;
    return count === 0 ? wanted : count;
  }

  #startSwapWriteback(count: number, control: ScanControl): void {
    const started = this.swap?.startWriteback(this.#toWrite, count, control.mayEnter) ?? 0;
    control.started += started;
    for (let i = started; i < count; i++) this.#parts.policy.putBack(this.#toWrite[i], PutBack.SOON);
    if (started < count) control.maySwapOut = false;
  }

  /** Frees a page that is on no list, clean and unused; its space keeps a shadow. */
  #freeClean(pfn: Pfn): void {
    const { memory, spaces, policy } = this.#parts;
    spaces.get(memory.frames.space[pfn])?.evict(pfn, policy.evicted(pfn));
    memory.allocator.freePage(pfn);
  }

  /** As `#freeClean`, if the page's owner lets it go (M18, row 9). */
  #release(pfn: Pfn): boolean {
    const { memory, spaces } = this.#parts;
    if (spaces.get(memory.frames.space[pfn])?.mayEvict?.(pfn) === false) return false;
    this.#freeClean(pfn);
    return true;
  }

  /**
   * A swap page's way out is over. It is freed if it is clean and nobody used it meanwhile, all of which is seen in the step that frees it
   * (trap 8); else it goes back to the lists.
   * For the swap plugin, which has cleared WRITEBACK and, after a failure, set DIRTY.
   */
  endSwapWriteback(pfn: Pfn): void {
    const { frames, counters } = this.#parts.memory;
    if (judge(frames.flags[pfn], frames.refs[pfn], true, false) === Verdict.FREE) {
      this.#freeClean(pfn);
      counters.pgsteal_writeback++;
      this.kswapd.hope();
    } else this.#parts.policy.putBack(pfn, PutBack.KEEP);
  }

  /** For whoever ended some writeback: kswapd and the waiters look again. */
  noteProgress(): void {
    this.progress.wakeAll();
    this.#throttle.noteProgress();
    if (!this.isWorkInFlight) this.#parts.memory.allocator.retryWaiters();
  }

  /** Pages that could be dropped as they are, about. */
  get #nrClean(): number {
    return this.#nrCleanOf(PageKind.FILE) + this.#nrCleanOf(PageKind.ANON);
  }

  #nrCleanOf(kind: PageKind): number {
    const { memory, policy } = this.#parts;
    if (kind === PageKind.FILE) return Math.max(policy.count(kind) - memory.fileCounts.nrDirty, 0);
    return this.swap === null ? 0 : Math.max(this.swap.nrCached - this.swap.nrWriteback, 0);
  }

  shrinkObjects(nrFrames: number): number {
    let freed = 0;
    for (const shrinker of this.#parts.shrinkers) if (freed < nrFrames) freed += shrinker.scan(nrFrames - freed);
    return freed;
  }

  cleanPass(nrFrames: number): number {
    return this.#dropClean(nrFrames, false);
  }

  #dropClean(nrFrames: number, activeToo: boolean): number {
    if (this.#inCleanPass) throw new Error('the clean pass was entered from within itself');
    this.#inCleanPass = true;
    let freed = this.#walkClean(nrFrames, activeToo);
    // No account is spent while there is anything clean, however hot.
    if (freed === 0 && !activeToo && this.#nrClean > 0) freed = this.#walkClean(nrFrames, true);
    for (const shrinker of this.#parts.shrinkers) {
      const nrLeft = nrFrames + CLEAN_PASS_EXTRA - freed;
      if (shrinker.isAllocationFree === true && nrLeft > 0) freed += shrinker.scan(nrLeft);
    }
    this.#inCleanPass = false;
    this.#parts.memory.counters.cleanpass++;
    this.#parts.memory.counters.cleanpass_freed += freed;
    return freed;
  }

  #walkClean(nrFrames: number, activeToo: boolean): number {
    let freed = 0;
    for (const kind of [PageKind.FILE, PageKind.ANON]) {
      if (this.#nrCleanOf(kind) === 0) continue; // or each frame of an account would cost a walk over pages none of which can go
      const { policy, memory } = this.#parts;
      const { flags, refs } = memory.frames;
      let pfn = policy.older(kind, -1);
      let nrLeft = activeToo ? policy.count(kind) : policy.countInactive(kind);
      while (pfn >= 0 && nrLeft-- > 0 && freed < nrFrames + CLEAN_PASS_EXTRA) {
        const next = policy.older(kind, pfn);
        const verdict = judge(flags[pfn] & ~PG.YOUNG, refs[pfn], kind === PageKind.ANON, false);
        if (verdict === Verdict.FREE) {
          policy.remove(pfn);
          this.#freeClean(pfn);
          freed++;
        }
        pfn = next;
      }
    }
    return freed;
  }

  /** Has the flushers write what was found dirty. What has been written when this ends can be freed at once, and is not on its way. */
  #flush(control: ScanControl): void {
    const { dirtyFiles, mayEnter, mayWrite } = control;
    control.dirtyFiles = 0;
    if (dirtyFiles === 0 || !mayWrite) return;
    const before = this.nrInFlight;
    this.#parts.writeback.startWriteback(dirtyFiles, (cache) => {
      const node = mayEnter === null ? null : cache.writesThrough();
      if (node === null || mayEnter === null || mayEnter(node)) return anyPage;
      return node.mayReclaim === undefined ? null : (pfn) => mayEnter(node, pfn);
    });
    control.started += Math.max(this.nrInFlight - before, 0);
  }

  /** Pages of meminfo that reclaim knows: on lists, by class. */
  levels(): { nrInactiveAnon: number; nrActiveAnon: number; nrInactiveFile: number; nrActiveFile: number } {
    const { policy } = this.#parts;
    const nrInactiveAnon = policy.countInactive(PageKind.ANON);
    const nrInactiveFile = policy.countInactive(PageKind.FILE);
    return {
      nrInactiveAnon,
      nrActiveAnon: policy.count(PageKind.ANON) - nrInactiveAnon,
      nrInactiveFile,
      nrActiveFile: policy.count(PageKind.FILE) - nrInactiveFile,
    };
  }
}

/** Pages written since boot, to files and to swap. */
function writtenPages({ pswpout, nr_written }: Counters): number {
  return pswpout + nr_written;
}
