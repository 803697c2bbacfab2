/**
 * Stats: counts what goes to a device and how long it takes. Times run from where a request is passed on to where it ends; waiting in the filter's
 * own line is not among them.
 */
import type { NegErrno } from '../../base/errno.js';
import { BIO_OP_NAMES } from '../bio.js';
import { Filter, type FilterParts } from './filter.js';
import type { FilterKind } from './filter-kind.js';
import type { FilterRequest } from './filter-request.js';
import { LatencyHistogram } from './latency-histogram.js';

/** What one operation came to. */
export interface OperationStats {
  /** Requests that ended, those that failed among them. */
  readonly nrRequests: number;
  readonly nrErrors: number;
  /** Of requests that ended well. */
  readonly bytes: number;
  readonly meanMs: number;
  /** Within 19 %. */
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What a device has done since it was opened, or since the last `reset`. */
export interface DeviceStats {
  readonly read: OperationStats;
  readonly write: OperationStats;
  readonly flush: OperationStats;
  readonly discard: OperationStats;
  readonly writeZeroes: OperationStats;
  /** Under way now, and at most. */
  readonly nrInFlight: number;
  readonly nrInFlightMax: number;
  /** Writes that had to be stable when they ended. */
  readonly nrForced: number;
}

class OperationCounts {
  readonly latency = new LatencyHistogram();
  nrErrors = 0;
  bytes = 0;

  get stats(): OperationStats {
    const { latency, nrErrors, bytes } = this;
    return {
      nrRequests: latency.nr,
      nrErrors,
      bytes,
      meanMs: latency.meanMs,
      medianMs: latency.quantileMs(0.5),
      p99Ms: latency.quantileMs(0.99),
      maxMs: latency.maxMs,
    };
  }
}

export class StatsFilter extends Filter {
  /** By operation. */
  readonly #counts = BIO_OP_NAMES.map(() => new OperationCounts());
  #nrInFlightMax = 0;
  #nrForced = 0;

  constructor(parts: FilterParts) {
    super(parts, parts.below[0]);
  }

  /** What has happened. */
  explain(): DeviceStats {
    const [read, write, flush, discard, writeZeroes] = this.#counts.map(({ stats }) => stats);
    const { nrBusy: nrInFlight } = this;
    return { read, write, flush, discard, writeZeroes, nrInFlight, nrInFlightMax: this.#nrInFlightMax, nrForced: this.#nrForced };
  }

  /** Begins to count anew. */
  reset(): void {
    for (const counts of this.#counts) {
      counts.latency.reset();
      counts.nrErrors = counts.bytes = 0;
    }
    this.#nrInFlightMax = this.nrBusy;
    this.#nrForced = 0;
  }

  protected override admitted(request: FilterRequest): void {
    request.timeMs = this.parts.clock.nowMs();
    this.#nrInFlightMax = Math.max(this.#nrInFlightMax, this.nrBusy);
    if (request.parent.fua) this.#nrForced++;
    this.pass(request);
  }

  protected override finished({ parent, timeMs }: FilterRequest, status: 0 | NegErrno): void {
    const counts = this.#counts[parent.op];
    counts.latency.add(this.parts.clock.nowMs() - timeMs);
    if (status === 0) counts.bytes += parent.lengthBytes;
    else counts.nrErrors++;
  }
}

/** `stats:LOWER`. */
export const stats: FilterKind<object> = {
  scheme: 'stats',
  settings: [],
  parse: () => ({}),
  create: (parts) => new StatsFilter(parts),
};
