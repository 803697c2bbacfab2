/**
 * Reassembly of IPv4 datagrams (RFC 791, RFC 815), as a holder with a bound (M13).
 *
 *     boundBytes = open part + part of the peers      the peers' part is open only to fragments that come from peers of memalloc sockets
 *
 * Fragments of others evict the oldest incomplete datagram of others when the open part is full; those of a peer evict others' first, then
 * the oldest of peers. An incomplete datagram is dropped after 30 s. Fragments that overlap without being equal drop their datagram
 * (RFC 8200, 4.5, says so of IPv6; it is right here too).
 */
import { type Clock, PAGE_SIZE, type TimerHandle } from '@tidemark/core';
import type { Holder } from '../holder.js';
import type { BufferPool, PacketBuffer } from '../packet-buffer.js';
import type { Ipv4Header } from '../wire/ipv4-header.js';

const TIMEOUT_MS = 30_000;

/** What reassembly needs of its transport. */
export interface ReassemblyParts {
  readonly clock: Clock;
  readonly pool: BufferPool;
  readonly holder: Holder;
  /** Bytes of the bound that are open only to peers. */
  readonly peersBytes: number;
  /** Told for each datagram that is dropped incomplete. */
  onDrop(nrFragments: number, why: string): void;
}

interface Incomplete {
  readonly key: number;
  readonly protocol: number;
  readonly isOfPeer: boolean;
  readonly startedMs: number;
  /** By offset. */
  first: PacketBuffer | null;
  nrFragments: number;
  receivedBytes: number;
  /** -1 until the last fragment is there. */
  totalBytes: number;
}

export class Reassembly {
  readonly #parts: ReassemblyParts;
  /** Oldest first. */
  readonly #incomplete = new Map<number, Incomplete>();
  #openBytes = 0;
  #timer: TimerHandle | null = null;

  constructor(parts: ReassemblyParts) {
    this.#parts = parts;
  }

  /** Datagrams that are not complete. */
  get nrIncomplete(): number {
    return this.#incomplete.size;
  }

  /**
   * Takes a fragment, whose `start … end` is its payload.
   * @returns the chain of buffers of the datagram that it completes, held by reassembly until freed; else null. The fragment is its own.
   */
  add(header: Ipv4Header, buffer: PacketBuffer, isOfPeer: boolean): PacketBuffer | null {
    const key = (header.source * 0x10000 + header.identification) * 2 + (header.protocol & 1);
    let datagram = this.#incomplete.get(key);
    if (datagram !== undefined && datagram.protocol !== header.protocol) {
      this.#refuse(buffer, 'two protocols');
      return null;
    }
    if (!this.#makeRoom(isOfPeer, key) || !this.#parts.holder.hold(buffer)) {
      this.#refuse(buffer, 'no room');
      return null;
    }
    if (!isOfPeer) this.#openBytes += PAGE_SIZE;
    datagram = this.#incomplete.get(key); // it may have been evicted
    if (datagram === undefined) {
      datagram = {
        key,
        protocol: header.protocol,
        isOfPeer,
        startedMs: this.#parts.clock.nowMs(),
        first: null,
        nrFragments: 0,
        receivedBytes: 0,
        totalBytes: -1,
      };
      this.#incomplete.set(key, datagram);
      this.#watch();
    } else if (datagram.isOfPeer !== isOfPeer) {
      if (!isOfPeer) this.#openBytes -= PAGE_SIZE;
      this.#refuse(buffer, 'its socket has changed');
      return null;
    }
    buffer.offsetBytes = header.offsetBytes;
    if (!this.#insert(datagram, buffer, header.hasMore)) return null;
    if (datagram.totalBytes < 0 || datagram.receivedBytes < datagram.totalBytes) return null;
    const { first } = datagram;
    this.#forget(datagram);
    return first;
  }

  /** @returns false if the fragment, or the whole datagram, was dropped. */
  #insert(datagram: Incomplete, buffer: PacketBuffer, hasMore: boolean): boolean {
    const from = buffer.offsetBytes;
    const to = from + buffer.lengthBytes;
    let before: PacketBuffer | null = null;
    let after = datagram.first;
    while (after !== null && after.offsetBytes < from) [before, after] = [after, after.next];
    datagram.nrFragments++;
    if (after !== null && after.offsetBytes === from && after.lengthBytes === buffer.lengthBytes) {
      datagram.nrFragments--;
      if (!datagram.isOfPeer) this.#openBytes -= PAGE_SIZE;
      this.#refuse(buffer, 'twice');
      return false;
    }
    buffer.next = after;
    if (before === null) datagram.first = buffer;
    else before.next = buffer;
    const overlaps =
      (before !== null && before.offsetBytes + before.lengthBytes > from) || (after !== null && to > after.offsetBytes) || to === from;
    const contradicts = datagram.totalBytes >= 0 && (hasMore ? to > datagram.totalBytes : to !== datagram.totalBytes);
    if (overlaps || contradicts || (!hasMore && after !== null)) {
      this.#drop(datagram, 'its fragments overlap');
      return false;
    }
    datagram.receivedBytes += buffer.lengthBytes;
    if (!hasMore) datagram.totalBytes = to;
    return true;
  }

