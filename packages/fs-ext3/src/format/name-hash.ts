/**
 * Hashes of names in hashed directories: legacy, half MD4 and TEA, each with signed and unsigned characters. The result orders the leaves
 * of a directory; it is even, and 0xfffffffe is kept for the end.
 *
 * Source: the directory hash of ext3 as the kernel and `debugfs dx_hash` compute it. Names are bytes.
 */

/** Hash versions as a hashed directory's root names them; 3 is added for unsigned characters. */
export const HashVersion = { LEGACY: 0, HALF_MD4: 1, TEA: 2, LEGACY_UNSIGNED: 3, HALF_MD4_UNSIGNED: 4, TEA_UNSIGNED: 5 } as const;
export type HashVersion = (typeof HashVersion)[keyof typeof HashVersion];

/** The hash of a name: `major` orders, `minor` is kept by readers for cookies. Unsigned 32-bit numbers. */
export interface NameHash {
  readonly major: number;
  readonly minor: number;
}

const INITIAL_WORDS: readonly number[] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const END_OF_DIRECTORY = 0xfffffffe;
const TEA_DELTA = 0x9e3779b9;

/** Hashes `name` under a seed of four words (the superblock's; all zero means the MD4 initial words). */
export function hashName(name: Uint8Array, version: HashVersion, seed: readonly number[]): NameHash {
  const isSigned = version < HashVersion.LEGACY_UNSIGNED;
  const kind = version % 3;
  const { major, minor } =
    kind === HashVersion.LEGACY ? legacy(name, isSigned) : chunked(name, isSigned, kind === HashVersion.HALF_MD4, seed);
  const even = (major & ~1) >>> 0;
  return { major: even === END_OF_DIRECTORY ? END_OF_DIRECTORY - 2 : even, minor };
}

function charAt(name: Uint8Array, at: number, isSigned: boolean): number {
  return isSigned ? (name[at] << 24) >> 24 : name[at];
}

function legacy(name: Uint8Array, isSigned: boolean): NameHash {
  let newer = 0x12a3fe2d;
  let older = 0x37abe8f9;
  for (let i = 0; i < name.length; i++) {
    let hash = (older + (newer ^ Math.imul(charAt(name, i, isSigned), 7152373))) >>> 0;
    if (hash >= 0x80000000) hash = (hash - 0x7fffffff) >>> 0;
    older = newer;
    newer = hash;
  }
  return { major: (newer << 1) >>> 0, minor: 0 };
}

function chunked(name: Uint8Array, isSigned: boolean, isHalfMd4: boolean, seed: readonly number[]): NameHash {
  const state = Uint32Array.from(seed.some((word) => word !== 0) ? seed : INITIAL_WORDS);
  const words = new Uint32Array(isHalfMd4 ? 8 : 4);
  for (let at = 0; at < name.length; at += words.length * 4) {
    fillWords(words, name, at, isSigned);
    if (isHalfMd4) halfMd4(state, words);
    else tea(state, words);
  }
  return isHalfMd4 ? { major: state[1], minor: state[2] } : { major: state[0], minor: state[1] };
}

/** Characters from `at` on, four to a word; what is beyond the name is a pad made of the length that is left. */
function fillWords(words: Uint32Array, name: Uint8Array, at: number, isSigned: boolean): void {
  const left = name.length - at;
  const half = left | (left << 8);
  const pad = half | (half << 16);
  const nrChars = Math.min(left, words.length * 4);
  let word = pad;
  let next = 0;
  for (let i = 0; i < nrChars; i++) {
    word = (charAt(name, at + i, isSigned) + (word << 8)) | 0;
    if (i % 4 === 3) {
      words[next++] = word;
      word = pad;
    }
  }
  if (next < words.length) words[next++] = word;
  words.fill(pad, next);
}

const select = (x: number, y: number, z: number): number => z ^ (x & (y ^ z));
const majority = (x: number, y: number, z: number): number => ((x & y) + ((x ^ y) & z)) | 0;
const parity = (x: number, y: number, z: number): number => x ^ y ^ z;

/** The three rounds of half MD4: function, constant, order of the words, shifts. */
const ROUNDS = [
  { mix: select, constant: 0, order: [0, 1, 2, 3, 4, 5, 6, 7], shifts: [3, 7, 11, 19] },
  { mix: majority, constant: 0x5a827999, order: [1, 3, 5, 7, 0, 2, 4, 6], shifts: [3, 5, 9, 13] },
  { mix: parity, constant: 0x6ed9eba1, order: [3, 7, 2, 6, 1, 5, 0, 4], shifts: [3, 9, 11, 15] },
] as const;

function halfMd4(state: Uint32Array, words: Uint32Array): void {
  let a = state[0] | 0;
  let b = state[1] | 0;
  let c = state[2] | 0;
  let d = state[3] | 0;
  for (const { mix, constant, order, shifts } of ROUNDS) {
    for (let i = 0; i < 8; i++) {
      const sum = (a + mix(b, c, d) + words[order[i]] + constant) | 0;
      const shift = shifts[i % 4];
      const turned = (sum << shift) | (sum >>> (32 - shift));
      a = d;
      d = c;
      c = b;
      b = turned;
    }
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
}

function tea(state: Uint32Array, [a, b, c, d]: Uint32Array): void {
  let x = state[0];
  let y = state[1];
  let sum = 0;
  for (let i = 0; i < 16; i++) {
    sum = (sum + TEA_DELTA) >>> 0;
    x = (x + (((y << 4) + a) ^ (y + sum) ^ ((y >>> 5) + b))) >>> 0;
    y = (y + (((x << 4) + c) ^ (x + sum) ^ ((x >>> 5) + d))) >>> 0;
  }
  state[0] += x;
  state[1] += y;
}
