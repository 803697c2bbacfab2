/**
 * The set of states seen, numbered from 0 in the order of their discovery.
 *
 * Vectors lie one behind the other in a single array of 32-bit words, padded with zeroes; an open-addressing table of numbers finds them
 * by hash and then compares every word. So membership is exact: no state is ever taken for another. The array is at the same time the queue
 * of a breadth-first search.
 */
const FIRST_CAPACITY = 1 << 12;
/** The table is at most half full. */
const SLOTS_PER_STATE = 2;

export class StateSet {
  /** The vector that `add` looks up; cells are bytes. */
  readonly next: Uint8Array;
  readonly #nextWords: Int32Array;
  readonly #nrWords: number;
  #words: Int32Array;
  #hashes: Int32Array;
  /** Number + 1 of a state; 0: empty. */
  #slots: Int32Array;
  #size = 0;

  constructor(nrCells: number) {
    this.#nrWords = Math.max(1, Math.ceil(nrCells / 4));
    this.#nextWords = new Int32Array(this.#nrWords);
    this.next = new Uint8Array(this.#nextWords.buffer, 0, nrCells);
    this.#words = new Int32Array(FIRST_CAPACITY * this.#nrWords);
    this.#hashes = new Int32Array(FIRST_CAPACITY);
    this.#slots = new Int32Array(FIRST_CAPACITY * SLOTS_PER_STATE);
  }

  get size(): number {
    return this.#size;
  }

  /** Copies a state into `next`. */
  load(id: number): void {
    const nrWords = this.#nrWords;
    const next = this.#nextWords;
    const words = this.#words;
    const base = id * nrWords;
    for (let i = 0; i < nrWords; i++) next[i] = words[base + i];
  }

  /** Adds `next` if it is new. @returns its number, which was `size` before if it is new. */
  add(): number {
    const nrWords = this.#nrWords;
    const next = this.#nextWords;
    const words = this.#words;
    const hashes = this.#hashes;
    const slots = this.#slots;
    const mask = slots.length - 1;
    const hash = this.#hashOfNext();
    let slot = hash & mask;
    for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const known = slots[slot] - 1;
      if (hashes[known] !== hash) continue;
      let i = 0;
      for (const base = known * nrWords; i < nrWords && words[base + i] === next[i]; ) i++;
      if (i === nrWords) return known;
    }
    const id = this.#size++;
    slots[slot] = id + 1;
    hashes[id] = hash;
    for (let i = 0, base = id * nrWords; i < nrWords; i++) words[base + i] = next[i];
    if (this.#size * SLOTS_PER_STATE === slots.length) this.#grow();
    return id;
  }

  #hashOfNext(): number {
    const words = this.#nextWords;
    const nrWords = this.#nrWords;
    let hash = 0x9e3779b9 | 0;
    for (let i = 0; i < nrWords; i++) {
      hash = Math.imul(hash ^ words[i], 0x85ebca6b);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  }

  #grow(): void {
    const words = new Int32Array(this.#words.length * 2);
    words.set(this.#words);
    this.#words = words;
    const hashes = new Int32Array(this.#hashes.length * 2);
    hashes.set(this.#hashes);
    this.#hashes = hashes;
    const slots = new Int32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let id = 0; id < this.#size; id++) {
      let slot = hashes[id] & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = id + 1;
    }
    this.#slots = slots;
  }
}
