/**
 * The slots of one area: a byte each, as in Linux, and the allocator over them (M9).
 *
 *     0x00 free   0x01 in use   0x3f bad   0x40 flag: the page is in the swap cache   0x80 flag: freed, but being read
 *
 * Slot 0 is the header and always bad, so that 0 can mean "none". Slots come out of the current cluster of 256 in order, so that pages
 * that go out together lie together; when it is used up, a free cluster is looked for, then any with room.
 */
import { type FootprintTerm, Gfp, type FrameArray, PAGE_SIZE, type Memory } from '@tidemark/core';
import { CLUSTER_SLOTS, CLUSTERS_SEARCHED } from './params.js';

const FREE = 0;
const IN_USE = 0x01;
const BAD = 0x3f;
const COUNT_MASK = 0x3f;
const CACHED = 0x40;
const DYING = 0x80;

export class SlotMap {
  readonly #map: FrameArray;
  /** Free slots of each cluster. */
  readonly #clusterFree: FrameArray;
  readonly #nrClusters: number;
  #nrFree = 0;
  #nrBad = 0;
  #cursor = 0;
  #clusterEnd = 0;

  /** @throws KernelError ENOMEM. */
  constructor(
    memory: Memory,
    owner: string,
    /** Slots, the header's included. */
    readonly nrSlots: number,
    badPages: readonly number[],
  ) {
    this.#nrClusters = Math.ceil(nrSlots / CLUSTER_SLOTS);
    this.#map = memory.allocFrameArray(`${owner} slot map`, Math.ceil(nrSlots / 4), Gfp.STANDING);
    try {
      this.#clusterFree = memory.allocFrameArray(`${owner} clusters`, this.#nrClusters, Gfp.STANDING);
    } catch (error) {
      this.#map.free();
      throw error;
    }
    for (let cluster = 0; cluster < this.#nrClusters; cluster++) {
      const slots = Math.min(CLUSTER_SLOTS, nrSlots - cluster * CLUSTER_SLOTS);
      this.#clusterFree.set(cluster, slots);
      this.#nrFree += slots;
    }
    this.#take(0, BAD);
    for (const slot of badPages) this.#take(slot, BAD);
    this.#nrBad = badPages.length;
  }

  /** What the map of `nrSlots` takes. */
  static standingTerms(nrSlots: number): FootprintTerm[] {
    return [
      { what: 'slot map', frames: Math.ceil(nrSlots / PAGE_SIZE) },
      { what: 'clusters', frames: Math.ceil((Math.ceil(nrSlots / CLUSTER_SLOTS) * 4) / PAGE_SIZE) },
    ];
  }

  get nrFree(): number {
    return this.#nrFree;
  }

  /** Bad slots, the header's excluded. */
  get nrBad(): number {
    return this.#nrBad;
  }

  get nrInUse(): number {
    return this.nrSlots - 1 - this.#nrBad - this.#nrFree;
  }

  get nrFrames(): number {
    return this.#map.nrFrames + this.#clusterFree.nrFrames;
  }

  /** Takes a slot. Allocates nothing. @returns 0 if there is none. */
  alloc(): number {
    if (this.#nrFree === 0) return 0;
    for (;;) {
      for (; this.#cursor < this.#clusterEnd; this.#cursor++) {
        if (this.#map.getByte(this.#cursor) !== FREE) continue;
        this.#take(this.#cursor, IN_USE);
        return this.#cursor++;
      }
      this.#nextCluster();
    }
  }

  /** Moves on to a cluster with room; there is one. */
  #nextCluster(): void {
    const from = Math.floor(this.#clusterEnd / CLUSTER_SLOTS);
    let best = -1;
    let bestFree = 0;
    for (let n = 0; n < this.#nrClusters; n++) {
      const cluster = (from + n) % this.#nrClusters;
      const free = this.#clusterFree.get(cluster);
      if (free > bestFree) {
        best = cluster;
        bestFree = free;
      }
      if (bestFree === CLUSTER_SLOTS || (n >= CLUSTERS_SEARCHED && best >= 0)) break;
    }
    this.#cursor = best * CLUSTER_SLOTS;
    this.#clusterEnd = Math.min(this.#cursor + CLUSTER_SLOTS, this.nrSlots);
  }

  #take(slot: number, value: number): void {
    this.#map.setByte(slot, value);
    const cluster = Math.floor(slot / CLUSTER_SLOTS);
    this.#clusterFree.set(cluster, this.#clusterFree.get(cluster) - 1);
    this.#nrFree--;
  }

  /** Gives a slot back; a bad one stays bad. */
  free(slot: number): void {
    if ((this.#map.getByte(slot) & COUNT_MASK) === BAD) return;
    this.#map.setByte(slot, FREE);
    const cluster = Math.floor(slot / CLUSTER_SLOTS);
    this.#clusterFree.set(cluster, this.#clusterFree.get(cluster) + 1);
    this.#nrFree++;
  }

  /** A slot in use could not be written: it is never used again. */
  markBad(slot: number): void {
    this.#map.setByte(slot, BAD);
    this.#nrBad++;
  }

  isInUse(slot: number): boolean {
    return (this.#map.getByte(slot) & (COUNT_MASK | DYING)) === IN_USE;
  }

  setCached(slot: number, cached: boolean): void {
    const value = this.#map.getByte(slot);
    this.#map.setByte(slot, cached ? value | CACHED : value & ~CACHED);
  }

  isCached(slot: number): boolean {
    return (this.#map.getByte(slot) & CACHED) !== 0;
  }

  /** The slot's owner is gone while it is being read; whoever reads it frees it. */
  setDying(slot: number): void {
    this.#map.setByte(slot, this.#map.getByte(slot) | DYING);
  }

  isDying(slot: number): boolean {
    return (this.#map.getByte(slot) & DYING) !== 0;
  }

  dispose(): void {
    this.#map.free();
    this.#clusterFree.free();
  }
}
