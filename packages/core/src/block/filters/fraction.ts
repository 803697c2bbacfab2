/** A random number from the kernel's source, without allocating. */
import type { RandomSource } from '../../task/clock.js';

const word = new Uint32Array(1);
const bytes = new Uint8Array(word.buffer);

/** From 0 to below 1, in steps of 2^-32. */
export function fraction(random: RandomSource): number {
  random.fill(bytes);
  return word[0] / 2 ** 32;
}
