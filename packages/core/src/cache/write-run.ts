/** One write of a page cache in flight: pages with consecutive indexes. There are a few for each cache, and they are reused. */

/** Pages of one write. */
export const RUN_PAGES = 32;
/** Runs being written at once. */
export const RUNS_MAX = 4;

export class WriteRun {
  /** Runs are numbered as they begin; 0 while there is none. */
  serial = 0;
  index = 0;
  count = 0;
  readonly pfns = new Uint32Array(RUN_PAGES);
}
