/** The host's deferred work: after the I/O callbacks that are ready now. */
import type { Scheduler } from '../task/clock.js';

/** `setImmediate`. */
export class HostScheduler implements Scheduler {
  defer(work: () => void): void {
    setImmediate(work);
  }
}
