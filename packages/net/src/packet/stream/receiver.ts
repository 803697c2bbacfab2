/**
 * The receiving half of a connection: from packet buffers into the slot, in order.
 *
 * What is next goes straight into the slot, and its buffer is free at once; what is out of order, or comes while the slot is paused, waits in
 * the receive queue, if there is room, and is acknowledged. What has no room is dropped and not acknowledged: it will come again.
 */
import type { KernelError } from '@tidemark/core';
import type { ReceiveSlot } from '../../receive-slot.js';
import type { Socket, SocketHandler } from '../../socket.js';
import type { PacketBuffer } from '../packet-buffer.js';
import { WINDOW_MAX_BYTES } from '../wire/segment.js';
import type { ReceiveQueue } from './receive-queue.js';

/** What the receiver needs of its connection. */
export interface ReceiverHost extends Socket {
  slot: ReceiveSlot;
  handler: SocketHandler;
  /** True from the handshake to the end; `isOpen` is false as soon as the owner has closed it. */
  readonly isUp: boolean;
  destroy(error?: KernelError): void;
  freeBuffer(buffer: PacketBuffer): void;
  dropBuffer(buffer: PacketBuffer): void;
}

export class Receiver {
  readonly queue: ReceiveQueue;
  readonly #host: ReceiverHost;
  /** The offset that the slot waits for. */
  #received = 0;
  /** Where the peer's stream ends; -1: not known. */
  #peerEnd = -1;
  #hasEnded = false;
  #isPaused = false;
  #isDelivering = false;

  constructor(host: ReceiverHost, queue: ReceiveQueue) {
    this.#host = host;
    this.queue = queue;
  }

  get received(): number {
    return this.#received;
  }

  /** True if the peer's last byte has been delivered, or nobody is there to take it. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** True if all that the peer will ever send has come. */
  get hasAll(): boolean {
    return this.#received === this.#peerEnd;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** What is acknowledged: the stream is whole up to here, FIN included. */
  get wholeTo(): number {
    const whole = this.queue.contiguousFrom(this.#received);
    return this.#peerEnd >= 0 && whole >= this.#peerEnd ? this.#peerEnd + 1 : whole;
  }

  /** Room for what may come, in bytes. */
  roomBytes(segmentBytes: number): number {
    const { maxBuffers, nrBuffers } = this.queue;
    const slotBytes = this.#isPaused || !this.#host.isOpen ? 0 : this.#host.slot.target().length;
    return Math.min(slotBytes + (maxBuffers - nrBuffers) * segmentBytes, WINDOW_MAX_BYTES);
  }

  /** Takes a segment's payload, a chain of buffers that begins at `offset`. */
  take(offset: number, first: PacketBuffer | null, lengthBytes: number, hasFin: boolean): void {
    const isInWindow = offset <= this.#received + WINDOW_MAX_BYTES;
    if (hasFin && isInWindow && this.#peerEnd < 0) this.#peerEnd = offset + lengthBytes;
    let at = offset;
    for (let buffer = first; buffer !== null; ) {
      const { next } = buffer;
      buffer.next = null;
      buffer.offsetBytes = at;
      at += buffer.lengthBytes;
      if (isInWindow && this.#host.isUp) this.#takeBuffer(buffer);
      else this.#host.freeBuffer(buffer);
      buffer = next;
    }
    this.deliverQueue();
  }

  /** Counts what comes when nobody is there any more. */
  takeLate(offset: number, lengthBytes: number, hasFin: boolean): void {
    if (offset <= this.#received) this.#received = Math.max(this.#received, offset + lengthBytes);
    if (hasFin) this.#peerEnd = offset + lengthBytes;
  }

  #takeBuffer(buffer: PacketBuffer): void {
    const { first } = this.queue;
    const isOld = buffer.offsetBytes + buffer.lengthBytes <= this.#received;
    const isNext = buffer.offsetBytes <= this.#received && (first === null || first.offsetBytes > this.#received);
    if (isOld || (isNext && this.#deliver(buffer)) || !this.#host.isUp) this.#host.freeBuffer(buffer);
    else if (!this.queue.add(buffer)) this.#host.dropBuffer(buffer);
  }

  /** Copies a buffer's bytes into the slot. @returns true if nothing of it is left to do. */
  #deliver(buffer: PacketBuffer): boolean {
    const host = this.#host;
    const known = Math.min(this.#received - buffer.offsetBytes, buffer.lengthBytes);
    buffer.start += known;
    buffer.offsetBytes += known;
    if (this.#isDelivering) return buffer.lengthBytes === 0;
    this.#isDelivering = true;
    while (buffer.lengthBytes > 0 && host.isOpen && !this.#isPaused) {
      const target = host.slot.target();
      const count = Math.min(target.length, buffer.lengthBytes);
      target.set(buffer.bytes.subarray(buffer.start, buffer.start + count));
      buffer.start += count;
      buffer.offsetBytes += count;
      this.#received += count;
      host.slot.received(count);
      const goOn = host.handler.onReceive(host);
      host.slot.plan();
      if (!goOn || !host.slot.takeUp()) this.#isPaused = true;
    }
    this.#isDelivering = false;
    if (host.isUp && !host.isOpen) {
      this.#received += buffer.lengthBytes; // closed by its owner: what still comes is for nobody
      return true;
    }
    return buffer.lengthBytes === 0;
  }

  /** Goes on with what waits, and says the end when it is there. */
  deliverQueue(): void {
    const host = this.#host;
    if (this.#isDelivering) return;
    for (let { first } = this.queue; first !== null && host.isUp; { first } = this.queue) {
      if (first.offsetBytes > this.#received || !this.#deliver(first)) break;
      if (host.isUp) this.queue.dropFirst();
    }
    if (!host.isUp || this.#hasEnded || !this.hasAll || (this.#isPaused && host.isOpen)) return;
    this.#hasEnded = true;
    if (host.isOpen) host.handler.onEnd(host);
  }

  pause(): void {
    this.#isPaused = true;
  }

  /** @returns false if it may not go on yet, or was not paused. */
  resume(): boolean {
    if (!this.#isPaused || !this.#host.isOpen || !this.#host.slot.takeUp()) return false;
    this.#isPaused = false;
    this.deliverQueue();
    return true;
  }
}
