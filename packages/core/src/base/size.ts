/**
 * Sizes as people write them: bytes, or a whole number with `KiB MiB GiB TiB` (`K M G T` mean the same). No fractions.
 */
import { KernelError } from './errno.js';

/** Bytes in a page, a frame and a swap slot. Everything in Tidemark that says "page" means this. */
export const PAGE_SIZE = 4096;
/** log2 of `PAGE_SIZE`. */
export const PAGE_SHIFT = 12;

const UNIT_BYTES: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** A number of bytes, or a text such as `8MiB`. */
export type Size = number | string;

/**
 * Bytes of a size.
 * @throws KernelError EINVAL if it is not a whole, positive, safe number of bytes.
 */
export function parseSize(size: Size | undefined, what = 'size'): number {
  let bytes = Number.NaN;
  if (typeof size === 'number') bytes = size;
  else if (typeof size === 'string') {
    const match = /^(\d+)(?:([KMGT])(?:iB)?)?$/.exec(size.trim());
    if (match) bytes = Number(match[1]) * UNIT_BYTES[match[2] ?? ''];
  }
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  const shown = typeof size === 'string' ? JSON.stringify(size) : String(size);
  if (bytes === 0) throw new KernelError('EINVAL', `${what} ${shown} is nothing`);
  if (bytes > Number.MAX_SAFE_INTEGER) throw new KernelError('EINVAL', `${what} ${shown} is too large`);
  throw new KernelError('EINVAL', `${what} ${shown} is not a size: want bytes, or a whole number with KiB, MiB, GiB or TiB`);
}

/** A size for people: `8 MiB`, `1.5 GiB`, `12 B`. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}
