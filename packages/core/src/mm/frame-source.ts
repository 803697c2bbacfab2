/**
 * Where small allocators get whole frames from. Each user of frames chooses its own source, and with it the class its frames are
 * counted under; the page allocator stays out of their sight.
 */
import type { TaskContext } from '../task/task-context.js';
import type { Pfn } from './arena.js';
import type { ReserveAccount } from './reserve.js';

/** Single frames, at once or not at all. */
export interface FrameSource {
  /**
   * Takes a frame; neither reclaims nor waits, and calls nothing back.
   * @param task for whom, if it is known.
   * @returns its number, or a negative errno.
   */
  allocFrame(task?: TaskContext): Pfn | number;
  freeFrame(pfn: Pfn): void;
  /**
   * A frame that was taken under a ticket is its holder's from here on, and no unit's (M20). Absent: nothing is ever charged.
   * @returns the account that pays for it, null for a frame of ordinary memory.
   */
  share?(pfn: Pfn): ReserveAccount | null;
  /** Has ordinary memory pay for it in place of the account (M5). @returns false if there is none. */
  exchange?(pfn: Pfn): boolean;
}
