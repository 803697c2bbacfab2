/** The portmapper, version 2 (RFC 1833): at which port a program listens. We only ask. */
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';

export const PORTMAP_PROGRAM = 100_000;
export const PORTMAP_VERSION = 2;
export const PORTMAP_PORT = 111;
export const Portmap = { NULL: 0, GETPORT: 3 } as const;
const PROTOCOL_TCP = 6;
const PORT_MAX = 65_535;

/** GETPORT over TCP. */
export function putGetPort(out: XdrWriter, program: number, version: number): void {
  out.u32(program).u32(version).u32(PROTOCOL_TCP).u32(0);
}

/** @returns the port, or 0 if the program is not there. */
export function getPort(input: XdrReader): number {
  return input.enum(PORT_MAX, 'a port');
}
