/**
 * Nodes of XArrays in arena frames: 14 to a frame.
 *
 * Frame layout, in 32-bit words. A node id is pfn × 16 + sub with sub from 2 to 15, so it is never 0, and id × 64 is the word of the
 * node's slots, counted from the start of the arena.
 *
 *     0             bit sub is set while node sub is free
 *     1, 2          id of the previous and next frame with free nodes (pfn + 1), 0 for none
 *     8 × (sub − 1) six mark words of node sub, two words unused
 *     64 × sub      64 slots of node sub
 *
 * Frames with free nodes are in a list, newest first. A frame whose nodes are all free goes back to its source.
 */
import { lowestBit } from '../base/bitmap.js';
import { invariant } from '../base/errno.js';
import { XA_CHUNK_ID_SHIFT, XA_MARK_WORDS, XA_SLOTS, type XArrayNodeStore } from '../base/xarray.js';
import { type Arena, CHUNK_FRAME_SHIFT, type Pfn } from './arena.js';
import type { FrameSource } from './frame-source.js';

const FIRST_SUB = 2;
/** Nodes of one frame. */
export const XA_NODES_PER_FRAME = 14;
const ALL_FREE = 0xfffc;
const FREE = 0;
const PREVIOUS = 1;
const NEXT = 2;

/** The nodes of any number of XArrays. */
export class XArrayNodes implements XArrayNodeStore {
  readonly chunks: readonly Uint32Array[];
  /** First frame with free nodes, as pfn + 1; 0 for none. */
  #partial = 0;
  #nrFrames = 0;
  #nrFree = 0;

  constructor(
    readonly arena: Arena,
    readonly source: FrameSource,
  ) {
    invariant(XA_CHUNK_ID_SHIFT === CHUNK_FRAME_SHIFT + 4, 'XArray and arena agree on the size of a chunk');
    this.chunks = arena.wordChunks;
  }

  /** Frames that hold nodes now. */
  get nrFrames(): number {
    return this.#nrFrames;
  }

  /** Nodes in use. */
  get nrNodes(): number {
    return this.#nrFrames * XA_NODES_PER_FRAME - this.#nrFree;
  }

  reserve(nrNodes: number): boolean {
    invariant(nrNodes <= XA_NODES_PER_FRAME, 'no store into an XArray needs more nodes than a frame holds');
    if (this.#nrFree >= nrNodes) return true;
    const pfn = this.source.allocFrame();
    if (pfn < 0) return false;
    this.arena.wordsOf(pfn)[this.arena.wordIndexOf(pfn) + FREE] = ALL_FREE;
    this.#link(pfn);
    this.#nrFrames++;
    this.#nrFree += XA_NODES_PER_FRAME;
    return true;
  }

  allocNode(): number {
    invariant(this.#partial !== 0, 'a node of an XArray was taken that had not been reserved');
    const pfn = this.#partial - 1;
    const words = this.arena.wordsOf(pfn);
    const first = this.arena.wordIndexOf(pfn);
    const sub = lowestBit(words[first + FREE]);
    words[first + FREE] &= ~(1 << sub);
    if (words[first + FREE] === 0) this.#unlink(pfn);
    this.#nrFree--;
    const id = pfn * 16 + sub;
    const slots = first + sub * XA_SLOTS;
    words.fill(0, slots, slots + XA_SLOTS);
    const marks = this.marksAt(id);
    words.fill(0, marks, marks + XA_MARK_WORDS);
    return id;
  }

  freeNode(id: number): void {
    const pfn = id >>> 4;
    const words = this.arena.wordsOf(pfn);
    const first = this.arena.wordIndexOf(pfn);
    const bit = 1 << (id & 15);
    invariant((words[first + FREE] & bit) === 0, 'a node of an XArray was freed twice');
    if (words[first + FREE] === 0) this.#link(pfn);
    words[first + FREE] |= bit;
    this.#nrFree++;
    if (words[first + FREE] === ALL_FREE) this.#giveBack(pfn);
  }

  marksAt(id: number): number {
    return this.arena.wordIndexOf(id >>> 4) + ((id & 15) - FIRST_SUB + 1) * 8;
  }

  #giveBack(pfn: Pfn): void {
    this.#unlink(pfn);
    this.#nrFrames--;
    this.#nrFree -= XA_NODES_PER_FRAME;
    this.source.freeFrame(pfn);
  }

  #link(pfn: Pfn): void {
    const words = this.arena.wordsOf(pfn);
    const first = this.arena.wordIndexOf(pfn);
    words[first + PREVIOUS] = 0;
    words[first + NEXT] = this.#partial;
    if (this.#partial !== 0) this.#setLink(this.#partial, PREVIOUS, pfn + 1);
    this.#partial = pfn + 1;
  }

  #unlink(pfn: Pfn): void {
    const words = this.arena.wordsOf(pfn);
    const first = this.arena.wordIndexOf(pfn);
    const previous = words[first + PREVIOUS];
    const next = words[first + NEXT];
    if (previous === 0) this.#partial = next;
    else this.#setLink(previous, NEXT, next);
    if (next !== 0) this.#setLink(next, PREVIOUS, previous);
  }

  #setLink(frame: number, which: number, to: number): void {
    this.arena.wordsOf(frame - 1)[this.arena.wordIndexOf(frame - 1) + which] = to;
  }
}
