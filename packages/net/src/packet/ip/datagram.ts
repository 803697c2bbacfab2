/**
 * Datagrams as the protocols above IPv4 see them: one that came in is a chain of packet buffers, one that goes out is a header and pieces
 * of memory that are only referred to.
 */
import { addToSum, checksumOf } from '../wire/bytes.js';
import type { Ipv4Address } from '../wire/ipv4-address.js';
import { pseudoHeaderSum } from '../wire/ipv4-header.js';
import type { PacketBuffer } from '../packet-buffer.js';

/** A datagram that came in. Whoever is given it frees or holds every buffer of the chain. */
export interface IncomingDatagram {
  readonly source: Ipv4Address;
  readonly destination: Ipv4Address;
  readonly protocol: number;
  /** The payload: `start … end` of each buffer. */
  readonly first: PacketBuffer;
  readonly lengthBytes: number;
  /** True if any of its buffers is tagged. */
  readonly isFromReserve: boolean;
}

/** True if a UDP or TCP checksum is right. */
export function hasRightChecksum(datagram: IncomingDatagram): boolean {
  let sum = pseudoHeaderSum(datagram.source, datagram.destination, datagram.protocol, datagram.lengthBytes);
  let nrBefore = 0;
  for (let buffer: PacketBuffer | null = datagram.first; buffer !== null; buffer = buffer.next) {
    sum = addToSum(sum, buffer.bytes, buffer.start, buffer.end, nrBefore);
    nrBefore += buffer.lengthBytes;
  }
  return checksumOf(sum) === 0;
}

/** Longest transport header. */
const HEADER_MAX_BYTES = 24;

/** A datagram that goes out; one object is used again and again. */
export class OutgoingDatagram {
  protocol = 0;
  destination: Ipv4Address = 0;
  /** It is sent for a marked socket: what waits on its way may stand in the reserve. */
  isMarked = false;
  readonly header = new Uint8Array(HEADER_MAX_BYTES);
  headerBytes = 0;
  readonly parts: Uint8Array[] = [];
  lengthBytes = 0;

  /** Begins a datagram; the header is written by the caller. */
  begin(protocol: number, destination: Ipv4Address, isMarked: boolean): this {
    this.protocol = protocol;
    this.destination = destination;
    this.isMarked = isMarked;
    this.parts.length = 0;
    this.headerBytes = this.lengthBytes = 0;
    return this;
  }

  setHeader(headerBytes: number): void {
    this.headerBytes = headerBytes;
    this.lengthBytes += headerBytes;
  }

  addPart(bytes: Uint8Array): void {
    this.parts.push(bytes);
    this.lengthBytes += bytes.length;
  }

  /** The UDP or TCP checksum of the whole, where the header's own field is 0. */
  checksum(source: Ipv4Address): number {
    let sum = pseudoHeaderSum(source, this.destination, this.protocol, this.lengthBytes);
    sum = addToSum(sum, this.header, 0, this.headerBytes);
    let nrBefore = this.headerBytes;
    for (const part of this.parts) {
      sum = addToSum(sum, part, 0, part.length, nrBefore);
      nrBefore += part.length;
    }
    return checksumOf(sum);
  }

  /** Copies bytes `from … to` of the datagram to `target[at …)`. */
  copy(from: number, to: number, target: Uint8Array, at: number): void {
    let begin = 0;
    let put = at;
    for (let n = -1; n < this.parts.length && begin < to; n++) {
      const part = n < 0 ? this.header : this.parts[n];
      const lengthBytes = n < 0 ? this.headerBytes : part.length;
      const first = Math.max(from - begin, 0);
      const last = Math.min(to - begin, lengthBytes);
      if (first < last) {
        target.set(first === 0 && last === part.length ? part : part.subarray(first, last), put);
        put += last - first;
      }
      begin += lengthBytes;
    }
  }
}
