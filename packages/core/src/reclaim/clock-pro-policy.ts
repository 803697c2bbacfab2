/**
 * A replacement policy that scans and loops do not defeat (M18): CLOCK-Pro, which is LIRS with a bit for each reference in place of an order.
 *
 * A page is as good as the distance between its last two uses, not as the last use is recent. Of each kind of pages there are
 *
 *     stack   newest ──► … ──► oldest hot page       hot pages, cold pages on trial, and ghosts of cold pages that went while on trial
 *     queue   newest ──► … ──► next to go            cold pages in memory
 *
 * | what happens | then |
 * |---|---|
 * | a page comes | cold, on trial; hot while there are fewer hot ones than there may be |
 * | the next to go was used, on trial | hot: it came back sooner than the oldest hot page; its trial has paid |
 * | the next to go was used, trial over | a new trial, at the end of the queue |
 * | the next to go was not used | it goes; on trial it leaves a ghost |
 * | a page comes whose ghost is there | hot; the trial has paid |
 * | too many are hot | the oldest hot page: used, or used before that, to the top; not used twice over, cold without trial |
 * | the bottom of the stack is not hot | its trial is over, and has not paid |
 *
 * Each trial that pays makes room for one more cold page, each that does not for one less; at least 1 % are cold. Ghosts are as many as
 * frames at most, first gone first forgotten: 26 bytes a frame for all of it, beside the frame table. A shadow is the number of a ghost; a
 * ghost knows whose it is, so that an old shadow is told from a new one.
 */
import type { Pfn } from '../mm/arena.js';
import { type Cell, CellTag, cellValue, tagOf } from '../mm/cell.js';
import { FrameClass, type FrameTable, PG } from '../mm/frame-table.js';
import { PageKind, type PolicyParts, PutBack, type ReplacementPolicy, type ReplacementPolicyFactory } from './replacement-policy.js';

/** A cold page in so many, at least. */
const COLD_PART = 100;

/** State of a node of the stacks. */
const IN_STACK = 1;
const HOT = 2;
const IS_ANON = 4;

/** What is known of the pages of one kind. */
class Kind {
  nrHot = 0;
  /** Cold pages wanted in memory. */
  coldTarget = 1;
  /** Candidates given since a page came last, and at most of late. */
  nrGiven = 0;
  nrGivenAtOnce = 1;
  /** Pages in memory when they were last too many; 0 before. */
  capacity = 0;

  constructor(
    readonly kind: PageKind,
    /** The queue: a list of the frame table. */
    readonly queue: number,
    /** Its end of the stack: a node. */
    readonly sentinel: number,
  ) {}

  /**
   * Hot pages that there may be. Where many pages are asked for at once as many more are cold: else each request would cool what is hot, and
   * what takes its place would come in hot.
   */
  get nrHotWanted(): number {
    const most = Math.max(this.capacity - this.coldTarget, 0);
    return Math.max(most - this.nrGivenAtOnce + 1, Math.min(this.capacity >>> 1, most));
  }

  /** A page comes: what was asked for before it was asked for at once. */
  noteCome(): void {
    if (this.nrGiven === 0) return;
    this.nrGivenAtOnce = Math.max(this.nrGiven, this.nrGivenAtOnce - ((this.nrGivenAtOnce + 7) >>> 3), 1);
    this.nrGiven = 0;
  }
}

class ClockProPolicy implements ReplacementPolicy {
  readonly #frames: FrameTable;
  readonly #parts: PolicyParts;
  readonly #kinds: readonly [Kind, Kind];
  /** The stacks: nodes are frames, then ghosts, then a sentinel for each kind. */
  readonly #up: Uint32Array;
  readonly #down: Uint32Array;
  readonly #state: Uint8Array;
  /** Whose ghost it is. */
  readonly #ghostSpace: Uint32Array;
  readonly #ghostIndex: Uint32Array;
  #nextGhost = 0;

  constructor(parts: PolicyParts) {
    const { frames } = parts;
    const n = frames.nrFrames;
    this.#parts = parts;
    this.#frames = frames;
    this.#up = new Uint32Array(2 * n + 2);
    this.#down = new Uint32Array(2 * n + 2);
    this.#state = new Uint8Array(2 * n + 2);
    this.#ghostSpace = new Uint32Array(n);
    this.#ghostIndex = new Uint32Array(n);
    this.#kinds = [new Kind(PageKind.ANON, frames.createList(), 2 * n), new Kind(PageKind.FILE, frames.createList(), 2 * n + 1)];
    for (const { sentinel } of this.#kinds) this.#up[sentinel] = this.#down[sentinel] = sentinel;
  }

  #kindOf(pfn: Pfn): Kind {
    return this.#kinds[this.#frames.frameClass[pfn] === FrameClass.ANON ? PageKind.ANON : PageKind.FILE];
  }

  count(kind: PageKind): number {
    return this.#kinds[kind].nrHot + this.countInactive(kind);
  }

