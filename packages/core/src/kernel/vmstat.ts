/**
 * `kernel.vmstat()`: event counters since boot and a few levels, under the names Linux uses in /proc/vmstat. What each counts is in
 * `VMSTAT` (events) and `VMSTAT_LEVELS`.
 */
import { type Counters, VMSTAT } from '../mm/counters.js';
import { FrameClass } from '../mm/frame-table.js';
import type { Kernel } from './kernel.js';

/** Levels and totals that are read off the allocator when asked for. Frames. */
export const VMSTAT_LEVELS = {
  pgalloc: 'frames handed out by the page allocator since boot, of every class; standing memory included',
  pgfree: 'frames given back to it since boot',
  nr_free_pages: 'frames in the buddy lists, emergency band included',
  nr_inactive_anon: 'anonymous pages on the inactive list',
  nr_active_anon: 'anonymous pages on the active list',
  nr_inactive_file: 'file pages on the inactive list',
  nr_active_file: 'file pages on the active list',
  nr_anon_pages: 'anonymous pages, on a list or not',
  nr_file_pages: 'file and device pages, on a list or not',
  nr_writeback: 'file pages being written',
  nr_swap_writeback: 'anonymous pages being written to swap, or written and waiting for a flush',
  nr_slab: 'frames of objects and tables',
  nr_standing: 'frames taken at admission and kept',
} as const;

/** Counters and levels by name. */
export type VmStat = Counters & Record<keyof typeof VMSTAT_LEVELS, number>;

/** Reads counters and levels. */
export function vmstat(kernel: Kernel): VmStat {
  const { memory, reclaim, swap } = kernel;
  const { allocator, counters } = memory;
  const levels = reclaim.levels();
  return {
    ...(Object.fromEntries(Object.keys(VMSTAT).map((name) => [name, counters[name as keyof Counters]])) as Counters),
    pgalloc: allocator.nrAllocated,
    pgfree: allocator.nrFreed,
    nr_free_pages: allocator.nrFree,
    nr_inactive_anon: levels.nrInactiveAnon,
    nr_active_anon: levels.nrActiveAnon,
    nr_inactive_file: levels.nrInactiveFile,
    nr_active_file: levels.nrActiveFile,
    nr_anon_pages: allocator.classCount(FrameClass.ANON),
    nr_file_pages: allocator.classCount(FrameClass.FILE),
    nr_writeback: memory.fileCounts.nrWriteback,
    nr_swap_writeback: swap?.nrWriteback ?? 0,
    nr_slab: allocator.classCount(FrameClass.SLAB),
    nr_standing: allocator.classCount(FrameClass.STANDING),
  };
}
