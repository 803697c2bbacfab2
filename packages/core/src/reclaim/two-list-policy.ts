/**
 * Active and inactive lists with refault distance (M18): the policy that is known from Linux, for comparison and for who wants it.
 *
 *     new page ──► inactive ──(young twice)──► active        anon and file apart, newest at the head
 *                     │  ▲                        │
 *                  evicted └──(inactive is low)───┘
 *                     │
 *                  shadow {age, workingset} stays in the page's cell
 *
 * Age counts evictions and activations, modulo 2^29. A page that comes back with distance = age now − age then would have stayed if
 * the inactive list had been longer by that much; if the distance is at most what the active lists hold, it takes a place there.
 */
import type { Pfn } from '../mm/arena.js';
import { type Cell, CellTag, shadowAge, shadowCell, shadowWorkingset, tagOf } from '../mm/cell.js';
import { FrameClass, type FrameTable, PG } from '../mm/frame-table.js';
import { isqrt } from '../mm/watermarks.js';
import { PageKind, type PolicyParts, PutBack, type ReplacementPolicy, type ReplacementPolicyFactory } from './replacement-policy.js';

const AGE_MASK = 2 ** 29 - 1;
const FRAMES_PER_GIB = 2 ** 18;
/** Pages moved from active to inactive at most for each page asked for. */
const DEACTIVATE_FACTOR = 2;

class TwoListPolicy implements ReplacementPolicy {
  readonly #frames: FrameTable;
  readonly #parts: PolicyParts;
  /** List ids by kind. */
  readonly #inactive: readonly [number, number];
  readonly #active: readonly [number, number];
  #age = 0;

  constructor(parts: PolicyParts) {
    this.#parts = parts;
    this.#frames = parts.frames;
    this.#inactive = [parts.frames.createList(), parts.frames.createList()];
    this.#active = [parts.frames.createList(), parts.frames.createList()];
  }

  #kindOf(pfn: Pfn): PageKind {
    return this.#frames.frameClass[pfn] === FrameClass.ANON ? PageKind.ANON : PageKind.FILE;
  }

  count(kind: PageKind): number {
    return this.#frames.listLength[this.#inactive[kind]] + this.#frames.listLength[this.#active[kind]];
  }

  countInactive(kind: PageKind): number {
    return this.#frames.listLength[this.#inactive[kind]];
  }

  add(pfn: Pfn, shadow: Cell): void {
    let where: PutBack = PutBack.KEEP;
    if (tagOf(shadow) === CellTag.SHADOW) where = this.#refault(pfn, shadow);
    this.putBack(pfn, where);
  }

  #refault(pfn: Pfn, shadow: Cell): PutBack {
    const kind = this.#kindOf(pfn);
    const { counters } = this.#parts;
    if (kind === PageKind.ANON) counters.workingset_refault_anon++;
    else counters.workingset_refault_file++;
    const distance = (this.#age - shadowAge(shadow)) & AGE_MASK;
    const { listLength } = this.#frames;
    let workingset = listLength[this.#active[PageKind.FILE]];
    if (kind === PageKind.ANON) workingset += listLength[this.#inactive[PageKind.FILE]];
    if (this.#parts.maySwap()) {
      workingset += listLength[this.#active[PageKind.ANON]];
      if (kind === PageKind.FILE) workingset += listLength[this.#inactive[PageKind.ANON]];
    }
    if (shadowWorkingset(shadow)) this.#frames.flags[pfn] |= PG.WORKINGSET;
    if (distance > workingset) return PutBack.KEEP;
    if (kind === PageKind.ANON) counters.workingset_activate_anon++;
    else counters.workingset_activate_file++;
    return PutBack.ACTIVATE;
  }

  evicted(pfn: Pfn): Cell {
    const { counters } = this.#parts;
    if (this.#frames.frameClass[pfn] === FrameClass.ANON) counters.workingset_evict_anon++;
    else counters.workingset_evict_file++;
    const age = this.#age;
    this.#age = (age + 1) & AGE_MASK;
    return shadowCell(age, (this.#frames.flags[pfn] & PG.WORKINGSET) !== 0);
  }

  putBack(pfn: Pfn, where: PutBack): void {
    const frames = this.#frames;
    const kind = this.#kindOf(pfn);
    if (where === PutBack.ACTIVATE) {
      frames.flags[pfn] = (frames.flags[pfn] & ~PG.REFERENCED) | PG.LRU | PG.ACTIVE | PG.WORKINGSET;
      frames.pushHead(this.#active[kind], pfn);
      this.#parts.counters.pgactivate++;
      this.#age = (this.#age + 1) & AGE_MASK;
      return;
    }
    frames.flags[pfn] = (frames.flags[pfn] & ~PG.ACTIVE) | PG.LRU;
    if (where === PutBack.SOON) frames.pushTail(this.#inactive[kind], pfn);
    else frames.pushHead(this.#inactive[kind], pfn);
  }

  remove(pfn: Pfn): void {
    const frames = this.#frames;
    const flags = frames.flags[pfn];
    if ((flags & PG.LRU) === 0) return;
    const kind = this.#kindOf(pfn);
    frames.unlink((flags & PG.ACTIVE) !== 0 ? this.#active[kind] : this.#inactive[kind], pfn);
    frames.flags[pfn] = flags & ~(PG.LRU | PG.ACTIVE);
  }

  rotate(pfn: Pfn): void {
    this.remove(pfn);
    this.putBack(pfn, PutBack.SOON);
  }

  isolate(kind: PageKind, into: Uint32Array, max: number): number {
    if (this.#inactiveIsLow(kind)) this.#deactivate(kind, max * DEACTIVATE_FACTOR);
    const frames = this.#frames;
    const list = this.#inactive[kind];
    let n = 0;
    while (n < max) {
      const pfn = frames.tailOf(list);
      if (pfn < 0) break;
      frames.unlink(list, pfn);
      frames.flags[pfn] &= ~PG.LRU;
      into[n++] = pfn;
    }
    return n;
  }

  older(kind: PageKind, after: Pfn): Pfn {
    const { prev, nrFrames } = this.#frames;
    const endOfInactive = nrFrames + this.#inactive[kind];
    let pfn = prev[after < 0 ? endOfInactive : after];
    if (pfn === endOfInactive) pfn = prev[nrFrames + this.#active[kind]];
    return pfn < nrFrames ? pfn : -1;
  }

  #inactiveIsLow(kind: PageKind): boolean {
    const { listLength, nrFrames } = this.#frames;
    const gib = Math.floor(nrFrames / FRAMES_PER_GIB);
    const ratio = gib < 1 ? 1 : isqrt(10 * gib);
    return listLength[this.#inactive[kind]] * ratio < listLength[this.#active[kind]];
  }

  #deactivate(kind: PageKind, max: number): void {
    const frames = this.#frames;
    for (let n = 0; n < max; n++) {
      const pfn = frames.tailOf(this.#active[kind]);
      if (pfn < 0) return;
      frames.unlink(this.#active[kind], pfn);
      frames.flags[pfn] &= ~(PG.ACTIVE | PG.REFERENCED);
      frames.pushHead(this.#inactive[kind], pfn);
      this.#parts.counters.pgdeactivate++;
    }
  }
}

/** Two lists, for `REPLACEMENT_POLICY`. */
export const twoListPolicy: ReplacementPolicyFactory = (parts) => new TwoListPolicy(parts);
