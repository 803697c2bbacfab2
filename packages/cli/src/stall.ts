/** Stalls of a kernel that a verb works with: how long nothing moves before it gives up, and the error it then ends with. */
import type { Kernel } from '@tidemark/core';
import { Stalled } from './outcome.js';

/** Time without a page moving, with a task waiting, after which a verb gives up. Longer than NBD's own limits are in a row. */
export const STALL_QUIET_MS = 70_000;
/** A stalled kernel is not waited for longer than this. */
export const STALLED_SHUTDOWN_MS = 1_000;

/** Rejects with `Stalled` when the watchdog of a kernel reports a stall; never resolves. */
export function stallOf(kernel: Kernel): Promise<never> {
  const stall = new Promise<never>((_, reject) => kernel.trace.on('stall', (report) => reject(new Stalled(report))));
  stall.catch(() => {}); // a stall while nobody races with it is the race's affair all the same
  return stall;
}
