/** Bytes to write and to know again: random numbers from a seed, and pages that tell which page and which version they are. */
import fs from 'node:fs';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const PAGE_BYTES = 4096;

/** Numbers from 0 to `below` − 1. */
export type Random = (below: number) => number;

/** A generator (mulberry32) that gives the same numbers for the same seed. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** `lengthBytes` that follow from `seed` and are never all zero. */
export function patternBytes(lengthBytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(lengthBytes / 4));
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x85ebca6b) | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, lengthBytes);
}

/** The page of a buffer in one of its versions. */
export function pageBytes(buffer: number, page: number, version: number): Uint8Array {
  return patternBytes(PAGE_BYTES, Math.imul(buffer + 1, 1_000_003) + Math.imul(page, 8191) + version * 31);
}

/** The first byte at which two arrays differ, or −1; far faster than a deep comparison. */
export function firstDifference(got: Uint8Array, want: Uint8Array): number {
  if (got.length === want.length && Buffer.compare(got, want) === 0) return -1;
  const length = Math.min(got.length, want.length);
  for (let i = 0; i < length; i++) if (got[i] !== want[i]) return i;
  return length;
}

/** The first byte at which a file differs from `want`, as far as `want` goes, or −1. */
export function fileDifference(file: string, want: Uint8Array): number {
  return firstDifference(fs.readFileSync(file).subarray(0, want.length), want);
}
