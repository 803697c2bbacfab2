/**
 * Request slots: the pre-attached request objects of one device, in typed arrays, with their header buffers in standing memory.
 *
 *     0 … nrUnits − 1    reads, writes, discards, write-zeroes: one slot and as many units as pages
 *     nrUnits            FLUSH, which so never waits for a unit
 *     nrUnits + 1        DISC: a header buffer only
 *
 * A slot's number is the lower half of its cookie. A slot is answered and sent in either order, and over when both are true: until the
 * host has taken what was sent, the pages belong to it, whatever the server says.
 */
import type { Bio, StandingMemory } from '@tidemark/core';
import { REQUEST_BYTES } from '../protocol/constants.js';

/** Frames of the header buffers for `nrUnits`. */
export function headerFrames(nrUnits: number): number {
  return Math.ceil(((nrUnits + 2) * REQUEST_BYTES) / 4096);
}

/** Bits of `state`. */
export const SlotState = { FREE: 0, BUSY: 1, SENT: 2, ANSWERED: 4 } as const;

export class RequestSlots {
  readonly flushSlot: number;
  readonly discSlot: number;
  readonly state: Uint8Array;
  readonly status: Int32Array;
  /** The request of each busy slot. */
  readonly bios: (Bio | null)[];
  /** Bytes of a discard or write-zeroes that are done, and of the part in flight: long ranges go out in parts. */
  readonly doneBytes: Float64Array;
  readonly partBytes: Float64Array;
  readonly headers: DataView;
  readonly headerBytes: Uint8Array[] = [];
  /** Called by the socket when what was sent for a slot is with the host. */
  readonly onSent: (() => void)[] = [];
  readonly #units: Uint16Array;
  readonly #free: number[] = [];
  #unitsFree: number;

  constructor(
    memory: StandingMemory,
    readonly nrUnits: number,
    sent: (slot: number) => void,
  ) {
    const nrSlots = nrUnits + 1;
    this.flushSlot = nrUnits;
    this.discSlot = nrUnits + 1;
    this.state = new Uint8Array(nrSlots);
    this.status = new Int32Array(nrSlots);
    this.bios = new Array<Bio | null>(nrSlots).fill(null);
    this.doneBytes = new Float64Array(nrSlots);
    this.partBytes = new Float64Array(nrSlots);
    this.#units = new Uint16Array(nrSlots);
    this.#unitsFree = nrUnits;
    this.headers = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.bytes.byteLength);
    for (let slot = 0; slot <= this.discSlot; slot++) {
      this.headerBytes.push(memory.bytes.subarray(slot * REQUEST_BYTES, (slot + 1) * REQUEST_BYTES));
      this.onSent.push(() => sent(slot));
    }
    for (let slot = nrUnits - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  /** Slots in use, FLUSH's among them. */
  get nrBusy(): number {
    return this.nrUnits - this.#free.length + (this.state[this.flushSlot] === SlotState.FREE ? 0 : 1);
  }

  /** Takes a slot and `units` for a request. @returns the slot, or −1 if they are not there. */
  take(bio: Bio, units: number): number {
    if (units > this.#unitsFree || this.#free.length === 0) return -1;
    const slot = this.#free.pop() as number;
    this.#unitsFree -= units;
    this.#units[slot] = units;
    this.#begin(slot, bio);
    return slot;
  }

  /** Takes the slot of FLUSH. @returns false if a flush is in flight. */
  takeFlush(bio: Bio): boolean {
    if (this.state[this.flushSlot] !== SlotState.FREE) return false;
    this.#begin(this.flushSlot, bio);
    return true;
  }

  #begin(slot: number, bio: Bio): void {
    this.state[slot] = SlotState.BUSY;
    this.status[slot] = 0;
    this.doneBytes[slot] = 0;
    this.bios[slot] = bio;
  }

  /** Gives a slot and its units back. @returns the request it held. */
  release(slot: number): Bio {
    const bio = this.bios[slot] as Bio;
    this.bios[slot] = null;
    this.state[slot] = SlotState.FREE;
    if (slot !== this.flushSlot) {
      this.#unitsFree += this.#units[slot];
      this.#free.push(slot);
    }
    return bio;
  }
}
