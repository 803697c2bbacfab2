/** Sizes and bounds of the swap package, in one place. */

/** Slots of a cluster: slots are handed out one after the other within one. */
export const CLUSTER_SLOTS = 256;
/** Clusters looked at for a wholly free one before a part-used one is taken. */
export const CLUSTERS_SEARCHED = 64;
/** Pages of one write to consecutive slots. */
export const RUN_PAGES = 32;
/** Pages read by one fault at first, and at most (M9: customary). */
export const READAHEAD_START_PAGES = 8;
export const READAHEAD_MAX_PAGES = 64;
/** Pages an area takes before areas of the same priority change turns. */
export const TURN_PAGES = 256;
/** Flushes in a row that fail before an area counts as failed. */
export const FLUSH_FAILURES_MAX = 3;
/** The same for flushes that say that everything must be written again. */
export const FLUSH_LOSSES_MAX = 16;
/** Pages in a row that cannot be written before an area counts as failed: a device that is gone has no bad slots. */
export const WRITE_FAILURES_MAX = 16;
/** A failed area is tried again after this time: a server may be back. */
export const FAILED_RETRY_MS = 5_000;

/** Pages on their way out at once, waiting for a flush included: an eighth of memory, 8 at least, 1024 at most. */
export function writebackPages(nrFrames: number): number {
  return Math.min(Math.max(Math.floor(nrFrames / 8), 8), 1024);
}
