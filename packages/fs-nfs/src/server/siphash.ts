/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash of short messages, 64 bits, in halves of 32 since numbers have no more.
 *
 * A word of 64 bits is two entries of `v`: low, high. The message is read in little-endian words; its last one has the length in its top byte.
 */

/** v0 … v3, low and high. Used by one call at a time. */
const v = new Int32Array(8);

/** v[a] += v[b] */
function add(a: number, b: number): void {
  const low = (v[a] >>> 0) + (v[b] >>> 0);
  v[a + 1] = v[a + 1] + v[b + 1] + (low > 0xffffffff ? 1 : 0);
  v[a] = low;
}

/** v[a] = rotate(v[a], bits) ^ v[b], with bits < 32 */
function rotateXor(a: number, bits: number, b: number): void {
  const low = v[a];
  const high = v[a + 1];
  v[a] = ((low << bits) | (high >>> (32 - bits))) ^ v[b];
  v[a + 1] = ((high << bits) | (low >>> (32 - bits))) ^ v[b + 1];
}

/** v[a] = rotate(v[a], 32) */
function swapHalves(a: number): void {
  const low = v[a];
  v[a] = v[a + 1];
  v[a + 1] = low;
}

function round(): void {
  add(0, 2);
  rotateXor(2, 13, 0);
  swapHalves(0);
  add(4, 6);
  rotateXor(6, 16, 4);
  add(0, 6);
  rotateXor(6, 21, 0);
  add(4, 2);
  rotateXor(2, 17, 4);
  swapHalves(4);
}

function take(low: number, high: number): void {
  v[6] ^= low;
  v[7] ^= high;
  round();
  round();
  v[0] ^= low;
  v[1] ^= high;
}

/**
 * Hashes the first `lengthBytes` of a message.
 * @param key four words, little-endian. @param out the hash: low half, high half.
 */
export function siphash(key: Uint32Array, message: DataView, lengthBytes: number, out: Uint32Array): void {
  v[0] = key[0] ^ 0x70736575;
  v[1] = key[1] ^ 0x736f6d65;
  v[2] = key[2] ^ 0x6e646f6d;
  v[3] = key[3] ^ 0x646f7261;
  v[4] = key[0] ^ 0x6e657261;
  v[5] = key[1] ^ 0x6c796765;
  v[6] = key[2] ^ 0x79746573;
  v[7] = key[3] ^ 0x74656462;
  let at = 0;
  for (; at + 8 <= lengthBytes; at += 8) take(message.getInt32(at, true), message.getInt32(at + 4, true));
  let low = 0;
  let high = (lengthBytes & 0xff) << 24;
  for (let i = 0; at + i < lengthBytes; i++) {
    const byte = message.getUint8(at + i);
    if (i < 4) low |= byte << (8 * i);
    else high |= byte << (8 * (i - 4));
  }
  take(low, high);
  v[4] ^= 0xff;
  for (let i = 0; i < 4; i++) round();
  out[0] = v[0] ^ v[2] ^ v[4] ^ v[6];
  out[1] = v[1] ^ v[3] ^ v[5] ^ v[7];
}
