/**
 * UDP headers (RFC 768).
 *
 *     0 source port 2 | 2 destination port 2 | 4 length 2, header included | 6 checksum 2, 0 for none              8 bytes
 */
import { put16 } from './bytes.js';

export const UDP_HEADER_BYTES = 8;

/** The checksum field is left 0. */
export function putUdp(bytes: Uint8Array, sourcePort: number, destinationPort: number, lengthBytes: number): void {
  put16(bytes, 0, sourcePort);
  put16(bytes, 2, destinationPort);
  put16(bytes, 4, lengthBytes);
  put16(bytes, 6, 0);
}
