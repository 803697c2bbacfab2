/** One write of a page cache in flight: pages with consecutive indexes. There are a few for each backing, and they are reused. */
import type { WriteoutTicket } from '../mm/ticket.js';

/** Pages of one write at most. */
export const RUN_PAGES = 32;
/** Writes to one backing at once. */
export const RUNS_MAX = 4;

export class WriteRun {
  /** Runs are numbered as they begin; 0 while there is none. */
  serial = 0;
  /** Whose pages they are. */
  owner: object | null = null;
  /** The unit that it is, if it is one. */
  ticket: WriteoutTicket | null = null;
  index = 0;
  count = 0;
  readonly pfns = new Uint32Array(RUN_PAGES);
}
