/**
 * Numbers of the NBD protocol (fixed newstyle), from the public-domain specification `doc/proto.md` of the NetworkBlockDevice project.
 * All integers on the wire are big-endian. 64-bit magics are kept as two 32-bit halves, because numbers end at 2^53.
 */

/** TCP port when a URL names none. */
export const DEFAULT_PORT = 10809;

/** A 64-bit constant as its two halves. */
export interface Magic64 {
  readonly high: number;
  readonly low: number;
}

/** First word of the greeting, `NBDMAGIC`. */
export const GREETING_MAGIC: Magic64 = { high: 0x4e42444d, low: 0x41474943 };
/** Second word of the greeting, and of each option, `IHAVEOPT`. */
export const OPTION_MAGIC: Magic64 = { high: 0x49484156, low: 0x454f5054 };
/** Second word of an oldstyle greeting, which we refuse. */
export const OLDSTYLE_MAGIC: Magic64 = { high: 0x00004202, low: 0x81861253 };
/** First word of an option reply. */
export const OPTION_REPLY_MAGIC: Magic64 = { high: 0x0003e889, low: 0x045565a9 };
/** First word of a compact request. */
export const REQUEST_MAGIC = 0x25609513;
/** First word of a simple reply. */
export const SIMPLE_REPLY_MAGIC = 0x67446698;

/** First word of a chunk of a structured reply. */
export const CHUNK_MAGIC = 0x668e33ef;

/** Bytes of a greeting: two magics and the handshake flags. */
export const GREETING_BYTES = 18;
/** Bytes of an option request before its data. */
export const OPTION_HEADER_BYTES = 16;
/** Bytes of an option reply before its data. */
export const OPTION_REPLY_HEADER_BYTES = 20;
/** Bytes of a compact request before its payload. */
export const REQUEST_BYTES = 28;
/** Bytes of a simple reply before its payload. */
export const SIMPLE_REPLY_BYTES = 16;
/** Bytes of a chunk of a structured reply before its payload. */
export const CHUNK_BYTES = 20;
/** Zeroes after the reply to EXPORT_NAME, unless both sides said NO_ZEROES. */
export const EXPORT_NAME_ZEROES = 124;
/** Longest string of the protocol in bytes. */
export const STRING_MAX_BYTES = 4096;
/** Largest payload where block sizes were not negotiated. */
export const DEFAULT_MAX_PAYLOAD_BYTES = 32 * 2 ** 20;

/** Handshake flags of the server; the client answers with the same bits. */
export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;

/** Types of option replies; errors have bit 31. */
export const OptionReply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_POLICY: 0x80000002,
  ERR_INVALID: 0x80000003,
  ERR_PLATFORM: 0x80000004,
  ERR_TLS_REQD: 0x80000005,
  ERR_UNKNOWN: 0x80000006,
  ERR_SHUTDOWN: 0x80000007,
  ERR_BLOCK_SIZE_REQD: 0x80000008,
  ERR_TOO_BIG: 0x80000009,
} as const;

/** Types of information in INFO replies. */
export const Info = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** Transmission flags: what the server offers for an export. */
export const TransmissionFlag = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  ROTATIONAL: 1 << 4,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
} as const;

export const Command = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, WRITE_ZEROES: 6, BLOCK_STATUS: 7 } as const;

export const CommandFlag = { FUA: 1 << 0, NO_HOLE: 1 << 1, DF: 1 << 2, REQ_ONE: 1 << 3 } as const;

/** Set in the last chunk of a structured reply. */
export const CHUNK_DONE = 1;

/** Types of chunks; errors have bit 15. */
export const Chunk = { NONE: 0, OFFSET_DATA: 1, OFFSET_HOLE: 2, BLOCK_STATUS: 5, ERROR: 0x8001, ERROR_OFFSET: 0x8002 } as const;

/** The context that says how an export is stored, and its flags. */
export const ALLOCATION_CONTEXT = 'base:allocation';
export const AllocationFlag = { HOLE: 1, ZERO: 2 } as const;
