/**
 * Reading and writing the little-endian fields of md's structures, and the error for one that is wrong: it names the device, the field and
 * its offset.
 */
import { KernelError } from '@tidemark/core';

/** Bytes of a sector: the unit of md's offsets and sizes. */
export const SECTOR_BYTES = 512;

/** A view of `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A 64-bit field that must be a safe number. @throws what `corrupt` makes if it is too large. */
export function readSafe(view: DataView, offset: number, corrupt: (what: string, offset: number) => KernelError, what: string): number {
  const value = view.getBigUint64(offset, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(`${what} is ${value}`, offset);
  return Number(value);
}

/** Makes the error for a structure that is damaged. */
export function corruptIn(structure: string, name: string): (what: string, offset: number) => KernelError {
  return (what, offset) =>
    new KernelError('EUCLEAN', `${structure} of ${name} is damaged: ${what} (offset ${offset})`, {
      details: { device: name, offsetBytes: offset },
    });
}

/** 16 bytes as mdadm prints them: `00010203:04050607:08090a0b:0c0d0e0f`. */
export function formatUuid(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 16), hex.slice(16, 24), hex.slice(24, 32)].join(':');
}

/** True if two runs of bytes are the same. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
