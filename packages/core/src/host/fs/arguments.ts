/** Arguments of `node:fs` calls: tested in Node's order, with Node's errors, and turned into what the VFS takes. */
import { fileURLToPath } from 'node:url';
import { OpenFlag } from '../../vfs/mode.js';
import { decodeName } from '../../vfs/name.js';
import { nodeError, outOfRange, wrongType, wrongValue } from './errors.js';

/** What Node takes for a path. */
export type PathArgument = string | Uint8Array | URL;

/** A path as a string; the bytes of a Buffer as names have them (vfs/name.ts). @throws TypeError as Node. */
export function toPath(value: unknown, name = 'path'): string {
  if (typeof value === 'string') {
    if (value.includes('\0')) throw wrongValue(name, value, 'must be a string, Uint8Array, or URL without null bytes');
    return value;
  }
  if (value instanceof Uint8Array) {
    if (value.includes(0)) throw wrongValue(name, value, 'must be a string, Uint8Array, or URL without null bytes');
    return value.length > 1 << 16 ? 'x'.repeat(1 << 16) : decodeName(value); // far too long either way
  }
  if (value instanceof URL) return toPath(fileURLToPath(value), name);
  throw wrongType(name, 'of type string or an instance of Buffer or URL', value);
}

/** An integer in a range. @throws as Node. */
export function toInteger(value: unknown, name: string, least = Number.MIN_SAFE_INTEGER, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number') throw wrongType(name, 'of type number', value);
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
  if (value < least || value > most) throw outOfRange(name, `>= ${least} && <= ${most}`, value);
  return value;
}

/** Permission bits: a number, or an octal text. */
export function toMode(value: unknown, name: string, fallback?: number): number {
  const given = value ?? fallback;
  if (typeof given === 'string') {
    if (!/^[0-7]+$/.test(given)) throw wrongValue(name, given, 'must be a 32-bit unsigned integer or an octal string');
    return toInteger(Number.parseInt(given, 8), name, 0, 2 ** 32 - 1);
  }
  return toInteger(given, name, 0, 2 ** 32 - 1);
}

const { CREATE, TRUNCATE, APPEND, EXCLUSIVE, READ_ONLY, READ_WRITE, WRITE_ONLY, SYNC } = OpenFlag;
const FLAGS: Record<string, number> = {
  r: READ_ONLY,
  rs: READ_ONLY | SYNC,
  sr: READ_ONLY | SYNC,
  'r+': READ_WRITE,
  'rs+': READ_WRITE | SYNC,
  'sr+': READ_WRITE | SYNC,
  w: TRUNCATE | CREATE | WRITE_ONLY,
  wx: TRUNCATE | CREATE | WRITE_ONLY | EXCLUSIVE,
  xw: TRUNCATE | CREATE | WRITE_ONLY | EXCLUSIVE,
  'w+': TRUNCATE | CREATE | READ_WRITE,
  'wx+': TRUNCATE | CREATE | READ_WRITE | EXCLUSIVE,
  'xw+': TRUNCATE | CREATE | READ_WRITE | EXCLUSIVE,
  a: APPEND | CREATE | WRITE_ONLY,
  ax: APPEND | CREATE | WRITE_ONLY | EXCLUSIVE,
  xa: APPEND | CREATE | WRITE_ONLY | EXCLUSIVE,
  as: APPEND | CREATE | WRITE_ONLY | SYNC,
  sa: APPEND | CREATE | WRITE_ONLY | SYNC,
  'a+': APPEND | CREATE | READ_WRITE,
  'ax+': APPEND | CREATE | READ_WRITE | EXCLUSIVE,
  'xa+': APPEND | CREATE | READ_WRITE | EXCLUSIVE,
  'as+': APPEND | CREATE | READ_WRITE | SYNC,
  'sa+': APPEND | CREATE | READ_WRITE | SYNC,
};

/** Flags of `open`: a number, or a text such as `wx+`. */
export function toFlags(value: unknown, name = 'flags', fallback = 'r'): number {
  if (typeof value === 'number') return toInteger(value, name, -(2 ** 31), 2 ** 31 - 1);
  const given = value ?? fallback;
  const flags = typeof given === 'string' && Object.hasOwn(FLAGS, given) ? FLAGS[given] : undefined;
  if (flags === undefined) throw wrongValue(name, given);
  return flags;
}

/** Seconds since 1970 (a number, a text of one, a Date) in milliseconds. */
export function toTimeMs(value: unknown, name: string): number {
  if (typeof value === 'string' && Number.isFinite(+value) && value.trim() !== '') return +value * 1000;
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return value < 0 ? Math.floor(Date.now()) : value * 1000;
    return Date.now();
  }
  if (value instanceof Date) return value.getTime();
  throw wrongType(name, 'an instance of Date or an Time in seconds', value);
}

export type Options = Record<string, unknown>;

/** Options given as an object, or as the name of an encoding. */
export function toOptions(value: unknown, defaults: Options = {}): Options {
  if (value === null || value === undefined || typeof value === 'function') return defaults;
  const options =
    typeof value === 'string'
      ? { ...defaults, encoding: value }
      : typeof value === 'object'
        ? { ...defaults, ...(value as Options) }
        : null;
  if (options === null) throw wrongType('options', 'one of type string or object', value);
  const { encoding } = options;
  if (encoding !== undefined && encoding !== null && encoding !== 'buffer' && !Buffer.isEncoding(encoding as string))
    throw nodeError('ERR_INVALID_ARG_VALUE', `The argument 'encoding' is invalid encoding. Received '${String(encoding)}'`, TypeError);
  return options;
}

/** Bytes to write: a string in an encoding, or any view. */
export function toBytes(value: unknown, encoding: unknown, name = 'data'): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value, (encoding as BufferEncoding | undefined) ?? 'utf8');
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw wrongType(name, 'of type string or an instance of Buffer, TypedArray, or DataView', value);
}

/** A buffer to read into. */
export function toBuffer(value: unknown, name = 'buffer'): Uint8Array {
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw wrongType(name, 'an instance of Buffer, TypedArray, or DataView', value);
}

/** Where to read or write: a number or bigint from 0 on; null, −1 and what is absent mean the file's own position. */
export function toPosition(value: unknown, name = 'position'): number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint') {
    if (value < -(2n ** 63n) || value > 2n ** 63n - 1n) throw outOfRange(name, `>= ${-(2n ** 63n)} && <= ${2n ** 63n - 1n}`, value);
    return value < 0n ? null : Number(value);
  }
  if (typeof value !== 'number') throw wrongType(name, 'of type bigint or integer', value);
  const position = toInteger(value, name, -1);
  return position === -1 ? null : position;
}

/** 0 … 2^32 − 2, or −1 for "leave it". */
export function toId(value: unknown, name: string): number {
  const id = toInteger(value, name, -1, 2 ** 32 - 1);
  return id === 2 ** 32 - 1 ? -1 : id;
}
