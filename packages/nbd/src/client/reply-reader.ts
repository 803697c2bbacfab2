/**
 * Reply reader: parses simple replies in the connection's slot, and moves the data of reads from there straight into the pages that
 * were asked for. It may be cut anywhere; what is left of a header stays in the slot.
 *
 * The server is not trusted: a wrong magic, a cookie that is not of this connection or not in flight, and there is an EPROTO. The length
 * of read data is ours, never the server's.
 */
import { type Arena, type Bio, BioOp, Errno, KernelError, type NegErrno } from '@tidemark/core';
import type { ReceiveSlot } from '@tidemark/net';
import { SIMPLE_REPLY_BYTES, SIMPLE_REPLY_MAGIC } from '../protocol/constants.js';
import { statusOfWireError } from '../protocol/wire-errors.js';
import { type RequestSlots, SlotState } from './request-slots.js';

export class ReplyReader {
  /** The slot whose data are arriving, or −1. */
  #reading = -1;
  #segment = 0;
  /** Bytes of the segment that have arrived. */
  #filled = 0;

  constructor(
    private readonly arena: Arena,
    private readonly requests: RequestSlots,
    private readonly answered: (slot: number, status: 0 | NegErrno) => void,
  ) {}

  /** A new connection: what was half read is asked for again. */
  reset(): void {
    this.#reading = -1;
  }

  /**
   * Takes what stands in `slot`.
   * @param generation upper half of the cookies of this connection.
   * @throws KernelError EPROTO, ESHUTDOWN: the connection cannot be used any more.
   */
  receive(slot: ReceiveSlot, generation: number): void {
    for (;;) {
      if (this.#reading >= 0) {
        if (!this.#fill(slot)) return;
      } else {
        if (slot.length < SIMPLE_REPLY_BYTES) return;
        this.#header(slot, generation);
      }
    }
  }

  #header(slot: ReceiveSlot, generation: number): void {
    const { view, start } = slot;
    if (view.getUint32(start) !== SIMPLE_REPLY_MAGIC) throw new KernelError('EPROTO', 'a reply does not begin with its magic');
    const error = view.getUint32(start + 4);
    const index = view.getUint32(start + 12);
    const { state, bios, nrUnits } = this.requests;
    if (
      view.getUint32(start + 8) !== generation ||
      index > nrUnits ||
      (state[index] & (SlotState.BUSY | SlotState.ANSWERED)) !== SlotState.BUSY
    ) {
      throw new KernelError('EPROTO', 'a reply has a cookie that is not in flight');
    }
    slot.consume(SIMPLE_REPLY_BYTES);
    if (error === Errno.ESHUTDOWN) throw new KernelError('ESHUTDOWN', 'the server is shutting down');
    if (error === 0 && (bios[index] as Bio).op === BioOp.READ) {
      this.#reading = index;
      this.#segment = this.#filled = 0;
    } else this.answered(index, statusOfWireError(error));
  }

  /** Moves data from the slot to the pages. @returns false if the slot is empty. */
  #fill(slot: ReceiveSlot): boolean {
    const bio = this.requests.bios[this.#reading] as Bio;
    while (slot.length > 0) {
      const length = Math.min(bio.lengths[this.#segment] - this.#filled, slot.length);
      const address = bio.addresses[this.#segment] + this.#filled;
      const chunk = this.arena.chunkOf(address);
      const at = this.arena.offsetInChunk(address);
      const from = slot.address + slot.start;
      if (this.arena.chunkOf(from) === chunk) {
        const fromAt = this.arena.offsetInChunk(from);
        chunk.copyWithin(at, fromAt, fromAt + length); // no view is made
      } else chunk.set(slot.bytes.subarray(slot.start, slot.start + length), at);
      slot.consume(length);
      this.#filled += length;
      if (this.#filled < bio.lengths[this.#segment]) return false;
      this.#filled = 0;
      if (++this.#segment === bio.nrSegments) {
        const index = this.#reading;
        this.#reading = -1;
        this.answered(index, 0);
        return true;
      }
    }
    return false;
  }
}
