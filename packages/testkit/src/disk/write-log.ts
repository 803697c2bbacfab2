/**
 * A write log, for crashing at every I/O: what a disk was asked and what it had ended, in order. `imagesAt(n)` is what restarts may find
 * if the power had gone right after entry n.
 */
import type { Random } from '../time/random.js';
import type { DiskImage } from './disk-image.js';
import { type CachedWrite, WriteCache } from './write-cache.js';

/** One step of a disk. Pieces of one write that failed half way have numbers of their own. */
export type WriteLogEntry =
  | { readonly step: 'begin'; readonly nr: number; readonly offsetBytes: number; readonly bytes: Uint8Array }
  | { readonly step: 'end'; readonly nr: number; readonly offsetBytes: number; readonly bytes: Uint8Array; readonly isSettled: boolean }
  | { readonly step: 'failed'; readonly nr: number }
  | { readonly step: 'flushed'; readonly mark: number };

/** Every write and flush of a disk in order, for crashing after each. */
export class WriteLog {
  readonly entries: WriteLogEntry[] = [];
  readonly #first: DiskImage;

  constructor(first: DiskImage) {
    this.#first = first.clone();
  }

  add(entry: WriteLogEntry): void {
    this.entries.push(entry);
  }

  /** Images that a restart may find after the first `nrEntries` steps; see `WriteCache.crashes`. */
  *imagesAt(nrEntries: number, random: Random, nrSamples = 4): Generator<DiskImage, void, undefined> {
    const cache = new WriteCache(this.#first);
    const inFlight = new Map<number, CachedWrite>();
    for (const entry of this.entries.slice(0, nrEntries)) {
      if (entry.step === 'flushed') cache.settle(entry.mark);
      else if (entry.step === 'begin') inFlight.set(entry.nr, { offsetBytes: entry.offsetBytes, bytes: entry.bytes, isSettled: false });
      else {
        inFlight.delete(entry.nr);
        if (entry.step === 'end') cache.add(entry.offsetBytes, entry.bytes, entry.isSettled);
      }
    }
    yield* cache.crashes(random, nrSamples, [...inFlight.values()]);
  }
}
