/**
 * Readahead: which pages to read for a reader who misses one, and when to read the next ones before he asks. One window for each opener.
 *
 *     | the window: `size` pages from `start`                 | the next one
 *     +-----------------------+-------------------------------+
 *      read with the miss      ▲ marker: the first page of the last `ahead`; whoever hits it has the next window read
 *
 * | the miss is | then |
 * |---|---|
 * | the start of the file, or next to what was read last | a window: 4 times what is wanted, or 2 times if that is much |
 * | at the end of the window | the next one, twice as large |
 * | inside the window: what was read ahead has gone before it was used | half the window |
 * | anywhere else | what is wanted, no more; half the window |
 *
 * Pages that are read ahead take spare memory only (`Gfp.SPARE`); where there is none, the window shrinks to what there was.
 */

/** Most pages of a window, 128 KiB. */
const WINDOW_MAX = 32;
/** In an arena of n frames: n / 64. */
const ARENA_PART = 64;

/** Pages of the largest window in an arena. */
export function largestWindow(nrFrames: number): number {
  return Math.max(1, Math.min(WINDOW_MAX, Math.floor(nrFrames / ARENA_PART)));
}

export class ReadaheadWindow {
  /** The page that was read last; set by whoever reads. -1 before the first. */
  last = -1;
  #start = 0;
  #size = 0;
  #ahead = 0;

  /** Pages of the window now; 0 before the first, and after random reads. */
  get size(): number {
    return this.#size;
  }

  /** The page that has the next window read when it is hit. */
  get marker(): number {
    return this.#start + this.#size - this.#ahead;
  }

  /** A page is missing. @returns how many to read from it on, at least 1. */
  miss(index: number, nrWanted: number, most: number): number {
    const wanted = Math.max(1, Math.min(nrWanted, most));
    const end = this.#start + this.#size;
    if (this.#size > 0 && index >= this.#start && index < end) return this.#set(index, Math.max(wanted, this.#size >>> 1), wanted);
    if (this.#size > 0 && index === end) return this.#set(index, Math.max(wanted, Math.min(this.#size * 2, most)), wanted);
    if (index === 0 || index === this.last + 1) {
      const size = 2 ** Math.ceil(Math.log2(wanted));
      return this.#set(index, Math.min(most, size * (size <= most / 32 ? 4 : 2)), wanted);
    }
    this.#size = this.#ahead = 0;
    return wanted;
  }

  #set(start: number, size: number, wanted: number): number {
    this.#start = start;
    this.#size = size;
    this.#ahead = Math.max(size - wanted, 0);
    return size;
  }

  /** The marker was hit. @returns the first page of the next window; its size is `size`. */
  next(index: number, most: number): number {
    const end = this.#start + this.#size;
    const isMine = index >= this.#start && index < end;
    this.#start = isMine ? end : index + 1;
    this.#size = Math.min(Math.max(this.#size * 2, 4), most);
    this.#ahead = this.#size;
    return this.#start;
  }

  /** Only `nrRead` pages of the window could be read. */
  cut(nrRead: number): void {
    this.#size = Math.min(this.#size, nrRead);
    this.#ahead = Math.min(this.#ahead, Math.max(this.#size - 1, 0));
  }
}
