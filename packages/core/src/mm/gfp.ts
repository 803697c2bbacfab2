/**
 * How a frame is wanted: its class, and what may be done to get it. The class is the low three bits, flags are added.
 */
import { FrameClass } from './frame-table.js';

export const Gfp = {
  FILE: FrameClass.FILE,
  ANON: FrameClass.ANON,
  SLAB: FrameClass.SLAB,
  STANDING: FrameClass.STANDING,
  TRANSIENT: FrameClass.TRANSIENT,
  /** The frame is filled with zeroes. */
  ZERO: 8,
  /** Only if free memory stays above `low`, so that kswapd need not be woken: for readahead. */
  SPARE: 16,
  /**
   * The page is new and has no backing yet. It leaves alone what lies between `min` and `low`: when swap is full and every page in
   * memory must stay, that is what stored pages are read back into.
   */
  GROWS: 32,
  /** The caller cannot wait: ring refill, completion objects. It may go down to the atomic floor (M3). For `allocPage` only. */
  ATOMIC: 64,
  /** Never from a reserve, whatever the caller's rights (M2, M19): it has another way if this fails. */
  NO_RESERVE: 128,
} as const;

/** The bits of the class. */
export const GFP_CLASS_MASK = 7;
/** Above all bits. */
export const GFP_END = 256;
