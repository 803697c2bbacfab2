/** Bits of a bitmap block: bit i is bit i & 7 of byte i >>> 3. */

export function testBit(bytes: Uint8Array, bit: number): boolean {
  return (bytes[bit >>> 3] & (1 << (bit & 7))) !== 0;
}

export function setBit(bytes: Uint8Array, bit: number): void {
  bytes[bit >>> 3] |= 1 << (bit & 7);
}

export function clearBit(bytes: Uint8Array, bit: number): void {
  bytes[bit >>> 3] &= ~(1 << (bit & 7));
}

/** The first clear bit of several bitmaps together (one that is clear in all), from `from` to before `to`; -1 if there is none. */
export function findClear(bitmaps: readonly Uint8Array[], from: number, to: number): number {
  for (let bit = from; bit < to; ) {
    let byte = 0;
    for (const bytes of bitmaps) byte |= bytes[bit >>> 3];
    if (byte === 0xff) bit = (bit | 7) + 1;
    else if ((byte & (1 << (bit & 7))) === 0) return bit;
    else bit++;
  }
  return -1;
}
