/**
 * A backing: what the dirty pages of some page caches go to, as one queue. It has the dirty limits (M10), the writes in flight, and knows
 * which of its caches have dirty pages, the one whose turn it is first.
 *
 * | who | starts writes |
 * |---|---|
 * | an explicit sync | of its cache, and waits for units and runs |
 * | the flusher | of what is old, or too much; not while somebody syncs; never waits |
 * | reclaim, a writer over the limit | of any, oldest first; never waits |
 */
import type { NegErrno } from '../base/errno.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import { WaitQueue } from '../task/wait-queue.js';
import { anyPage, type MayWrite } from './address-space.js';
import { RUNS_MAX, WriteRun } from './write-run.js';

/** Writes in a row that fail before nobody but a sync, or a writer who is over the limit, tries again. */
export const FAILURES_MAX = 16;

/** A cache with dirty pages, as its backing sees it. */
export interface DirtyCache {
  readonly name: string;
  readonly nrDirty: number;
  /** On the kernel's clock: when the oldest of its dirty pages became so. */
  readonly dirtySinceMs: number;
  /** Starts writing about `nrPages`. Never waits. @returns pages started. */
  startWriteback(nrPages: number, mayWrite?: MayWrite): number;
  writesThrough(): WriteoutNode | null;
}

/** Which pages of a cache are wanted; null for none. */
export type WantsOf = (cache: DirtyCache) => MayWrite | null;

/** How much of memory a backing may have dirty. */
export interface DirtyShare {
  /** Of the threshold. Default 100. */
  readonly maxPercent: number;
  /** Holds it to its share even while there is little dirty altogether: for what need not be trusted to write soon. */
  readonly isStrict: boolean;
}

/** Who follows what becomes of the backings. */
export interface BackingWatcher {
  /** The first of its pages became dirty. */
  hasDirty(backing: Backing): void;
  /** Something was written, or need not be any more. */
  hasProgressed(backing: Backing): void;
}

export class Backing {
  /** Pages dirty and not being written; being written; and those that a writer has the word for and has not made dirty yet. */
  nrDirty = 0;
  nrWriteback = 0;
  nrClaimed = 0;
  share: DirtyShare = { maxPercent: 100, isStrict: false };
  /** Pages written of late: halved for all backings now and then, so that it tells their speeds. */
  nrRecent = 0;
  /** Syncs under way: explicit requests go before periodic ones. */
  nrSyncs = 0;
  failuresInARow = 0;
  lastError: 0 | NegErrno = 0;
  /** Woken when a write ends. */
  readonly idle: WaitQueue;
  readonly runs = Array.from({ length: RUNS_MAX }, () => new WriteRun());
  readonly spareRuns = [...this.runs];
  nrRunsBegun = 0;
  /** Those with dirty pages; the first has waited longest. */
  readonly dirtyCaches = new Set<DirtyCache>();

  constructor(
    /** The object that caches share it by; what `task.localThrottle` names. */
    readonly key: object,
    readonly name: string,
    readonly watcher: BackingWatcher,
  ) {
    this.idle = new WaitQueue({ kind: 'writeback', name, heldBy: () => this.writers() });
  }

  /** Pages that count against its limit. */
  get nrPages(): number {
    return this.nrDirty + this.nrWriteback + this.nrClaimed;
  }

  /** The nodes that its writes in flight go through, for stall reports. */
  *writers(): Generator<WriteoutNode> {
    for (const { owner } of this.runs) {
      const node = (owner as DirtyCache | null)?.writesThrough() ?? null;
      if (node !== null) yield node;
    }
  }

  /** A cache has its first dirty page. */
  noteDirty(cache: DirtyCache): void {
    this.dirtyCaches.add(cache);
    if (this.dirtyCaches.size === 1) this.watcher.hasDirty(this);
  }

  /** A cache has none any more. */
  noteClean(cache: DirtyCache): void {
    this.dirtyCaches.delete(cache);
  }

  /**
   * Starts writing dirty pages, of the cache first that has waited longest for a turn. Never waits.
   * @param wants which pages of a cache; null for none of them. Default: all.
   * @returns pages started.
   */
  startWriteback(nrPages: number, wants: WantsOf = () => anyPage): number {
    let started = 0;
    for (const cache of [...this.dirtyCaches]) {
      if (started >= nrPages || this.spareRuns.length === 0 || this.failuresInARow >= FAILURES_MAX) break;
      const mayWrite = wants(cache);
      const nrBegun = mayWrite === null ? 0 : cache.startWriteback(nrPages - started, mayWrite);
      started += nrBegun;
      if (nrBegun > 0 && this.dirtyCaches.delete(cache)) this.dirtyCaches.add(cache); // the others have their turn next
    }
    return started;
  }
}
