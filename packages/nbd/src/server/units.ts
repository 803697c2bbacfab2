/**
 * Units of a server (M16, M21): what it works on at once, a page of payload each. A piece of a request holds the units of its pages until the
 * device has ended it; FLUSH takes none. Each client of this kernel has a set of its own, of as many units as its own node has, so its
 * requests never wait for one; all strangers share another, so that however many they are they never have more of the devices.
 *
 * Who finds too few stops reading its socket, and is told, first come first served, when there are enough.
 */
import { invariant } from '@tidemark/core';

/** Somebody who may have to wait for units. */
export interface UnitWaiter {
  /** There may be room: ask again. */
  onRoom(): void;
}

export class ServerUnits {
  #nrFree: number;
  /** Who waits, longest first, and for how many. */
  readonly #waiting = new Map<UnitWaiter, number>();

  constructor(readonly nrUnits: number) {
    this.#nrFree = nrUnits;
  }

  get nrFree(): number {
    return this.#nrFree;
  }

  /** True if `count` units, `nrUnits` at most, are `waiter`'s to take now. If not, it is told when they may be. */
  has(count: number, waiter: UnitWaiter): boolean {
    invariant(count <= this.nrUnits, 'more units are wanted than there will ever be');
    const [first] = this.#waiting.keys();
    if ((first === undefined || first === waiter) && count <= this.#nrFree) {
      this.#waiting.delete(waiter);
      return true;
    }
    this.#waiting.set(waiter, count);
    return false;
  }

  /** Takes units, after `has` has said so. */
  take(count: number): void {
    this.#nrFree -= count;
    invariant(this.#nrFree >= 0, 'units were taken that were not there');
  }

  /** Gives units back, and tells who has waited longest. */
  give(count: number): void {
    this.#nrFree += count;
    invariant(this.#nrFree <= this.nrUnits, 'more units were given back than taken');
    this.#tell();
  }

  /** `waiter` wants nothing any more. */
  leave(waiter: UnitWaiter): void {
    if (this.#waiting.delete(waiter)) this.#tell();
  }

  #tell(): void {
    for (let first = this.#first(); first !== null && first.count <= this.#nrFree; ) {
      first.waiter.onRoom();
      const next = this.#first();
      if (next?.waiter === first.waiter) return; // it waits for something else too, and asks again when it has that
      first = next;
    }
  }

  #first(): { waiter: UnitWaiter; count: number } | null {
    for (const [waiter, count] of this.#waiting) return { waiter, count };
    return null;
  }
}
