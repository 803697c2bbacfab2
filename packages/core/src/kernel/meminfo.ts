/**
 * `kernel.meminfo()`: where every frame is, right now. Counts are frames of 4 KiB. The classes `memFree`, `cached`, `anonPages`, `slab`,
 * `standing`, `transient` add up to `memTotal` at every step.
 */
import { FrameClass } from '../mm/frame-table.js';
import type { Kernel } from './kernel.js';

/** What each field includes and excludes (M10). */
export const MEMINFO = {
  memTotal: 'every frame of the arena; the frame table and the JS heap excluded',
  memFree: 'frames in the buddy lists, emergency band included; anything handed out excluded',
  memAvailable: 'free frames above min, plus clean file pages on the lists; dirty, pinned and slab excluded, anonymous pages too',
  cached: 'file and device pages, clean and dirty; swap cache and anonymous pages excluded',
  swapCached: 'anonymous pages in memory that have a slot, those read ahead included; those without a slot excluded',
  anonPages: 'anonymous pages, swap cache included; the cells of PagedBuffers (slab) excluded',
  activeAnon: 'anonymous pages on the active list; those being read or written excluded',
  inactiveAnon: 'anonymous pages on the inactive list; those being read or written excluded',
  activeFile: 'file pages on the active list',
  inactiveFile: 'file pages on the inactive list',
  dirty: 'file pages that differ from their backing and are not being written; anonymous pages excluded',
  writeback: 'file pages being written; swap writes excluded: see swapWriteback',
  swapWriteback: 'anonymous pages being written to swap, or written and waiting for a flush',
  kept: 'file pages that are nowhere else and cannot be written out: files that only memory holds; part of cached',
  unlaunderable:
    'what reclaim can neither drop nor swap out, and what accounts may still take (M10): dirty, writeback, kept, standing, transient, slab, anonymous pages for which no slot is free, the rest of the accounts',
  slab: 'frames of slab caches, radix trees and PagedBuffer cells; packet data excluded',
  standing: 'receive slots, swap tables, pre-attached requests: taken at admission and kept; in-flight account frames excluded',
  transient: 'frames held by work in flight that belong to no page',
  reserved: 'sum of the limits of the reserve accounts',
  reserveUsed: 'sum of their usage; what their tickets hold out of ordinary memory excluded',
  swapTotal: 'usable slots of all areas; header and bad slots excluded',
  swapFree: 'those of swapTotal that hold nothing',
} as const;

/** Frames by kind; see `MEMINFO` for what each includes and excludes. */
export type MemInfo = Record<keyof typeof MEMINFO, number>;

/** Reads the levels of a kernel. */
export function meminfo(kernel: Kernel): MemInfo {
  const { memory, reclaim, swap } = kernel;
  const { allocator, reserve } = memory;
  const levels = reclaim.levels();
  const areas = swap?.areas() ?? [];
  const dirty = memory.fileCounts.nrDirty;
  const cleanFile = Math.max(levels.nrActiveFile + levels.nrInactiveFile - dirty, 0);
  return {
    memTotal: memory.nrFrames,
    memFree: allocator.nrFree,
    memAvailable: Math.max(allocator.nrFree - allocator.watermarks.min, 0) + cleanFile,
    cached: allocator.classCount(FrameClass.FILE),
    swapCached: swap?.nrCached ?? 0,
    anonPages: allocator.classCount(FrameClass.ANON),
    activeAnon: levels.nrActiveAnon,
    inactiveAnon: levels.nrInactiveAnon,
    activeFile: levels.nrActiveFile,
    inactiveFile: levels.nrInactiveFile,
    dirty,
    writeback: memory.fileCounts.nrWriteback,
    swapWriteback: swap?.nrWriteback ?? 0,
    kept: memory.fileCounts.nrKept,
    unlaunderable: reclaim.unlaunderable.nrPages,
    slab: allocator.classCount(FrameClass.SLAB),
    standing: allocator.classCount(FrameClass.STANDING),
    transient: allocator.classCount(FrameClass.TRANSIENT),
    reserved: reserve.limitFrames,
    reserveUsed: reserve.usageFrames,
    swapTotal: areas.reduce((sum, area) => sum + area.nrSlots, 0),
    swapFree: areas.reduce((sum, area) => sum + area.nrFree, 0),
  };
}
