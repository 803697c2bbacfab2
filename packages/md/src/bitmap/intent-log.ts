/**
 * The rules of the write-intent bitmap (M17), in memory: what is to be written when is said, nothing is written here.
 *
 * A counter: bit 15 *needed* (the members may differ), bit 14 *resync* (they are being made equal), 14 bits of count:
 *
 *     0  the bit is clear     1  idle, to be cleared     2  idle a short time ago     n > 2  n − 2 writes under way
 *
 *     write starts   0 → the bits of all chunks it counts for are set, 2; 1 → 2; then + 1
 *     write ends     array healthy and events-cleared behind: raised, the superblock is due. A slot missed it: needed. − 1; at ≤ 2 it is pending
 *     daemon         2 → 1; 1 → 0 and the bits are cleared, unless the superblock is due
 *     from storage   1 → 2, with needed where the members may differ
 *
 * A counter with *needed* or *resync* never comes to 2 or less, so the daemon never clears it (trap 14).
 */
import { invariant } from '@tidemark/core';
import type { BitmapBits } from './bits.js';
import { type ChunkCounters, COUNT_MAX, GROUP_CHUNKS } from './chunk-counters.js';

export const NEEDED = 0x8000;
export const RESYNC = 0x4000;

export class IntentLog {
  /** Events when a bit was last cleared, healthy. */
  eventsCleared = 0n;
  /** `eventsCleared` is not on the backing yet. */
  isSuperblockDue = false;
  /** Something is pending; what has come to 1 since it was last asked. */
  #hasPending = false;
  #hasIdle = false;

  constructor(
    readonly bits: BitmapBits,
    readonly counters: ChunkCounters,
  ) {}

  get nrChunks(): number {
    return this.counters.nrChunks;
  }

  /** True if the daemon has something to do. */
  get hasWork(): boolean {
    return this.#hasPending || this.#hasIdle || this.isSuperblockDue;
  }

  /** True if a pass of the daemon could clear bits. */
  get hasIdle(): boolean {
    return this.#hasIdle;
  }

  /** A write of chunks `first` … `last` starts. It may go on when `bits.isStored` says so. */
  startWrite(first: number, last: number): void {
    const { bits, counters } = this;
    if (first === last && counters.addOwn(first, 2, 1) > 0) return;
    for (let chunk = first; chunk <= last; ) {
      counters.prepare(chunk);
      let counter = counters.get(chunk);
      const end = counters.spanEnd(chunk);
      if (counter === 0) {
        bits.set(counters.spanStart(chunk), end);
        counter = 2;
      } else if (counter === 1) counter = 2;
      // An array has far fewer requests than this; each counts once.
      invariant((counter & COUNT_MAX) < COUNT_MAX, 'a chunk has no more writes under way than its counter counts');
      counters.set(chunk, counter + 1);
      chunk = end;
    }
  }

  /**
   * That write has ended.
   * @param isEverywhere it is on a member in every slot.
   * @param events of the array while it is healthy, else 0.
   */
  endWrite(first: number, last: number, isEverywhere: boolean, events: bigint): void {
    if (isEverywhere && this.eventsCleared < events) {
      this.eventsCleared = events;
      this.isSuperblockDue = true;
    }
    const { counters } = this;
    if (first === last && isEverywhere) {
      const counter = counters.addOwn(first, 3, -1);
      if (counter > 2) return;
      if (counter === 2) {
        this.#setPending(first);
        return;
      }
    }
    for (let chunk = first; chunk <= last; chunk = counters.spanEnd(chunk)) {
      const counter = (counters.get(chunk) | (isEverywhere ? 0 : NEEDED)) - 1;
      invariant((counter & COUNT_MAX) >= 2, 'a write ends once');
      counters.set(chunk, counter);
      if (counter <= 2) this.#setPending(chunk);
    }
  }

  #setPending(chunk: number): void {
    this.counters.setPending(chunk);
    this.#hasPending = true;
  }

  /** One step of the daemon, while the array is healthy and what its members acknowledged is durable. */
  step(): void {
    const { counters } = this;
    this.#hasPending = false;
    this.#hasIdle = false;
    for (let group = 0; group < counters.nrGroups; group++) {
      if (!counters.takePending(group)) continue;
      const end = Math.min((group + 1) * GROUP_CHUNKS, this.nrChunks);
      for (let chunk = group * GROUP_CHUNKS; chunk < end && !counters.isGroupIdle(group); ) {
        const next = counters.spanEnd(chunk);
        this.#stepOne(chunk, next);
        chunk = next;
      }
    }
  }

  #stepOne(chunk: number, end: number): void {
    const { counters } = this;
    const counter = counters.get(chunk);
    if (counter === 1 && !this.isSuperblockDue) {
      this.bits.clear(counters.spanStart(chunk), end);
      counters.set(chunk, 0);
    } else if (counter === 1 || counter === 2) {
      counters.set(chunk, 1);
      this.#setPending(chunk);
      this.#hasIdle = true;
    }
  }

  /** What was read from storage: bits that are set count as 2, from chunk `needFrom` on with *needed*. */
  load(needFrom: number): void {
    const { counters } = this;
    for (let chunk = 0; chunk < this.nrChunks; chunk++) {
      if (!this.bits.test(chunk)) continue;
      counters.prepare(chunk);
      const isNeeded = counters.spanEnd(chunk) > needFrom;
      if (counters.get(chunk) === 0) {
        const end = counters.spanEnd(chunk);
        if (end > chunk + 1) this.bits.set(counters.spanStart(chunk), end);
        counters.set(chunk, 2);
        this.#setPending(chunk);
      }
      if (isNeeded) counters.set(chunk, counters.get(chunk) | NEEDED);
    }
  }

  /** The chunk, and all that are counted with it, may differ. */
  need(chunk: number): void {
    const { counters } = this;
    counters.prepare(chunk);
    if (counters.get(chunk) === 0) this.bits.set(counters.spanStart(chunk), counters.spanEnd(chunk));
    counters.set(chunk, Math.max(counters.get(chunk), 2) | NEEDED);
  }

  /** Every chunk whose bit is set may differ: a member comes back. */
  needWhatIsSet(): void {
    const { counters } = this;
    for (let chunk = 0; chunk < this.nrChunks; chunk = counters.spanEnd(chunk)) if (counters.get(chunk) !== 0) this.need(chunk);
  }

  /**
   * The members are about to be made equal in a chunk.
   * @param willBeHealthy none is missing afterwards; else *needed* stays for the one that is.
   * @returns whether that is needed.
   */
  startSync(chunk: number, willBeHealthy: boolean): boolean {
    const counter = this.counters.get(chunk);
    if ((counter & (NEEDED | RESYNC)) === 0) return false;
    if (willBeHealthy) this.counters.set(chunk, (counter & ~NEEDED) | RESYNC);
    return true;
  }

  /** They are equal now, or it was given up. */
  endSync(chunk: number, isDone: boolean): void {
    const counter = this.counters.get(chunk);
    if ((counter & RESYNC) === 0) return;
    const after = (counter & ~RESYNC) | (isDone ? 0 : NEEDED);
    this.counters.set(chunk, after);
    if (after <= 2) this.#setPending(chunk);
  }

  /** Chunks whose members may differ. */
  get nrNeeded(): number {
    let count = 0;
    for (let chunk = 0; chunk < this.nrChunks; chunk++) if ((this.counters.get(chunk) & (NEEDED | RESYNC)) !== 0) count++;
    return count;
  }

  free(): void {
    this.counters.free();
    this.bits.free();
  }
}
