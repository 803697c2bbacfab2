/**
 * Watermarks (M1) and the ordinary floor (M3), from the size of the arena.
 *
 *     min_free_kB = clamp(isqrt(managed_kB × 16), 128, 262144)
 *     min  = max(min_free_kB / 4, Σ limit + A)        frames; Σ limit of the accounts, A what atomic callers take between refills
 *     gap  = max(min / 4, managed × scale / 10000)    low = min + gap, high = low + gap, promo = high + gap
 */

/** Marks in frames, each above the one before. */
export interface Watermarks {
  readonly min: number;
  readonly low: number;
  readonly high: number;
  readonly promo: number;
}

/** What moves the marks beside the arena's size. */
export interface WatermarkOptions {
  /** Floors can be set at boot: arenas of 16 frames lie below the 128 kB clamp. */
  readonly minFrames?: number;
  /** Ten-thousandths of the arena between two marks. Default 10, that is 0.1 %. */
  readonly scale?: number;
  /** Σ limit over the reserve's accounts. Default 0. */
  readonly reservedFrames?: number;
  /** A of M3. Default 0. */
  readonly atomicFrames?: number;
}

/** Integer square root. */
export function isqrt(n: number): number {
  let root = Math.floor(Math.sqrt(n));
  while (root * root > n) root--;
  while ((root + 1) * (root + 1) <= n) root++;
  return root;
}

/** The marks of an arena of `managedFrames`. */
export function computeWatermarks(managedFrames: number, options: WatermarkOptions = {}): Watermarks {
  const managedKb = managedFrames * 4;
  const minFreeKb = Math.min(Math.max(isqrt(managedKb * 16), 128), 262144);
  const base = options.minFrames ?? Math.floor(minFreeKb / 4);
  const min = Math.max(base, (options.reservedFrames ?? 0) + (options.atomicFrames ?? 0));
  const gap = Math.max(Math.floor(min / 4), Math.floor((managedFrames * (options.scale ?? 10)) / 10000));
  return { min, low: min + gap, high: min + 2 * gap, promo: min + 3 * gap };
}
