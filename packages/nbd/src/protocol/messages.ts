/**
 * Messages of the protocol, read from and written to memory in place.
 *
 *     request       magic u32 | command flags u16 | command u16 | cookie u64 | offset u64 | length u32          28 bytes
 *     simple reply  magic u32 | error u32 | cookie u64                                                          16 bytes
 *     chunk         magic u32 | flags u16 | type u16 | cookie u64 | length u32 | payload
 *     option        IHAVEOPT u64 | option u32 | length u32 | data
 *     option reply  magic u64 | option u32 | type u32 | length u32 | data
 *
 * A cookie is two opaque 32-bit words. An offset is a number up to 2^53; a larger one reads as `Infinity`, which no check lets pass.
 */
import {
  CHUNK_MAGIC,
  type Magic64,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
} from './constants.js';

const TWO_32 = 2 ** 32;

/** A 64-bit unsigned number, `Infinity` if it is beyond what a number holds exactly. */
export function getU64(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high < 0x200000 ? high * TWO_32 + view.getUint32(at + 4) : Number.POSITIVE_INFINITY;
}

export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / TWO_32));
  view.setUint32(at + 4, value % TWO_32);
}

export function hasMagic(view: DataView, at: number, magic: Magic64): boolean {
  return view.getUint32(at) === magic.high && view.getUint32(at + 4) === magic.low;
}

export function setMagic(view: DataView, at: number, magic: Magic64): void {
  view.setUint32(at, magic.high);
  view.setUint32(at + 4, magic.low);
}

/** Writes a request's 28 bytes. */
export function putRequest(
  view: DataView,
  at: number,
  flags: number,
  command: number,
  cookieHigh: number,
  cookieLow: number,
  offsetBytes: number,
  lengthBytes: number,
): void {
  view.setUint32(at, REQUEST_MAGIC);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, command);
  view.setUint32(at + 8, cookieHigh);
  view.setUint32(at + 12, cookieLow);
  setU64(view, at + 16, offsetBytes);
  view.setUint32(at + 24, lengthBytes);
}

/** Writes a simple reply's 16 bytes. */
export function putSimpleReply(view: DataView, at: number, error: number, cookieHigh: number, cookieLow: number): void {
  view.setUint32(at, SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, cookieHigh);
  view.setUint32(at + 12, cookieLow);
}

/** Writes a chunk's 20 bytes; its cookie stands where that of a simple reply would. */
export function putChunk(
  view: DataView,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  lengthBytes: number,
): void {
  view.setUint32(at, CHUNK_MAGIC);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, cookieHigh);
  view.setUint32(at + 12, cookieLow);
  view.setUint32(at + 16, lengthBytes);
}

/** Writes an option with its data. @returns the bytes written. */
export function putOption(view: DataView, bytes: Uint8Array, at: number, option: number, data: Uint8Array): number {
  setMagic(view, at, OPTION_MAGIC);
  view.setUint32(at + 8, option);
  view.setUint32(at + 12, data.length);
  bytes.set(data, at + OPTION_HEADER_BYTES);
  return OPTION_HEADER_BYTES + data.length;
}

/** Writes the header of an option reply. @returns its bytes. */
export function putOptionReply(view: DataView, at: number, option: number, type: number, lengthBytes: number): number {
  setMagic(view, at, OPTION_REPLY_MAGIC);
  view.setUint32(at + 8, option);
  view.setUint32(at + 12, type);
  view.setUint32(at + 16, lengthBytes);
  return OPTION_REPLY_HEADER_BYTES;
}
