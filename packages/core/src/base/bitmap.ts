/**
 * A bitmap over 32-bit words that somebody else owns: on the heap, or in a frame of the arena.
 *
 * Layout: bit `b` is bit `b & 31` (value `2 ** (b & 31)`) of word `firstWord + (b >>> 5)`. Bits past `nrBits` in the last word are
 * never read and never written.
 */

/** Bits `0 … nrBits − 1`. */
export class Bitmap {
  constructor(
    readonly words: Uint32Array,
    readonly firstWord: number,
    readonly nrBits: number,
  ) {}

  /** A zeroed bitmap with words of its own. */
  static create(nrBits: number): Bitmap {
    return new Bitmap(new Uint32Array(wordsForBits(nrBits)), 0, nrBits);
  }

  test(bit: number): boolean {
    return ((this.words[this.firstWord + (bit >>> 5)] >>> (bit & 31)) & 1) === 1;
  }

  set(bit: number): void {
    this.words[this.firstWord + (bit >>> 5)] |= 1 << (bit & 31);
  }

  clear(bit: number): void {
    this.words[this.firstWord + (bit >>> 5)] &= ~(1 << (bit & 31));
  }

  /** The first clear bit in `from … to − 1`, or −1. */
  findNextZero(from = 0, to = this.nrBits): number {
    return this.#findNext(from, to, -1);
  }

  /** The first set bit in `from … to − 1`, or −1. */
  findNextSet(from = 0, to = this.nrBits): number {
    return this.#findNext(from, to, 0);
  }

  /** Set bits in `from … to − 1`. */
  count(from = 0, to = this.nrBits): number {
    let sum = 0;
    for (let bit = from; bit < to; bit = (bit | 31) + 1) {
      let word = this.words[this.firstWord + (bit >>> 5)] & (-1 << (bit & 31));
      const tail = to - (bit & ~31);
      if (tail < 32) word &= (1 << tail) - 1;
      sum += countBits(word);
    }
    return sum;
  }

  /** Finds a set bit after `flip` was applied to every word: −1 looks for zeroes. */
  #findNext(from: number, to: number, flip: 0 | -1): number {
    if (from >= to) return -1;
    let at = this.firstWord + (from >>> 5);
    const last = this.firstWord + ((to - 1) >>> 5);
    let word = (this.words[at] ^ flip) & (-1 << (from & 31));
    while (word === 0) {
      if (++at > last) return -1;
      word = this.words[at] ^ flip;
    }
    const bit = (at - this.firstWord) * 32 + lowestBit(word);
    return bit < to ? bit : -1;
  }
}

/** Words that hold `nrBits`. */
export function wordsForBits(nrBits: number): number {
  return Math.ceil(nrBits / 32);
}

/** Index of the lowest set bit of a 32-bit word that is not 0. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** Set bits of a 32-bit word. */
export function countBits(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555);
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