  countInactive(kind: PageKind): number {
    return this.#frames.listLength[this.#kinds[kind].queue];
  }

  // The stack.

  #pushTop(of: Kind, node: number): void {
    const first = this.#down[of.sentinel];
    this.#down[node] = first;
    this.#up[node] = of.sentinel;
    this.#up[first] = node;
    this.#down[of.sentinel] = node;
    this.#state[node] |= IN_STACK;
  }

  #unstack(node: number): void {
    const up = this.#up[node];
    const down = this.#down[node];
    this.#down[up] = down;
    this.#up[down] = up;
    this.#state[node] &= ~IN_STACK;
  }

  /** Ends the trials below the oldest hot page. */
  #prune(of: Kind): void {
    for (let node = this.#up[of.sentinel]; node !== of.sentinel && (this.#state[node] & HOT) === 0; node = this.#up[of.sentinel]) {
      this.#unstack(node);
      this.#paid(of, -1);
    }
  }

  /** A trial has paid, or not. */
  #paid(of: Kind, by: 1 | -1): void {
    this.#aim(of, of.coldTarget + by);
  }

  #aim(of: Kind, coldTarget: number): void {
    const most = Math.max(of.capacity - 1, 1);
    const least = Math.min(Math.max(Math.floor(of.capacity / COLD_PART), 1), most);
    of.coldTarget = Math.max(least, Math.min(coldTarget, most));
  }

  #makeHot(of: Kind, pfn: Pfn): void {
    if ((this.#state[pfn] & IN_STACK) !== 0) this.#unstack(pfn);
    const { flags } = this.#frames;
    flags[pfn] = (flags[pfn] & ~(PG.YOUNG | PG.REFERENCED)) | PG.LRU | PG.ACTIVE | PG.WORKINGSET;
    this.#state[pfn] |= HOT;
    this.#pushTop(of, pfn);
    of.nrHot++;
    this.#parts.counters.pgactivate++;
  }

  /**
   * The oldest hot page that was not used twice over becomes a cold one. Twice, because a bit says less than an order: a page that has just
   * been looked at may be used the next moment.
   */
  #coolOne(of: Kind): void {
    const { flags } = this.#frames;
    this.#prune(of);
    for (let nrLeft = 2 * of.nrHot; nrLeft > 0; nrLeft--) {
      const pfn = this.#up[of.sentinel];
      this.#unstack(pfn);
      this.#parts.counters.pgscan_passed++;
      if ((flags[pfn] & (PG.YOUNG | PG.REFERENCED)) !== 0 && nrLeft > 1) {
        flags[pfn] = (flags[pfn] & PG.YOUNG) !== 0 ? (flags[pfn] & ~PG.YOUNG) | PG.REFERENCED : flags[pfn] & ~PG.REFERENCED;
        this.#pushTop(of, pfn);
        this.#prune(of);
        continue;
      }
      this.#state[pfn] &= ~HOT;
      of.nrHot--;
      flags[pfn] &= ~(PG.ACTIVE | PG.REFERENCED);
      this.#frames.pushHead(of.queue, pfn);
      this.#parts.counters.pgdeactivate++;
      this.#prune(of);
      return;
    }
  }

  #coolSome(of: Kind): void {
    while (of.nrHot > of.nrHotWanted) this.#coolOne(of);
  }

  // The pages.

  add(pfn: Pfn, shadow: Cell): void {
    const of = this.#kindOf(pfn);
    if ((this.#state[pfn] & IN_STACK) !== 0) this.#unstack(pfn); // of a page that was freed while it was on no list
    this.#state[pfn] = 0;
    of.noteCome();
    const hasGhost = tagOf(shadow) === CellTag.SHADOW && this.#takeGhost(of, pfn, cellValue(shadow));
    if (hasGhost) {
      this.#paid(of, 1);
      this.#makeHot(of, pfn);
      this.#coolSome(of);
    } else if (of.capacity === 0 || of.nrHot < of.nrHotWanted) this.#makeHot(of, pfn);
    else this.putBack(pfn, PutBack.KEEP);
  }

  /** @returns true if the page's ghost was there. */
  #takeGhost(of: Kind, pfn: Pfn, ghost: number): boolean {
    const { space, index, nrFrames } = this.#frames;
    const { counters } = this.#parts;
    if (of.kind === PageKind.ANON) counters.workingset_refault_anon++;
    else counters.workingset_refault_file++;
    const node = nrFrames + ghost;
    if (ghost >= nrFrames || (this.#state[node] & IN_STACK) === 0) return false;
    if (this.#ghostSpace[ghost] !== space[pfn] || this.#ghostIndex[ghost] !== index[pfn]) return false;
    if (of.kind === PageKind.ANON) counters.workingset_activate_anon++;
    else counters.workingset_activate_file++;
    this.#unstack(node);
    return true;
  }

  evicted(pfn: Pfn): Cell {
    const { space, index, nrFrames, frameClass } = this.#frames;
    const { counters } = this.#parts;
    if (frameClass[pfn] === FrameClass.ANON) counters.workingset_evict_anon++;
    else counters.workingset_evict_file++;
    if ((this.#state[pfn] & IN_STACK) === 0) return 0;
    const ghost = this.#nextGhost;
    this.#nextGhost = (ghost + 1) % nrFrames;
    const node = nrFrames + ghost;
    if ((this.#state[node] & IN_STACK) !== 0) {
      this.#unstack(node);
      this.#paid(this.#kinds[(this.#state[node] & IS_ANON) !== 0 ? PageKind.ANON : PageKind.FILE], -1);
    }
    this.#ghostSpace[ghost] = space[pfn];
    this.#ghostIndex[ghost] = index[pfn];
    this.#haunt(pfn, node);
    return ((ghost << 2) | CellTag.SHADOW) >>> 0;
  }

  /** The ghost takes the page's place. */
  #haunt(pfn: Pfn, node: number): void {
    const up = this.#up[pfn];
    const down = this.#down[pfn];
    this.#up[node] = up;
    this.#down[node] = down;
    this.#down[up] = node;
    this.#up[down] = node;
    this.#state[node] = this.#frames.frameClass[pfn] === FrameClass.ANON ? IN_STACK | IS_ANON : IN_STACK;
    this.#state[pfn] = 0;
  }

  putBack(pfn: Pfn, where: PutBack): void {
    const frames = this.#frames;
    const of = this.#kindOf(pfn);
    if (where === PutBack.ACTIVATE) {
      this.#makeHot(of, pfn);
      return;
    }
    frames.flags[pfn] = (frames.flags[pfn] & ~PG.ACTIVE) | PG.LRU;
    if (where === PutBack.SOON) frames.pushTail(of.queue, pfn);
    else {
      if ((this.#state[pfn] & IN_STACK) === 0) this.#pushTop(of, pfn);
      frames.pushHead(of.queue, pfn);
    }
  }

  remove(pfn: Pfn): void {
    const { flags } = this.#frames;
    const of = this.#kindOf(pfn);
    if ((this.#state[pfn] & IN_STACK) !== 0) this.#unstack(pfn);
    if ((flags[pfn] & PG.LRU) !== 0) {
      if ((this.#state[pfn] & HOT) !== 0) of.nrHot--;
      else this.#frames.unlink(of.queue, pfn);
    }
    flags[pfn] &= ~(PG.LRU | PG.ACTIVE);
    this.#state[pfn] = 0;
    this.#prune(of);
  }

  rotate(pfn: Pfn): void {
    this.remove(pfn);
    this.putBack(pfn, PutBack.SOON);
  }

  isolate(kind: PageKind, into: Uint32Array, max: number): number {
    const of = this.#kinds[kind];
    const { flags, listLength } = this.#frames;
    of.capacity = this.count(kind);
    this.#aim(of, of.coldTarget);
    this.#coolSome(of);
    let n = 0;
    for (let nrLeft = of.capacity; nrLeft > 0 && n < max; nrLeft--) {
      if (listLength[of.queue] === 0) this.#coolOne(of);
      const pfn = this.#frames.tailOf(of.queue);
      if (pfn < 0) break;
      this.#frames.unlink(of.queue, pfn);
      flags[pfn] &= ~PG.LRU;
      if ((flags[pfn] & PG.YOUNG) === 0) into[n++] = pfn;
      else {
        this.#parts.counters.pgscan_passed++;
        this.#used(of, pfn);
      }
    }
    of.nrGiven += n;
    return n;
  }

  /** The next to go was used. */
  #used(of: Kind, pfn: Pfn): void {
    const { flags } = this.#frames;
    flags[pfn] &= ~(PG.YOUNG | PG.REFERENCED);
    if ((this.#state[pfn] & IN_STACK) === 0) {
      this.putBack(pfn, PutBack.KEEP);
      return;
    }
    this.#paid(of, 1);
    this.#makeHot(of, pfn);
    this.#coolSome(of);
  }

  older(kind: PageKind, after: Pfn): Pfn {
    const of = this.#kinds[kind];
    const { prev, nrFrames } = this.#frames;
    const endOfQueue = nrFrames + of.queue;
    if (after < 0 || (this.#state[after] & HOT) === 0) {
      const pfn = prev[after < 0 ? endOfQueue : after];
      return pfn === endOfQueue ? this.#hotAbove(of, of.sentinel) : pfn;
    }
    return this.#hotAbove(of, after);
  }

  #hotAbove(of: Kind, node: number): Pfn {
    let next = this.#up[node];
    while (next !== of.sentinel && (this.#state[next] & HOT) === 0) next = this.#up[next];
    return next === of.sentinel ? -1 : next;
  }
}

/** CLOCK-Pro, for `REPLACEMENT_POLICY`. */
export const clockProPolicy: ReplacementPolicyFactory = (parts) => new ClockProPolicy(parts);
