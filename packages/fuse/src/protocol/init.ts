/**
 * INIT: what both sides speak and can do. The kernel offers, and gets a part of it granted.
 *
 *     in    0 major   4 minor   8 readahead   12 flags   16 flags2 (from 7.36 on)
 *     out   0 major   4 minor   8 readahead   12 flags   16 background u16   18 congestion u16   20 write   24 granularity of times
 *           28 pages u16   30 -   32 flags2   … 64
 */
import { FUSE_MAJOR, FUSE_MINOR } from './constants.js';
import type { Request } from './request.js';

/** Bytes of the answer. */
export const INIT_OUT_BYTES = 64;

/** What the kernel offers. */
export interface InitOffer {
  readonly major: number;
  readonly minor: number;
  /** Bytes. */
  readonly readahead: number;
  readonly flags: number;
}

/** What is granted. */
export interface InitGrant {
  readonly minor: number;
  readonly readahead: number;
  readonly flags: number;
  /** Requests that the kernel keeps in the background at once. */
  readonly background: number;
  /** Bytes of a WRITE, and pages of any transfer. */
  readonly writeBytes: number;
  readonly pages: number;
}

/** Reads the offer. */
export function readInit(request: Request): InitOffer {
  return { major: request.u32(0), minor: request.u32(4), readahead: request.u32(8), flags: request.u32(12) };
}

/** Writes the grant; the body is 64 bytes, zeroed before. */
export function putInit(out: DataView, at: number, grant: InitGrant): void {
  for (let i = 0; i < INIT_OUT_BYTES; i += 4) out.setUint32(at + i, 0, true);
  out.setUint32(at, FUSE_MAJOR, true);
  out.setUint32(at + 4, Math.min(grant.minor, FUSE_MINOR), true);
  out.setUint32(at + 8, grant.readahead, true);
  out.setUint32(at + 12, grant.flags, true);
  out.setUint16(at + 16, grant.background, true);
  out.setUint16(at + 18, Math.ceil((grant.background * 3) / 4), true);
  out.setUint32(at + 20, grant.writeBytes, true);
  out.setUint32(at + 24, 1, true);
  out.setUint16(at + 28, grant.pages, true);
}
