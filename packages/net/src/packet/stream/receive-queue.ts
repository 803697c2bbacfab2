/**
 * Buffers of a connection that cannot go into its slot yet: out of order, or in order while the slot is paused. Each carries the stream
 * offset of its first byte, ranges do not overlap, and there are at most `maxBuffers`. All are held by one holder, which may have more users.
 */
import type { Holder } from '../holder.js';
import type { BufferPool, PacketBuffer } from '../packet-buffer.js';

export class ReceiveQueue {
  #first: PacketBuffer | null = null;
  #nrBuffers = 0;

  constructor(
    private readonly pool: BufferPool,
    private holder: Holder,
    readonly maxBuffers: number,
  ) {}

  /** Another holder from now on; it is empty. */
  useHolder(holder: Holder): void {
    this.holder = holder;
  }

  get nrBuffers(): number {
    return this.#nrBuffers;
  }

  get first(): PacketBuffer | null {
    return this.#first;
  }

  /** Takes a buffer, cut to what is not there yet. @returns false if there is no room: then it is the caller's still, and nothing changed. */
  add(buffer: PacketBuffer): boolean {
    let before: PacketBuffer | null = null;
    let after = this.#first;
    while (after !== null && after.offsetBytes <= buffer.offsetBytes) [before, after] = [after, after.next];
    const endOffset = buffer.offsetBytes + buffer.lengthBytes;
    const from = before === null ? buffer.offsetBytes : Math.max(buffer.offsetBytes, before.offsetBytes + before.lengthBytes);
    const to = after === null ? endOffset : Math.min(endOffset, after.offsetBytes);
    if (from >= to) {
      this.pool.free(buffer); // all of it is there
      return true;
    }
    if (this.#nrBuffers === this.maxBuffers || !this.holder.hold(buffer)) return false;
    buffer.start += from - buffer.offsetBytes;
    buffer.end = buffer.start + to - from;
    buffer.offsetBytes = from;
    buffer.next = after;
    if (before === null) this.#first = buffer;
    else before.next = buffer;
    this.#nrBuffers++;
    return true;
  }

  /** Offset up to which the stream is whole, if it is whole up to `offset`. */
  contiguousFrom(offset: number): number {
    let end = offset;
    for (let buffer = this.#first; buffer !== null && buffer.offsetBytes <= end; buffer = buffer.next) {
      end = Math.max(end, buffer.offsetBytes + buffer.lengthBytes);
    }
    return end;
  }

  /** Takes the first buffer out and frees it. */
  dropFirst(): void {
    const first = this.#first as PacketBuffer;
    this.#first = first.next;
    first.next = null;
    this.#nrBuffers--;
    this.pool.free(first);
  }

  clear(): void {
    while (this.#first !== null) this.dropFirst();
  }
}
