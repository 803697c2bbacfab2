/**
 * Ethernet II frames and ARP (RFC 826) for IPv4. All numbers in network order.
 *
 *     frame   0 destination 6 | 6 source 6 | 12 type 2 | 14 payload
 *     ARP     0 hardware 2 = 1 | 2 protocol 2 = 0x0800 | 4 sizes 6, 4 | 6 operation 2 | 8 sender link 6 | 14 sender IPv4 4
 *             18 target link 6 | 24 target IPv4 4                                                                     28 bytes
 */
import { get16, get32, put16, put32 } from './bytes.js';
import type { Ipv4Address, LinkAddress } from './ipv4-address.js';

export const ETHERNET_HEADER_BYTES = 14;
export const ARP_BYTES = 28;
export const EtherType = { IPV4: 0x0800, ARP: 0x0806 } as const;
export const ArpOperation = { REQUEST: 1, REPLY: 2 } as const;

export function getLinkAddress(bytes: Uint8Array, at: number): LinkAddress {
  return get16(bytes, at) * 2 ** 32 + get32(bytes, at + 2);
}

export function putLinkAddress(bytes: Uint8Array, at: number, address: LinkAddress): void {
  put16(bytes, at, Math.floor(address / 2 ** 32));
  put32(bytes, at + 2, address % 2 ** 32);
}

export function putEthernet(bytes: Uint8Array, destination: LinkAddress, source: LinkAddress, type: number): void {
  putLinkAddress(bytes, 0, destination);
  putLinkAddress(bytes, 6, source);
  put16(bytes, 12, type);
}

/** An ARP message. */
export interface Arp {
  readonly operation: number;
  readonly senderLink: LinkAddress;
  readonly sender: Ipv4Address;
  readonly targetLink: LinkAddress;
  readonly target: Ipv4Address;
}

export function putArp(bytes: Uint8Array, at: number, arp: Arp): void {
  put16(bytes, at, 1);
  put16(bytes, at + 2, EtherType.IPV4);
  put16(bytes, at + 4, 0x0604);
  put16(bytes, at + 6, arp.operation);
  putLinkAddress(bytes, at + 8, arp.senderLink);
  put32(bytes, at + 14, arp.sender);
  putLinkAddress(bytes, at + 18, arp.targetLink);
  put32(bytes, at + 24, arp.target);
}

/** The ARP message in `bytes[at … end)`, or null if it is none for IPv4 over Ethernet. */
export function getArp(bytes: Uint8Array, at: number, end: number): Arp | null {
  if (end - at < ARP_BYTES || get16(bytes, at) !== 1 || get16(bytes, at + 2) !== EtherType.IPV4 || get16(bytes, at + 4) !== 0x0604)
    return null;
  return {
    operation: get16(bytes, at + 6),
    senderLink: getLinkAddress(bytes, at + 8),
    sender: get32(bytes, at + 14),
    targetLink: getLinkAddress(bytes, at + 18),
    target: get32(bytes, at + 24),
  };
}
