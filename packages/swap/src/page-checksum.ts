/**
 * A 32-bit checksum of a page: catches a lost, stale or torn slot, not an adversary. Four lanes of multiply and rotate over the words,
 * mixed at the end; about 1 µs a page. Kept in memory only, so its form is nobody else's business.
 */
import type { Arena, Pfn } from '@tidemark/core';

const WORDS = 1024;
const PRIME_1 = 0x9e3779b1 | 0;
const PRIME_2 = 0x85ebca77 | 0;

/** Checksum of a frame's content. */
export function pageChecksum(arena: Arena, pfn: Pfn): number {
  const words = arena.wordsOf(pfn);
  const first = arena.wordIndexOf(pfn);
  let a = PRIME_1;
  let b = PRIME_2;
  let c = ~PRIME_1;
  let d = ~PRIME_2;
  for (let i = first; i < first + WORDS; i += 4) {
    a = lane(a, words[i]);
    b = lane(b, words[i + 1]);
    c = lane(c, words[i + 2]);
    d = lane(d, words[i + 3]);
  }
  let hash = lane(lane(lane(lane(WORDS, a), b), c), d);
  hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  return (hash ^ (hash >>> 13)) >>> 0;
}

function lane(hash: number, word: number): number {
  const mixed = (hash + Math.imul(word, PRIME_2)) | 0;
  return Math.imul((mixed << 13) | (mixed >>> 19), PRIME_1);
}
