/**
 * Names of files. A name is a string of 1 to 255 bytes without `/` and NUL. On disks and wires names are bytes, mostly UTF-8; a byte
 * that is not part of UTF-8 stands in the string as the lone surrogate U+DC00 + byte (128 to 255), so that every name on a disk has
 * exactly one string and goes back as it came. Other lone surrogates are refused with EILSEQ.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { NAME_MAX } from './mode.js';

/**
 * Bytes one UTF-16 unit of a well-formed name adds: a surrogate pair counts 4 with its first.
 * @returns bytes, or `-EILSEQ` for a surrogate that is neither part of a pair nor a byte.
 */
export function unitBytes(text: string, at: number): number | NegErrno {
  const unit = text.charCodeAt(at);
  if (unit < 0x80) return 1;
  if (unit < 0x800) return 2;
  if (unit < 0xd800 || unit > 0xdfff) return 3;
  if (unit < 0xdc00) {
    const next = at + 1 < text.length ? text.charCodeAt(at + 1) : 0;
    return next >= 0xdc00 && next <= 0xdfff ? 4 : -Errno.EILSEQ;
  }
  const before = at > 0 ? text.charCodeAt(at - 1) : 0;
  if (before >= 0xd800 && before < 0xdc00) return 0;
  return unit >= 0xdc80 && unit <= 0xdcff ? 1 : -Errno.EILSEQ;
}

/** Bytes of a name or path; `-EILSEQ`. */
export function nameBytes(text: string): number | NegErrno {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = unitBytes(text, i);
    if (unit < 0) return unit;
    bytes += unit;
  }
  return bytes;
}

/** 0 for a name that can be made; `-EINVAL` (empty, `.`, `..`, a `/` or NUL in it), `-ENAMETOOLONG`, `-EILSEQ`. */
export function checkName(name: string): 0 | NegErrno {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) return -Errno.EINVAL;
  const bytes = nameBytes(name);
  return bytes > NAME_MAX ? -Errno.ENAMETOOLONG : Math.min(bytes, 0);
}

/** The bytes of a name, as they stand on a disk. */
export function encodeName(name: string): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < name.length; i++) {
    const code = name.codePointAt(i) as number;
    if (code >= 0xdc80 && code <= 0xdcff) bytes.push(code - 0xdc00);
    else if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else {
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
      i++;
    }
  }
  return Uint8Array.from(bytes);
}

/** The string of the bytes `from` to `to`, of a name or a path (not megabytes). Never fails. */
export function decodeName(bytes: Uint8Array, from = 0, to = bytes.length): string {
  const units: number[] = [];
  for (let i = from; i < to; ) {
    const length = sequenceLength(bytes, i, to);
    if (length === 0) {
      units.push(0xdc00 + bytes[i++]);
      continue;
    }
    let code = length === 1 ? bytes[i] : bytes[i] & (0x7f >> length);
    for (let k = 1; k < length; k++) code = (code << 6) | (bytes[i + k] & 0x3f);
    if (code < 0x10000) units.push(code);
    else units.push(0xd800 + ((code - 0x10000) >>> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
    i += length;
  }
  return String.fromCharCode(...units);
}

/** Bytes of the UTF-8 sequence at `at`: 1 to 4, or 0 if there is none (a bad byte, an overlong form, a surrogate, beyond U+10FFFF). */
function sequenceLength(bytes: Uint8Array, at: number, to: number): number {
  const first = bytes[at];
  if (first < 0x80) return 1;
  const length = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > to) return 0;
  for (let k = 1; k < length; k++) if ((bytes[at + k] & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1];
  const isBad =
    (first === 0xe0 && second < 0xa0) ||
    (first === 0xed && second > 0x9f) ||
    (first === 0xf0 && second < 0x90) ||
    (first === 0xf4 && second > 0x8f);
  return isBad ? 0 : length;
}
