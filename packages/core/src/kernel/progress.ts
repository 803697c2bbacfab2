/**
 * What counts as progress (M22), read off the counters: a version of a page that reached its backing for the first time, and a page that was
 * brought in for somebody who wanted it. A frame freed, bytes moved, a timer fired or a page written again is none.
 *
 * The numbers may fall when a server turns out to have lost what it acknowledged; whoever watches keeps the highest.
 */
import type { Counters } from '../mm/counters.js';

/** Versions of pages that are on their backing, pages of zeroes included. */
export function pagesWrittenFirst(counters: Counters): number {
  return counters.pswpout - counters.swpout_again - counters.swpout_error + counters.swpout_zero + counters.nr_written;
}

/** Pages that were missed and came: read from a swap area, zeroes included, or asked of a file's device. */
export function pagesBroughtIn(counters: Counters): number {
  return counters.pswpin + counters.swpin_zero + counters.pgmajfault;
}
