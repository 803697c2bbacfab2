/**
 * Cookies of directory entries: where a reader goes on. An entry keeps its cookie as long as it exists, whatever is made, removed or split
 * around it.
 *
 *     a directory with an index, or of one block that may get one     by hash: the hash's 31 bits, then 22 more of the name
 *     any other                                                       by place: entries there never move
 */
import type { NameHash } from '../format/name-hash.js';

const LOW = 2 ** 22;

/** Cookie of a name: positive, below 2^53. */
export function hashCookie({ major }: NameHash, name: Uint8Array): number {
  let low = 0x811c9dc5;
  for (const byte of name) low = Math.imul(low ^ byte, 0x01000193);
  return (major >>> 1) * LOW + ((low >>> 10) % (LOW - 1)) + 1;
}

/** The hash that the entry behind a cookie has at least. */
export function hashOfCookie(cookie: number): number {
  return (Math.floor(cookie / LOW) << 1) >>> 0;
}

/** Cookie of an entry at a byte of the directory. */
export function placeCookie(offsetBytes: number): number {
  return offsetBytes + 1;
}
