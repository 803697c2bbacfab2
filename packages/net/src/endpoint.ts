/**
 * Ends of a connection, as the kernel's table of local connections compares them. The two ends of one connection write the same address in the
 * same way, though one of them may listen for both versions of the protocol and see an IPv4 address as a part of IPv6.
 */
import { formatAddress } from './address.js';

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** `127.0.0.1:50312`, `[::1]:50312`. */
export function endpointText(host: string, port: number): string {
  return formatAddress({ kind: 'tcp', host: MAPPED.exec(host)?.[1] ?? host, port });
}
