/**
 * The set of states seen, numbered from 0 in the order of their discovery.
 *
 * Vectors lie one behind the other in a single array of 32-bit words, padded with zeroes; an open-addressing table of numbers finds them
 * by hash and compares every word. So membership is exact: no state is ever taken for another. The array is at the same time the queue
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
  /** Number + 1 of a state; 0: empty. */
  #slots: Int32Array;
  #size = 0;

  constructor(nrCells: number) {
    this.#nrWords = Math.max(1, Math.ceil(nrCells / 4));
    this.#nextWords = new Int32Array(this.#nrWords);
    this.next = new Uint8Array(this.#nextWords.buffer, 0, nrCells);
    this.#words = new Int32Array(FIRST_CAPACITY * this.#nrWords);
    this.#slots = new Int32Array(FIRST_CAPACITY * SLOTS_PER_STATE);
  }

  get size(): number {
    return this.#size;
  }

  /** Copies a state into `next`. */
  load(id: number): void {
    const nrWords = this.#nrWords;
    const base = id * nrWords;
    for (let i = 0; i < nrWords; i++) this.#nextWords[i] = this.#words[base + i];
  }

  /** Adds `next` if it is new. @returns its number, which was `size` before if it is new. */
  add(): number {
    const nrWords = this.#nrWords;
    const next = this.#nextWords;
    const mask = this.#slots.length - 1;
    for (let slot = this.#hash(next, 0) & mask; ; slot = (slot + 1) & mask) {
      const id = this.#slots[slot] - 1;
      if (id < 0) {
        this.#slots[slot] = this.#size + 1;
        break;
      }
      const base = id * nrWords;
      let i = 0;
      while (i < nrWords && this.#words[base + i] === next[i]) i++;
      if (i === nrWords) return id;
    }
    const id = this.#size++;
    const base = id * nrWords;
    for (let i = 0; i < nrWords; i++) this.#words[base + i] = next[i];
    if (this.#size * SLOTS_PER_STATE === this.#slots.length) this.#grow();
    return id;
  }

  #hash(words: Int32Array, base: number): number {
    let hash = 0x9e3779b9 | 0;
    for (let i = 0; i < this.#nrWords; i++) {
      hash = Math.imul(hash ^ words[base + i], 0x85ebca6b);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  }

  #grow(): void {
    const words = new Int32Array(this.#words.length * 2);
    words.set(this.#words);
    this.#words = words;
    const slots = new Int32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let id = 0; id < this.#size; id++) {
      let slot = this.#hash(words, id * this.#nrWords) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = id + 1;
    }
    this.#slots = slots;
  }
}
