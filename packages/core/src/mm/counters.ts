/**
 * Event counters, under Linux's names in /proc/vmstat. They only grow. What each counts is said with it, and `vmstat()` of the kernel
 * returns them by these names; levels (`nr_…`) are read off the frame table when asked for.
 */

/** Every counter with what it counts. */
export const VMSTAT = {
  pgfault: 'pages of a PagedBuffer or a page cache found missing: those that were elsewhere in memory included',
  pgmajfault: 'those of pgfault that waited for a device; zero-filled ones excluded',
  pgactivate: 'pages moved to an active list, refaults included',
  pgdeactivate: 'pages moved from an active to an inactive list',
  pgrotated: 'pages put at the end of the inactive list because their writeback had ended',
  allocstall: 'allocations that entered direct reclaim',
  pageoutrun: 'rounds of kswapd',
  kswapd_wake: 'times kswapd was woken',
  pgscan_kswapd: 'pages kswapd looked at',
  pgscan_direct: 'pages direct reclaim looked at',
  pgscan_passed:
    'pages that the replacement policy passed over while it looked for some to go: used ones, and those that it moved elsewhere',
  pgsteal_kswapd: 'pages kswapd freed at once; those freed when their writeback ended are in pgsteal_writeback',
  pgsteal_direct: 'pages direct reclaim freed at once',
  pgsteal_writeback: 'pages freed as soon as their writeback had ended',
  cleanpass: 'clean passes (M6)',
  cleanpass_freed: 'frames they freed',
  pswpout: 'pages written to swap areas; pages of zeroes excluded',
  pswpin: 'pages read from swap areas, readahead included; pages of zeroes excluded',
  swpout_zero: 'pages of zeroes that got a bit instead of I/O',
  swpin_zero: 'pages of zeroes given back from that bit',
  swpout_error: 'pages whose swap-out failed; they stayed in memory',
  swpin_error: 'pages whose swap-in failed; the read threw',
  swpout_again: 'pages written again because a server lost what it had acknowledged',
  swap_ra: 'pages read ahead from swap',
  swap_ra_hit: 'those that were used',
  workingset_evict_anon: 'anonymous pages evicted',
  workingset_evict_file: 'file pages evicted',
  workingset_refault_anon: 'anonymous pages that came back after eviction',
  workingset_refault_file: 'file pages that came back after eviction',
  workingset_activate_anon: 'those of the former that went straight to the active list',
  workingset_activate_file: 'those of the former that went straight to the active list',
  nr_dirtied: 'file pages that became dirty',
  nr_written: 'file pages written out',
  oom: 'allocations that failed for good',
  reserve_waits: 'waits for room in an account, or for a unit of a node',
  reserve_unfunded: 'allocations of writeout without a ticket, whether they succeeded or not (M7)',
  reserve_overspent: 'frames and objects that a unit took beyond the need its node declared, whatever memory they came from (M5)',
  reserve_leaked: 'units that ended while they held frames; the frames stay charged until they are freed',
  lock_unticketed: 'locks taken without a ticket of the node whose writeout can wait for them (M11)',
  lock_waits: 'waits for ordinary memory by a task that held such a lock (M11)',
  pool_second_element: 'elements of a mempool taken under a ticket that held one of the same pool already (M19)',
} as const;

/** Name of a counter. */
export type CounterName = keyof typeof VMSTAT;

/** The counters of one kernel: plain fields of one object, so that counting is one addition. */
export type Counters = Record<CounterName, number>;

/** Fresh counters, all 0. */
export function createCounters(): Counters {
  return Object.fromEntries(Object.keys(VMSTAT).map((name) => [name, 0])) as Counters;
}
