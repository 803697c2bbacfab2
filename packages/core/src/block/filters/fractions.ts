/** Random numbers from the kernel's source, drawn some at a time: one draw from the host costs as much as eight requests to a RAM disk. */
import type { RandomSource } from '../../task/clock.js';

const NR_WORDS = 64;

export class Fractions {
  readonly #random: RandomSource;
  readonly #words = new Uint32Array(NR_WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  #at = NR_WORDS;

  constructor(random: RandomSource) {
    this.#random = random;
  }

  /** From 0 to below 1, in steps of 2^-32. */
  next(): number {
    if (this.#at === NR_WORDS) {
      this.#random.fill(this.#bytes);
      this.#at = 0;
    }
    return this.#words[this.#at++] / 2 ** 32;
  }
}
