/** Bytes that say where they belong: equal only at the same place and of the same tag. */
export function pattern(lengthBytes: number, tag: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = (Math.imul(tag + 1, 0x9e3779b1) | 1) >>> 0;
  for (let i = 0; i < lengthBytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  return bytes;
}

/** Offset of the first byte in which two arrays differ, or -1. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Math.min(a.length, b.length);
  if (Buffer.compare(a, b) === 0) return -1;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i;
  return -1;
}
