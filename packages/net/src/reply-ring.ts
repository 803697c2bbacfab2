/**
 * Reply ring: the transmit memory of one connection of a server, and the order in which replies leave it.
 *
 *     | … free … | oldest entry | entry | … | newest entry | … free … |
 *                ^ tail                                    ^ head
 *
 * Every request reserves its reply, the largest it can be, when it is taken in, so an end never waits for memory, and a client
 * that does not read its replies stops the intake when the ring is full. Entries are completed in any order; neighbours completed one
 * after the other leave in one send. Memory is reused from the oldest entry on, once the host has taken it.
 */
import { invariant, type StandingMemory } from '@tidemark/core';

const FREE = 0;
const RESERVED = 1;
const COMPLETE = 2;
const SENT = 3;

export class ReplyRing {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Arena address of the first byte. */
  readonly address: number;
  readonly sizeBytes: number;
  /** Where each entry begins in `bytes`. */
  readonly start: Uint32Array;
  readonly #length: Uint32Array;
  readonly #state: Uint8Array;
  readonly #nrEntries: number;
  #oldest = 0;
  #count = 0;
  #nrReserved = 0;
  #head = 0;
  /** The run of complete neighbours that has not been sent. */
  #runFirst = 0;
  #runCount = 0;
  #runStart = 0;
  #runEnd = 0;
  /** Entries of each send under way, oldest first. */
  readonly #sendFirst: Uint32Array;
  readonly #sendCount: Uint32Array;
  #sendOldest = 0;
  #nrSends = 0;
  readonly #onSent = (): void => this.#sendEnded();

  /**
   * @param nrEntries replies at once, whatever their size.
   * @param send gives bytes to the socket.
   * @param onRoom called when entries became free.
   */
  constructor(
    memory: StandingMemory,
    nrEntries: number,
    private readonly send: (bytes: Uint8Array, onSent: () => void) => void,
    private readonly onRoom: () => void,
  ) {
    this.bytes = memory.bytes;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.address = memory.address;
    this.sizeBytes = this.bytes.byteLength;
    this.#nrEntries = nrEntries;
    this.start = new Uint32Array(nrEntries);
    this.#length = new Uint32Array(nrEntries);
    this.#state = new Uint8Array(nrEntries);
    this.#sendFirst = new Uint32Array(nrEntries);
    this.#sendCount = new Uint32Array(nrEntries);
  }

  /** Nothing is reserved, complete or on its way. */
  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Entries reserved and not complete. */
  get nrReserved(): number {
    return this.#nrReserved;
  }

  /** Reserves a contiguous reply. @returns its entry, or −1 if there is no room now. */
  reserve(lengthBytes: number): number {
    if (this.#count === this.#nrEntries) return -1;
    let at = this.#head;
    if (this.#count === 0) {
      at = 0;
      if (lengthBytes > this.sizeBytes) return -1;
    } else {
      const tail = this.start[this.#oldest];
      if (at <= tail) {
        if (tail - at < lengthBytes) return -1;
      } else if (this.sizeBytes - at < lengthBytes) {
        if (tail < lengthBytes) return -1;
        at = 0;
      }
    }
    const entry = (this.#oldest + this.#count) % this.#nrEntries;
    this.#count++;
    this.#nrReserved++;
    this.#head = at + lengthBytes;
    this.start[entry] = at;
    this.#length[entry] = lengthBytes;
    this.#state[entry] = RESERVED;
    return entry;
  }

  /** Bytes that were reserved for an entry. */
  lengthOf(entry: number): number {
    return this.#length[entry];
  }

  /** The first `lengthBytes` of an entry (all of it by default) are what is to be sent. */
  complete(entry: number, lengthBytes = this.#length[entry]): void {
    invariant(this.#state[entry] === RESERVED, 'a reply was completed that was not reserved');
    this.#state[entry] = COMPLETE;
    this.#nrReserved--;
    const at = this.start[entry];
    const follows = this.#runCount > 0 && at === this.#runEnd && entry === (this.#runFirst + this.#runCount) % this.#nrEntries;
    if (!follows) {
      this.flush();
      this.#runFirst = entry;
      this.#runStart = at;
    }
    this.#runCount++;
    this.#runEnd = at + lengthBytes;
  }

  /** Sends what is complete. */
  flush(): void {
    if (this.#runCount === 0) return;
    const slot = (this.#sendOldest + this.#nrSends++) % this.#nrEntries;
    this.#sendFirst[slot] = this.#runFirst;
    this.#sendCount[slot] = this.#runCount;
    this.#runCount = 0;
    this.send(this.bytes.subarray(this.#runStart, this.#runEnd), this.#onSent);
  }

  #sendEnded(): void {
    const slot = this.#sendOldest;
    this.#sendOldest = (slot + 1) % this.#nrEntries;
    this.#nrSends--;
    for (let i = 0, entry = this.#sendFirst[slot]; i < this.#sendCount[slot]; i++) {
      this.#state[entry] = SENT;
      entry = (entry + 1) % this.#nrEntries;
    }
    while (this.#count > 0 && this.#state[this.#oldest] === SENT) {
      this.#state[this.#oldest] = FREE;
      this.#oldest = (this.#oldest + 1) % this.#nrEntries;
      this.#count--;
    }
    this.onRoom();
  }
}
