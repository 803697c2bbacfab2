/**
 * Bytes in network order, and the Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.
 *
 * The sum is taken in parts: `addToSum` goes on where the last part ended, odd lengths included, and `checksumOf` folds it.
 */

export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function get32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/**
 * Adds `bytes[from … to)` to a sum.
 * @param nrBefore bytes that were summed before: an odd number means that this part begins with the low half of a word.
 */
export function addToSum(sum: number, bytes: Uint8Array, from: number, to: number, nrBefore = 0): number {
  let total = sum;
  let at = from;
  if ((nrBefore & 1) === 1 && at < to) total += bytes[at++];
  for (; at + 1 < to; at += 2) total += (bytes[at] << 8) | bytes[at + 1];
  if (at < to) total += bytes[at] << 8;
  return total; // at most 2^15 words of 2^16 in a datagram: far below 2^53
}

/** The checksum of what was summed. A sum that includes a right checksum gives 0. */
export function checksumOf(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}
