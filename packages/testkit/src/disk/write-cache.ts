/**
 * A disk's write cache, and what a crash leaves of it.
 *
 *     durable image ← settled, settled │ volatile, settled, volatile …      in the order in which writes ended
 *
 * A write is *volatile* when it has ended, and *settled* when a flush that was issued later has ended too, or at once with FUA. Settled
 * writes behind a volatile one wait for it, so that an older write never covers a newer one. A crash keeps every settled write, and of each
 * volatile one all, nothing, or some of its 512-byte sectors; so it may seem reordered. Writes in flight are treated as volatile ones that
 * ended last.
 */
import type { Random } from '../time/random.js';
import { DiskImage, SECTOR_BYTES } from './disk-image.js';

/** One write that a disk has ended. */
export interface CachedWrite {
  readonly offsetBytes: number;
  /** Never changed. */
  readonly bytes: Uint8Array;
  isSettled: boolean;
}

/** Most volatile writes of which every subset is tried. */
const EXHAUSTIVE_MAX = 6;

/** A disk’s write cache: what is durable, what may be lost, and what a crash may leave of it. */
export class WriteCache {
  readonly #durable: DiskImage;
  #visible: DiskImage;
  #writes: CachedWrite[] = [];
  #nrDropped = 0;

  constructor(image: DiskImage) {
    this.#durable = image.clone();
    this.#visible = image.clone();
  }

  /** What a read sees. */
  get visible(): DiskImage {
    return this.#visible;
  }

  /** Writes that a crash may lose. */
  get nrVolatile(): number {
    return this.#writes.reduce((count, { isSettled }) => count + (isSettled ? 0 : 1), 0);
  }

  /** Writes so far: a flush that is issued now covers as many. */
  get mark(): number {
    return this.#nrDropped + this.#writes.length;
  }

  /** A write has ended. */
  add(offsetBytes: number, bytes: Uint8Array, isSettled: boolean): void {
    this.#visible.write(offsetBytes, bytes);
    this.#writes.push({ offsetBytes, bytes, isSettled });
    if (isSettled) this.#drop();
  }

  /** A flush has ended that was issued at `mark`. */
  settle(mark: number): void {
    for (let i = 0; i < mark - this.#nrDropped; i++) this.#writes[i].isSettled = true;
    this.#drop();
  }

  #drop(): void {
    let count = 0;
    for (; count < this.#writes.length && this.#writes[count].isSettled; count++) {
      this.#durable.write(this.#writes[count].offsetBytes, this.#writes[count].bytes);
    }
    if (count > 0) this.#writes.splice(0, count);
    this.#nrDropped += count;
  }

  /** Loses every volatile write, as power does that fails and comes back. */
  lose(): void {
    this.#nrDropped += this.nrVolatile;
    this.#writes = this.#writes.filter(({ isSettled }) => isSettled);
    this.#drop();
    this.#visible = this.#durable.clone();
  }

  /** One image that a restart may find. @param inFlight writes that had not ended, in any order. */
  crash(random: Random, inFlight: readonly CachedWrite[] = []): DiskImage {
    return this.#imageOf(inFlight, () => random.below(3), random);
  }

  /**
   * Images that a restart may find: every choice of whole volatile writes if there are at most six, else `nrSamples` of them; and
   * `nrSamples` with torn writes.
   */
  *crashes(random: Random, nrSamples: number, inFlight: readonly CachedWrite[] = []): Generator<DiskImage, void, undefined> {
    const count = this.nrVolatile + inFlight.length;
    if (count <= EXHAUSTIVE_MAX) {
      for (let subset = 0; subset < 2 ** count; subset++) {
        let bit = 0;
        yield this.#imageOf(inFlight, () => (subset >> bit++) & 1, random);
      }
    } else for (let i = 0; i < nrSamples; i++) yield this.#imageOf(inFlight, () => random.below(2), random);
    if (count > 0) for (let i = 0; i < nrSamples; i++) yield this.crash(random, inFlight);
  }

  /** @param fate of each volatile write: 0 lost, 1 kept, 2 torn. */
  #imageOf(inFlight: readonly CachedWrite[], fate: () => number, random: Random): DiskImage {
    const image = this.#durable.clone();
    for (const write of [...this.#writes, ...inFlight]) {
      const what = write.isSettled ? 1 : fate();
      if (what === 1) image.write(write.offsetBytes, write.bytes);
      else if (what === 2) for (const piece of tear(write, random)) image.write(piece.offsetBytes, piece.bytes);
    }
    return image;
  }
}

/** Some of a write's sectors. */
export function tear(write: { readonly offsetBytes: number; readonly bytes: Uint8Array }, random: Random): CachedWrite[] {
  const pieces: CachedWrite[] = [];
  for (let at = 0; at < write.bytes.length; at += SECTOR_BYTES) {
    if (random.chance(0.5))
      pieces.push({ offsetBytes: write.offsetBytes + at, bytes: write.bytes.subarray(at, at + SECTOR_BYTES), isSettled: false });
  }
  return pieces;
}
