/**
 * The tokens: every seam at which a kernel can be extended or a part exchanged. A plugin registers against these and resolves from
 * these; there is no other way in.
 */
import type { TracePoints } from '../base/trace.js';
import type { BlockDriver } from '../block/block-device.js';
import type { DirtyThrottleFactory } from '../cache/dirty-throttle.js';
import type { SwapHooks, WriteoutHook } from '../cache/pinned-file.js';
import type { Memory } from '../mm/memory.js';
import type { ReservePolicyFactory } from '../mm/policy/reserve-policy.js';
import type { Shrinker } from '../mm/reclaimer.js';
import type { ReclaimRuleFactory } from '../reclaim/reclaim-rule.js';
import type { ReclaimThrottleFactory } from '../reclaim/reclaim-throttle.js';
import type { ReplacementPolicyFactory } from '../reclaim/replacement-policy.js';
import type { SwapSubsystem } from './swap-subsystem.js';
import type { FileSystemType } from '../vfs/file-system.js';
import type { FsFaceFactory } from '../vfs/fs-face.js';
import type { Clock, RandomSource, Scheduler } from '../task/clock.js';
import { type Token, token } from './di.js';
import type { Kernel } from './kernel.js';

/** The kernel a plugin's parts belong to. */
export const KERNEL: Token<Kernel> = token('kernel');
/** Its memory: arena, page allocator, standing memory, sizes. */
export const MEMORY: Token<Memory> = token('memory');
/** Its trace points. */
export const TRACE: Token<TracePoints> = token('trace');
/** Time. The host's is in `@tidemark/core/host`. */
export const CLOCK: Token<Clock> = token('clock');
/** Deferred work. */
export const SCHEDULER: Token<Scheduler> = token('scheduler');
/** Random bytes. */
export const RANDOM: Token<RandomSource> = token('random');
/** Drivers that open block devices by URL; any number. */
export const BLOCK_DRIVER: Token<BlockDriver> = token('block-driver');
/** Kinds of filesystems, mounted by source: `memfs:64MiB`; any number. */
export const FILE_SYSTEM: Token<FileSystemType> = token('file-system');
/** What makes `kernel.fs`; the one shaped like `node:fs` is in `@tidemark/core/host`. */
export const FS_FACE: Token<FsFaceFactory> = token('fs-face');
/** Swap-in and swap-out of a backing, by way of a `PinnedFile`; one for each package that has backings. */
export const SWAP_HOOKS: Token<SwapHooks> = token('swap-hooks');
/** Writeout of dirty pages to a backing; one for each package that has backings. */
export const WRITEOUT_HOOK: Token<WriteoutHook> = token('writeout-hook');
/** The swap plugin; one or none. */
export const SWAP_SUBSYSTEM: Token<SwapSubsystem> = token('swap-subsystem');
/** Caches that can give memory back; any number. */
export const SHRINKER: Token<Shrinker> = token('shrinker');
/** Socket transports, `Transport` of `@tidemark/net`; any number. */
export const TRANSPORT: Token<object> = token('transport');
/** Who may take which frame when memory is gone; the default is composed (M23). */
export const RESERVE_POLICY: Token<ReservePolicyFactory> = token('reserve-policy');
/** On which nodes reclaim may act for a task inside some; the default is that of the reserve policy: reach, or nofs (M11). */
export const RECLAIM_RULE: Token<ReclaimRuleFactory> = token('reclaim-rule');
/** Who may make a page dirty, and who waits (M10); the default is freerun, hard limits and pauses. */
export const DIRTY_THROTTLE: Token<DirtyThrottleFactory> = token('dirty-throttle');
/** Who pauses after a direct reclaim, and for how long; the default is the table of M18. */
export const RECLAIM_THROTTLE: Token<ReclaimThrottleFactory> = token('reclaim-throttle');
/** Which page goes next; the default is active and inactive lists with refault distance (M18). */
export const REPLACEMENT_POLICY: Token<ReplacementPolicyFactory> = token('replacement-policy');
