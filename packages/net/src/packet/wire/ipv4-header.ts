/**
 * IPv4 headers (RFC 791), without options when sent; options of others are skipped.
 *
 *     0 version 4, length 4 | 1 service 1 | 2 total length 2 | 4 identification 2 | 6 flags 3, fragment offset / 8 13
 *     8 time to live 1 | 9 protocol 1 | 10 checksum 2 | 12 source 4 | 16 destination 4                             20 bytes
 */
import { addToSum, checksumOf, get16, get32, put16, put32 } from './bytes.js';
import type { Ipv4Address } from './ipv4-address.js';

export const IPV4_HEADER_BYTES = 20;
/** Longest datagram: the total length has 16 bits. */
export const DATAGRAM_MAX_BYTES = 65_535;
export const Protocol = { TCP: 6, UDP: 17 } as const;
const MORE_FRAGMENTS = 0x2000;
const TIME_TO_LIVE = 64;

/** What a header says. */
export interface Ipv4Header {
  readonly headerBytes: number;
  readonly totalBytes: number;
  readonly identification: number;
  readonly hasMore: boolean;
  readonly offsetBytes: number;
  readonly protocol: number;
  readonly source: Ipv4Address;
  readonly destination: Ipv4Address;
}

export function putIpv4(bytes: Uint8Array, at: number, header: Omit<Ipv4Header, 'headerBytes'>): void {
  put16(bytes, at, 0x4500);
  put16(bytes, at + 2, header.totalBytes);
  put16(bytes, at + 4, header.identification);
  put16(bytes, at + 6, (header.hasMore ? MORE_FRAGMENTS : 0) | (header.offsetBytes >>> 3));
  bytes[at + 8] = TIME_TO_LIVE;
  bytes[at + 9] = header.protocol;
  put16(bytes, at + 10, 0);
  put32(bytes, at + 12, header.source);
  put32(bytes, at + 16, header.destination);
  put16(bytes, at + 10, checksumOf(addToSum(0, bytes, at, at + IPV4_HEADER_BYTES)));
}

/** The header in `bytes[at … end)`, or null if it is broken: version, lengths, checksum, or a fragment that runs past the largest datagram. */
export function getIpv4(bytes: Uint8Array, at: number, end: number): Ipv4Header | null {
  if (end - at < IPV4_HEADER_BYTES || bytes[at] >>> 4 !== 4) return null;
  const headerBytes = (bytes[at] & 15) * 4;
  const totalBytes = get16(bytes, at + 2);
  if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes || at + totalBytes > end) return null;
  if (checksumOf(addToSum(0, bytes, at, at + headerBytes)) !== 0) return null;
  const fragment = get16(bytes, at + 6);
  const offsetBytes = (fragment & 0x1fff) * 8;
  const hasMore = (fragment & MORE_FRAGMENTS) !== 0;
  if (offsetBytes + totalBytes > DATAGRAM_MAX_BYTES) return null;
  if (hasMore && (totalBytes - headerBytes) % 8 !== 0) return null;
  return {
    headerBytes,
    totalBytes,
    identification: get16(bytes, at + 4),
    hasMore,
    offsetBytes,
    protocol: bytes[at + 9],
    source: get32(bytes, at + 12),
    destination: get32(bytes, at + 16),
  };
}

/** Sum of the pseudo header that UDP and TCP checksums begin with. */
export function pseudoHeaderSum(source: Ipv4Address, destination: Ipv4Address, protocol: number, lengthBytes: number): number {
  return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + lengthBytes;
}
