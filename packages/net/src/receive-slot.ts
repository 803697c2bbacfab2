/**
 * Receive slot: the contiguous memory into which one connection receives (M12), and the one place where a message that was cut
 * by the end of a read is put together again.
 *
 *     0            start                end                 size
 *     |  held …    |  unconsumed bytes  |  next read goes …  |
 *
 * The transport reads to `end` and onwards. The parser looks at `start … end`, takes what is complete with `consume`, and leaves
 * the rest: a cut header, or a payload's last bytes. Before the next read that rest is moved to the front if little room is left
 * behind it, so a parser never sees a header in two parts and copies nothing itself.
 *
 * A parser may `hold` the bytes it has consumed (a write to disk that has not ended, straight out of the slot). Held bytes stay where
 * they are: reading goes on behind them while at least half a slot is free there, else it waits until nothing is held.
 *
 * The slot belongs to the connection's owner and outlives its sockets: each new socket begins with `reset`.
 */
import { invariant, type StandingMemory } from '@tidemark/core';

/** One connection's receive memory. */
export class ReceiveSlot {
  /** The bytes of the slot. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Arena address of the first byte, for bios that point into the slot. */
  readonly address: number;
  readonly sizeBytes: number;
  /** Index of the first byte not consumed. */
  start = 0;
  /** Index behind the last byte received. */
  end = 0;
  #target = 0;
  #nrHeld = 0;

  constructor(memory: StandingMemory) {
    this.bytes = memory.bytes;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.address = memory.address;
    this.sizeBytes = this.bytes.byteLength;
  }

  /** Bytes received and not consumed. */
  get length(): number {
    return this.end - this.start;
  }

  /** Pieces of the slot that somebody still reads. */
  get nrHeld(): number {
    return this.#nrHeld;
  }

  /** Takes `lengthBytes` from the front of what was received. */
  consume(lengthBytes: number): void {
    this.start += lengthBytes;
    invariant(this.start <= this.end, 'more was consumed than received');
  }

  /** Keeps everything consumed so far in place until as many `release` calls. */
  hold(): void {
    this.#nrHeld++;
  }

  release(): void {
    invariant(this.#nrHeld > 0, 'a receive slot was released more often than held');
    this.#nrHeld--;
  }

  /** For transports, at the birth of a socket: the slot is empty. */
  reset(): void {
    invariant(this.#nrHeld === 0, 'a receive slot was given to a new socket while held');
    this.start = this.end = this.#target = 0;
  }

  /** For transports: `lengthBytes` were read to where `target` said. */
  received(lengthBytes: number): void {
    this.end = this.#target + lengthBytes;
    invariant(this.end <= this.sizeBytes, 'a read ran over the end of its slot');
  }

  /**
   * For transports, after the parser has had its look: decides where the next read goes. The decision stands until that read has
   * happened, because the host wants to know it at once, even if reading pauses; `takeUp` tells when it may begin.
   */
  plan(): void {
    if (this.start === this.end && this.#nrHeld === 0) this.#target = 0;
    else if (this.sizeBytes - this.end >= this.sizeBytes / 2) this.#target = this.end;
    else this.#target = Math.min(this.length, this.sizeBytes / 2);
  }

  /**
   * For transports: makes the planned place ready, by moving what is unconsumed to just before it.
   * @returns false if held or unconsumed bytes are still in the way.
   */
  takeUp(): boolean {
    if (this.#target === this.end) return true;
    const length = this.length;
    if (this.#nrHeld > 0 || length > this.#target) return false;
    if (length > 0) this.bytes.copyWithin(this.#target - length, this.start, this.end);
    this.start = this.#target - length;
    this.end = this.#target;
    return true;
  }

  /** For transports: the memory of the next read. No new object in the common case of an empty slot. */
  target(): Uint8Array {
    return this.#target === 0 ? this.bytes : this.bytes.subarray(this.#target);
  }
}
