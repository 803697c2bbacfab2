/**
 * `@tidemark/core`: the memory half of a kernel. Knows no plugin, no host and no clock of its own.
 *
 * @example
 * ```ts
 * import { Kernel } from '@tidemark/core';
 * import { host } from '@tidemark/core/host';
 *
 * const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host] });
 * const disk = await kernel.openBlockDevice('mem:64MiB');
 * console.log(kernel.meminfo().memFree, disk.sizeBytes);
 * await kernel.shutdown();
 * ```
 *
 * @packageDocumentation
 */
export * from './kernel/di.js';
export * from './base/bitmap.js';
export * from './base/errno.js';
export * from './base/maybe-promise.js';
export * from './base/size.js';
export * from './base/trace.js';
export * from './base/xarray.js';
export * from './task/abort.js';
export * from './task/clock.js';
export * from './task/completion.js';
export * from './task/lock.js';
export * from './task/semaphore.js';
export * from './task/task-context.js';
export * from './task/wait-queue.js';
export * from './task/wait-registry.js';
export * from './mm/arena.js';
export * from './mm/buddy.js';
export * from './mm/cell.js';
export * from './mm/counters.js';
export * from './mm/footprint.js';
export * from './mm/frame-array.js';
export * from './mm/frame-source.js';
export * from './mm/frame-table.js';
export * from './mm/gfp.js';
export * from './mm/memory.js';
export * from './mm/mempool.js';
export * from './mm/page-allocator.js';
export * from './mm/plan.js';
export * from './mm/plan-sizes.js';
export * from './mm/policy/composed.js';
export * from './mm/policy/limits.js';
export * from './mm/policy/memalloc.js';
export * from './mm/policy/named.js';
export * from './mm/policy/none.js';
export * from './mm/policy/reserve-policy.js';
export * from './mm/policy/vmio.js';
export * from './mm/reclaimer.js';
export * from './mm/reserve.js';
export * from './mm/reserve-planner.js';
export * from './mm/rights.js';
export * from './mm/slab.js';
export * from './mm/standing.js';
export * from './mm/ticket.js';
export * from './mm/unit-pool.js';
export * from './mm/violation.js';
export * from './mm/watermarks.js';
export * from './mm/writeout-graph.js';
export * from './mm/xarray-nodes.js';
export * from './cache/address-space.js';
export * from './cache/address-space-operations.js';
export * from './cache/page-cache.js';
export * from './cache/pinned-file.js';
export * from './reclaim/kswapd.js';
export * from './reclaim/reclaim.js';
export * from './reclaim/reclaim-rule.js';
export * from './reclaim/replacement-policy.js';
export * from './reclaim/scan-balance.js';
export * from './reclaim/swap-writeout.js';
export * from './reclaim/two-list-policy.js';
export * from './reclaim/verdict.js';
export * from './block/bio.js';
export * from './block/bio-pool.js';
export * from './block/block-device.js';
export * from './block/device-cache.js';
export * from './block/device-hooks.js';
export * from './block/device-io.js';
export * from './block/ram-disk.js';
export * from './kernel/kernel.js';
export * from './kernel/local-connections.js';
export * from './kernel/meminfo.js';
export * from './kernel/plugin.js';
export * from './kernel/progress.js';
export * from './kernel/stall-report.js';
export * from './kernel/swap-subsystem.js';
export * from './kernel/tokens.js';
export * from './kernel/vmstat.js';
export * from './kernel/watchdog.js';
