/**
 * The timeline of a run: who did what when, and how many frames were free then. What one party does several times in a row is one line.
 * Bounded: what comes after the bound is counted, not kept.
 */
import type { Note } from './models/lab-kernel.js';

/** One line. */
export interface TimelineEntry {
  readonly atMs: number;
  /** The last time, if it happened more than once. */
  readonly untilMs: number;
  readonly kernel: string;
  readonly who: string;
  readonly what: string;
  /** Frames free when it happened; the last time, if more than once. */
  readonly nrFree: number;
  readonly count: number;
}

const ENTRIES_MAX = 2_000;

export class Timeline {
  readonly #entries: TimelineEntry[] = [];
  /** What came after the bound. */
  nrDropped = 0;

  /** For `RunOptions.onNote`. */
  readonly note: Note = (atMs, kernel, who, what, nrFree) => {
    const last = this.#entries.at(-1);
    if (last !== undefined && last.kernel === kernel && last.who === who && last.what === what) {
      this.#entries[this.#entries.length - 1] = { ...last, untilMs: atMs, nrFree, count: last.count + 1 };
    } else if (this.#entries.length < ENTRIES_MAX) this.#entries.push({ atMs, untilMs: atMs, kernel, who, what, nrFree, count: 1 });
    else this.nrDropped++;
  };

  get entries(): readonly TimelineEntry[] {
    return this.#entries;
  }

  /** As text: virtual milliseconds, free frames, who, what. */
  format(): string {
    const lines = this.#entries.map(({ atMs, untilMs, who, what, nrFree, count }) => {
      const until = untilMs > atMs ? `, the last at ${untilMs.toFixed(2)} ms` : '';
      return `${atMs.toFixed(2).padStart(10)} ms ${String(nrFree).padStart(5)} free  ${who} ${what}${count > 1 ? `, ${count} times${until}` : ''}`;
    });
    if (this.nrDropped > 0) lines.push(`… and ${this.nrDropped} more`);
    return lines.join('\n');
  }
}
