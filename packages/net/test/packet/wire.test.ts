/** Wire formats: what is put is what is got, checksums by the book, and nothing broken is taken for a header. */
import {
  addToSum,
  ArpOperation,
  checksumOf,
  ETHERNET_HEADER_BYTES,
  Flag,
  formatIpv4,
  getArp,
  getIpv4,
  getLinkAddress,
  getSegment,
  IPV4_HEADER_BYTES,
  ipv4,
  linkAddressOf,
  parseIpv4,
  putArp,
  putIpv4,
  putLinkAddress,
  putSegment,
} from '@tidemark/net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const half = fc.integer({ min: 0, max: 0xffff });

/** RFC 1071 in the plainest way: words summed with end-around carry. */
function plainChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += bytes[at] * 256 + (bytes[at + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

describe('the Internet checksum', () => {
  it('is that of RFC 1071, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.array(fc.nat(300), { maxLength: 4 }), (bytes, cuts) => {
        const ends = [...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length].sort((a, b) => a - b);
        let sum = 0;
        let from = 0;
        for (const to of ends) {
          sum = addToSum(sum, bytes, from, to, from);
          from = to;
        }
        expect(checksumOf(sum) % 0xffff).toBe(plainChecksum(bytes) % 0xffff);
      }),
    );
  });

  it('of the example in RFC 1071 is known', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(checksumOf(addToSum(0, bytes, 0, 8))).toBe(~0xddf2 & 0xffff);
  });
});

describe('addresses', () => {
  it('read as they are written', () => {
    fc.assert(fc.property(word, (address) => parseIpv4(formatIpv4(address)) === address));
    for (const text of ['', '1.2.3', '1.2.3.256', '1.2.3.4.5', 'server', '1.2.3.-4', ' 1.2.3.4']) expect(parseIpv4(text)).toBeNull();
    expect(() => ipv4('nowhere')).toThrow(/no IPv4 address/);
  });

  it('on the link are 48 bits', () => {
    const bytes = new Uint8Array(8);
    fc.assert(
      fc.property(word, (address) => {
        putLinkAddress(bytes, 1, linkAddressOf(address));
        expect(getLinkAddress(bytes, 1)).toBe(linkAddressOf(address));
      }),
    );
  });
});

describe('headers', () => {
  it('IPv4: what is put is got, and one flipped bit is found', () => {
    const header = fc.record({
      totalBytes: fc.integer({ min: IPV4_HEADER_BYTES, max: 60 }),
      identification: half,
      hasMore: fc.constant(false),
      offsetBytes: fc.integer({ min: 0, max: 1000 }).map((n) => n * 8),
      protocol: fc.integer({ min: 0, max: 255 }),
      source: word,
      destination: word,
    });
    fc.assert(
      fc.property(header, fc.nat(IPV4_HEADER_BYTES * 8 - 1), (put, bit) => {
        const bytes = new Uint8Array(64);
        putIpv4(bytes, 3, put);
        expect(getIpv4(bytes, 3, 63)).toEqual({ ...put, headerBytes: IPV4_HEADER_BYTES });
        expect(getIpv4(bytes, 3, 3 + put.totalBytes - 1)).toBeNull();
        bytes[3 + (bit >> 3)] ^= 1 << (bit & 7);
        expect(getIpv4(bytes, 3, 63)).toBeNull();
      }),
    );
  });

  it('IPv4: a fragment that runs past 65,535 bytes, or whose middle is no multiple of 8, is none', () => {
    const bytes = new Uint8Array(64);
    const whole = { totalBytes: 28, identification: 1, hasMore: true, offsetBytes: 0, protocol: 17, source: 1, destination: 2 };
    putIpv4(bytes, 0, whole);
    expect(getIpv4(bytes, 0, 64)).not.toBeNull();
    putIpv4(bytes, 0, { ...whole, totalBytes: 27 });
    expect(getIpv4(bytes, 0, 64)).toBeNull();
    putIpv4(bytes, 0, { ...whole, offsetBytes: 65_528 });
    expect(getIpv4(bytes, 0, 64)).toBeNull();
  });

  it('segments: what is put is got', () => {
    const segment = fc.record({
      sourcePort: half,
      destinationPort: half,
      sequence: word,
      acknowledgement: word,
      flags: fc.constantFrom(Flag.SYN, Flag.ACK, Flag.FIN | Flag.ACK, Flag.RST),
      windowBytes: half,
      segmentMaxBytes: half,
    });
    fc.assert(
      fc.property(segment, (put) => {
        const bytes = new Uint8Array(32);
        const headerBytes = putSegment(bytes, put);
        expect(getSegment(bytes, 0, 32)).toEqual({ ...put, headerBytes });
        expect(getSegment(bytes, 0, headerBytes - 1)).toBeNull();
      }),
    );
  });

  it('ARP: what is put is got', () => {
    const arp = { operation: ArpOperation.REPLY, senderLink: linkAddressOf(1), sender: 2, targetLink: linkAddressOf(3), target: 4 };
    const bytes = new Uint8Array(64);
    putArp(bytes, ETHERNET_HEADER_BYTES, arp);
    expect(getArp(bytes, ETHERNET_HEADER_BYTES, 64)).toEqual(arp);
    expect(getArp(bytes, ETHERNET_HEADER_BYTES, ETHERNET_HEADER_BYTES + 27)).toBeNull();
  });

  it('no bytes whatever make any of them throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(80), (bytes, at) => {
        const from = Math.min(at, bytes.length);
        getIpv4(bytes, from, bytes.length);
        getSegment(bytes, from, bytes.length);
        getArp(bytes, from, bytes.length);
      }),
    );
  });
});
