import { describe, expect, it } from 'vitest';
import { HashVersion, hashName } from '../src/format/name-hash.js';

const SEED = [0x93a067bb, 0x0644486e, 0x46ccd0b1, 0x47f79b38];
const ZERO = [0, 0, 0, 0];
const CAFE = 'caf\u00e9';

/** What `debugfs dx_hash` says: legacy, half MD4 and TEA. */
const VECTORS: [name: string, seed: number[], unsigned: boolean, legacy: number, halfMd4: [number, number], tea: [number, number]][] = [
  ['file_number_1', SEED, false, 0x5915b356, [0x49f7879a, 0x93008abb], [0xb5478cec, 0x1c26d461]],
  ['lost+found', SEED, false, 0x5e2aba24, [0x2e8fba0c, 0x6119e320], [0x31404772, 0x6798229d]],
  ['a-name-that-is-longer-than-thirty-two-bytes-xyz', SEED, false, 0x77fece50, [0x826cbbe0, 0xc154cf08], [0xe5fce83a, 0x980d2001]],
  [CAFE, SEED, false, 0x96ca5a2c, [0xeaf53c2e, 0xf2a399c7], [0x533d1878, 0xaaf49446]],
  [CAFE, SEED, true, 0x6dde4230, [0x71e08f8a, 0x78597009], [0x6808c074, 0xc32584da]],
  ['file_number_1', ZERO, false, 0x5915b356, [0x876494b0, 0x3155cd2a], [0x4bcb8d28, 0xca5707a3]],
];

describe('hashes of names', () => {
  it.each(VECTORS)('of %s are what debugfs computes', (name, seed, unsigned, legacy, halfMd4, tea) => {
    const bytes = new TextEncoder().encode(name);
    const shift = unsigned ? 3 : 0;
    const hash = (version: number) => hashName(bytes, (version + shift) as HashVersion, seed);
    expect(hash(HashVersion.LEGACY)).toEqual({ major: legacy, minor: 0 });
    expect(hash(HashVersion.HALF_MD4)).toEqual({ major: halfMd4[0], minor: halfMd4[1] });
    expect(hash(HashVersion.TEA)).toEqual({ major: tea[0], minor: tea[1] });
  });
});
