/**
 * IPv4 addresses as numbers (0 … 2^32 − 1) and as people write them, and the link addresses (48 bits in a number) of the in-memory network:
 * `02:00` followed by the host's IPv4 address, a locally administered address.
 */
import { KernelError } from '@tidemark/core';

export type Ipv4Address = number;
/** A 48-bit link address. */
export type LinkAddress = number;

export const BROADCAST_LINK: LinkAddress = 2 ** 48 - 1;
const LOCALLY_ADMINISTERED = 0x0200 * 2 ** 32;

/** The number of `10.0.0.1`, or null if the text is no address. */
export function parseIpv4(text: string): Ipv4Address | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return null;
  let address = 0;
  for (const part of match.slice(1)) {
    if (Number(part) > 255) return null;
    address = address * 256 + Number(part);
  }
  return address;
}

/** @throws KernelError EINVAL if the text is no address. */
export function ipv4(text: string): Ipv4Address {
  const address = parseIpv4(text);
  if (address === null) throw new KernelError('EINVAL', `${JSON.stringify(text)} is no IPv4 address`);
  return address;
}

export function formatIpv4(address: Ipv4Address): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** True for 127.0.0.0/8. */
export function isLoopback(address: Ipv4Address): boolean {
  return address >>> 24 === 127;
}

/** The link address of a host of the in-memory network. */
export function linkAddressOf(address: Ipv4Address): LinkAddress {
  return LOCALLY_ADMINISTERED + address;
}
