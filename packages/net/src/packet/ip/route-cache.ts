/**
 * Routing: a table of routes, and a bounded cache of what it said for each address. Every packet that comes in leaves an entry for its
 * sender, so foreign traffic fills the cache: it is a holder, and its objects are charged.
 *
 * The cache is an aid: a route that cannot be cached (no room for the object) is looked up again next time.
 */
import { SlabCache, type FrameSource } from '@tidemark/core';
import type { Ipv4Address } from '../wire/ipv4-address.js';

/** Packets to `network/prefixBits` go to the gateway, or straight to their destination if it is null. */
export interface Route {
  readonly network: Ipv4Address;
  readonly prefixBits: number;
  readonly gateway: Ipv4Address | null;
}

/** What a cached route takes on the heap with its place in the index. */
const ROUTE_BYTES = 128;
export const ROUTES_PER_FRAME = 4096 / ROUTE_BYTES;

interface CachedRoute {
  nextHop: Ipv4Address;
}

export class RouteCache {
  readonly #table: readonly Route[];
  readonly #objects: SlabCache<CachedRoute>;
  /** Least recently used first. */
  readonly #cached = new Map<Ipv4Address, CachedRoute>();

  constructor(
    frames: FrameSource,
    table: readonly Route[],
    readonly maxObjects: number,
  ) {
    this.#table = [...table].sort((a, b) => b.prefixBits - a.prefixBits);
    this.#objects = new SlabCache(frames, { name: 'route', objectBytes: ROUTE_BYTES, create: () => ({ nextHop: 0 }) });
  }

  /** Routes in the cache. */
  get nrObjects(): number {
    return this.#cached.size;
  }

  get nrFrames(): number {
    return this.#objects.nrFrames;
  }

  /** Where a packet for `address` goes next, or -1 if nowhere. */
  nextHop(address: Ipv4Address): Ipv4Address | -1 {
    const known = this.#cached.get(address);
    if (known !== undefined) {
      this.#cached.delete(address); // to the end: it was used last
      this.#cached.set(address, known);
      return known.nextHop;
    }
    const nextHop = this.#look(address);
    if (nextHop < 0) return -1;
    if (this.#cached.size >= this.maxObjects) this.#evict();
    const made = this.#cached.size < this.maxObjects ? this.#objects.alloc() : null;
    if (made !== null) {
      made.nextHop = nextHop;
      this.#cached.set(address, made);
    }
    return nextHop;
  }

  #look(address: Ipv4Address): Ipv4Address | -1 {
    for (const { network, prefixBits, gateway } of this.#table) {
      const shift = 32 - prefixBits;
      if (shift === 32 || address >>> shift === network >>> shift) return gateway ?? address;
    }
    return -1;
  }

  #evict(): void {
    for (const [address, route] of this.#cached) {
      this.#cached.delete(address);
      this.#objects.free(route);
      return;
    }
  }

  /** Gives everything back. */
  dispose(): void {
    while (this.#cached.size > 0) this.#evict();
    this.#objects.dispose();
  }
}
