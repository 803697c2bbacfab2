/**
 * Neighbours: which link address an IPv4 address has (ARP), with a bounded number of entries and a bounded queue of packets that wait for
 * an answer.
 *
 *     unknown ──ask──▶ asked (packets wait) ──answer──▶ known
 *                        │ 3 questions, 1 s apart
 *                        ▼
 *                      forgotten; what waited is dropped, and counted
 *
 * The queue is a holder: what waits in it may be tagged. Entries are charged; when there is no room for one more, the least recently used
 * known one goes that is no peer of a marked socket: a flood of questions must not make writeout ask anew for each packet.
 */
import { type Clock, type FrameSource, SlabCache, type TimerHandle } from '@tidemark/core';
import type { Holder } from '../holder.js';
import type { PacketBuffer } from '../packet-buffer.js';
import type { Ipv4Address, LinkAddress } from '../wire/ipv4-address.js';

const NEIGHBOUR_BYTES = 128;
export const NEIGHBOURS_PER_FRAME = 4096 / NEIGHBOUR_BYTES;
const ASK_MS = 1_000;
const ASKS_MAX = 3;
const UNKNOWN = -1;

interface Neighbour {
  address: Ipv4Address;
  link: LinkAddress;
  nrAsked: number;
  timer: TimerHandle | null;
  readonly waiting: PacketBuffer[];
}

/** What neighbours need of their transport. */
export interface NeighbourParts {
  readonly clock: Clock;
  readonly frames: FrameSource;
  readonly holder: Holder;
  ask(address: Ipv4Address): void;
  /** True for an address that some marked socket is connected with. */
  isPeer(address: Ipv4Address): boolean;
  /** Sends a packet that waited: an IPv4 datagram behind room for a link header. It is freed by the callee. */
  sendWaiting(buffer: PacketBuffer, link: LinkAddress): void;
  /** A packet can not be sent. It is freed by the callee. */
  drop(buffer: PacketBuffer): void;
}

export class Neighbours {
  readonly #parts: NeighbourParts;
  readonly #objects: SlabCache<Neighbour>;
  /** Least recently used first. */
  readonly #entries = new Map<Ipv4Address, Neighbour>();

  constructor(parts: NeighbourParts) {
    this.#parts = parts;
    this.#objects = new SlabCache(parts.frames, {
      name: 'neighbour',
      objectBytes: NEIGHBOUR_BYTES,
      create: (): Neighbour => ({ address: 0, link: UNKNOWN, nrAsked: 0, timer: null, waiting: [] }),
    });
  }

  get nrObjects(): number {
    return this.#entries.size;
  }

  /** The link address, or -1 while it is not known; then it is asked for. */
  lookup(address: Ipv4Address): LinkAddress {
    const known = this.#entries.get(address);
    if (known === undefined) {
      const made = this.#create(address);
      if (made === null) return UNKNOWN;
      this.#ask(made);
      return UNKNOWN;
    }
    if (known.link !== UNKNOWN) {
      this.#entries.delete(address);
      this.#entries.set(address, known);
    }
    return known.link;
  }

  /** Lets a packet wait for its neighbour. @returns false if it may not: whoever has it drops it. */
  enqueue(address: Ipv4Address, buffer: PacketBuffer): boolean {
    const neighbour = this.#entries.get(address);
    if (neighbour === undefined || neighbour.link !== UNKNOWN || !this.#parts.holder.hold(buffer)) return false;
    neighbour.waiting.push(buffer);
    return true;
  }

  /** Somebody has said where an address is. @param isAnswer an answer from somebody who was not asked about is ignored. */
  learn(address: Ipv4Address, link: LinkAddress, isAnswer: boolean): void {
    const neighbour = this.#entries.get(address) ?? (isAnswer ? null : this.#create(address));
    if (neighbour === null) return;
    neighbour.link = link;
    this.#stopAsking(neighbour);
    for (const buffer of neighbour.waiting.splice(0)) this.#parts.sendWaiting(buffer, link);
  }

  #create(address: Ipv4Address): Neighbour | null {
    if (this.#entries.size >= this.#parts.holder.objects) this.#evict();
    if (this.#entries.size >= this.#parts.holder.objects) return null;
    const neighbour = this.#objects.alloc();
    if (neighbour === null) return null;
    neighbour.address = address;
    neighbour.link = UNKNOWN;
    neighbour.nrAsked = 0;
    this.#entries.set(address, neighbour);
    return neighbour;
  }

  #ask(neighbour: Neighbour): void {
    neighbour.timer = null;
    if (neighbour.nrAsked === ASKS_MAX) {
      this.#forget(neighbour);
      return;
    }
    neighbour.nrAsked++;
    neighbour.timer = this.#parts.clock.setTimer(ASK_MS, () => this.#ask(neighbour));
    this.#parts.ask(neighbour.address);
  }

  #stopAsking(neighbour: Neighbour): void {
    if (neighbour.timer !== null) this.#parts.clock.clearTimer(neighbour.timer);
    neighbour.timer = null;
  }

  #evict(): void {
    for (const neighbour of this.#entries.values()) {
      if (neighbour.link === UNKNOWN || this.#parts.isPeer(neighbour.address)) continue;
      this.#forget(neighbour);
      return;
    }
  }

  #forget(neighbour: Neighbour): void {
    this.#stopAsking(neighbour);
    for (const buffer of neighbour.waiting.splice(0)) this.#parts.drop(buffer);
    this.#entries.delete(neighbour.address);
    this.#objects.free(neighbour);
  }

  /** Gives everything back. */
  dispose(): void {
    for (const neighbour of [...this.#entries.values()]) this.#forget(neighbour);
    this.#objects.dispose();
  }
}
