/**
 * Where small allocators get whole frames from. Each user of frames chooses its own source, and with it the class its frames are
 * counted under; the page allocator stays out of their sight.
 */
import type { TaskContext } from '../task/task-context.js';
import type { Pfn } from './arena.js';

/** Single frames, at once or not at all. */
export interface FrameSource {
  /**
   * Takes a frame; neither reclaims nor waits, and calls nothing back.
   * @param task for whom, if it is known.
   * @returns its number, or a negative errno.
   */
  allocFrame(task?: TaskContext): Pfn | number;
  freeFrame(pfn: Pfn): void;
}