  /** Makes room for one buffer. @returns false if there is none to be made. */
  #makeRoom(isOfPeer: boolean, key: number): boolean {
    const { holder, peersBytes } = this.#parts;
    if (!isOfPeer) {
      while (this.#openBytes + PAGE_SIZE > holder.boundBytes - peersBytes || !holder.hasRoom) {
        if (!this.#evictOldest(false, key)) return false;
      }
      return true;
    }
    while (!holder.hasRoom) {
      if (!this.#evictOldest(false, key) && !this.#evictOldest(true, key)) return false;
    }
    return true;
  }

  /** Drops the oldest datagram of peers, or of others. @returns false if there was none but the one being added to, which is dropped. */
  #evictOldest(ofPeers: boolean, key: number): boolean {
    let last: Incomplete | null = null;
    for (const datagram of this.#incomplete.values()) {
      if (datagram.isOfPeer !== ofPeers) continue;
      if (datagram.key === key) {
        last = datagram;
        continue;
      }
      this.#drop(datagram, 'evicted');
      return true;
    }
    if (last !== null) this.#drop(last, 'it is longer than the bound');
    return false;
  }

  #refuse(buffer: PacketBuffer, why: string): void {
    this.#parts.pool.free(buffer);
    this.#parts.onDrop(1, why);
  }

  #drop(datagram: Incomplete, why: string): void {
    this.#forget(datagram);
    if (datagram.first !== null) this.#parts.pool.free(datagram.first);
    this.#parts.onDrop(datagram.nrFragments, why);
  }

  #forget(datagram: Incomplete): void {
    this.#incomplete.delete(datagram.key);
    if (!datagram.isOfPeer) this.#openBytes -= datagram.nrFragments * PAGE_SIZE;
    if (this.#incomplete.size === 0) this.#stopWatching();
  }

  #watch(): void {
    if (this.#timer !== null) return;
    const [oldest] = this.#incomplete.values();
    if (oldest === undefined) return;
    const { clock } = this.#parts;
    this.#timer = clock.setTimer(Math.max(oldest.startedMs + TIMEOUT_MS - clock.nowMs(), 1), () => {
      this.#timer = null;
      const nowMs = clock.nowMs();
      for (const datagram of [...this.#incomplete.values()]) {
        if (datagram.startedMs + TIMEOUT_MS <= nowMs) this.#drop(datagram, 'it took too long');
      }
      this.#watch();
    });
  }

  #stopWatching(): void {
    if (this.#timer !== null) this.#parts.clock.clearTimer(this.#timer);
    this.#timer = null;
  }

  /** Drops everything. */
  dispose(): void {
    for (const datagram of [...this.#incomplete.values()]) this.#drop(datagram, 'the transport is closed');
    this.#stopWatching();
  }
}
