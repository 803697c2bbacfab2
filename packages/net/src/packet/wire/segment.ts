/**
 * Segment headers of the byte stream: those of TCP (RFC 9293), with no option but the largest segment on SYN.
 *
 *     0 source port 2 | 2 destination port 2 | 4 sequence 4 | 8 acknowledgement 4 | 12 header length / 4 4, reserved 4 | 13 flags 1
 *     14 window 2 | 16 checksum 2 | 18 urgent 2 | 20 options: 2, 4, largest segment 2                         20 or 24 bytes
 */
import { get16, get32, put16, put32 } from './bytes.js';

export const SEGMENT_HEADER_BYTES = 20;
export const SYN_HEADER_BYTES = 24;
export const Flag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;
/** Largest window: there is no scaling. */
export const WINDOW_MAX_BYTES = 65_535;

/** What a header says. */
export interface Segment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly windowBytes: number;
  readonly headerBytes: number;
  /** Largest segment of the sender, on SYN; 0 if it does not say. */
  readonly segmentMaxBytes: number;
}

/** Writes a header with checksum 0. @returns its length. */
export function putSegment(bytes: Uint8Array, segment: Omit<Segment, 'headerBytes'>): number {
  const headerBytes = segment.segmentMaxBytes > 0 ? SYN_HEADER_BYTES : SEGMENT_HEADER_BYTES;
  put16(bytes, 0, segment.sourcePort);
  put16(bytes, 2, segment.destinationPort);
  put32(bytes, 4, segment.sequence);
  put32(bytes, 8, segment.acknowledgement);
  bytes[12] = (headerBytes / 4) << 4;
  bytes[13] = segment.flags;
  put16(bytes, 14, segment.windowBytes);
  put32(bytes, 16, 0);
  if (segment.segmentMaxBytes > 0) put32(bytes, 20, 0x02040000 + segment.segmentMaxBytes);
  return headerBytes;
}

/** The header in `bytes[at … end)`, or null if it does not fit in. */
export function getSegment(bytes: Uint8Array, at: number, end: number): Segment | null {
  if (end - at < SEGMENT_HEADER_BYTES) return null;
  const headerBytes = (bytes[at + 12] >>> 4) * 4;
  if (headerBytes < SEGMENT_HEADER_BYTES || at + headerBytes > end) return null;
  return {
    sourcePort: get16(bytes, at),
    destinationPort: get16(bytes, at + 2),
    sequence: get32(bytes, at + 4),
    acknowledgement: get32(bytes, at + 8),
    flags: bytes[at + 13],
    windowBytes: get16(bytes, at + 14),
    headerBytes,
    segmentMaxBytes: largestSegment(bytes, at + SEGMENT_HEADER_BYTES, at + headerBytes),
  };
}

function largestSegment(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at < end && bytes[at] !== 0; ) {
    if (bytes[at] === 1) at++;
    else if (at + 1 >= end || bytes[at + 1] < 2) return 0;
    else if (bytes[at] === 2 && bytes[at + 1] === 4 && at + 4 <= end) return get16(bytes, at + 2);
    else at += bytes[at + 1];
  }
  return 0;
}
