/**
 * Write-back errors, each told once to every opener of a file.
 *
 * A failed write or flush happens long after the `write` that it belongs to, in a task that belongs to nobody. The sequence counts them; every
 * opener has a cursor and asks at its `fsync` and at `close`. Several failures since the last question are one answer, the latest. A
 * failure that nobody has asked about yet is also told to whoever opens the file next.
 */
import type { NegErrno } from '../base/errno.js';

/** The failures of one file. */
export class ErrorSequence {
  #nrReported = 0;
  #nrTold = 0;
  #latest: 0 | NegErrno = 0;

  /** Something that was written may be lost. */
  report(status: NegErrno): void {
    this.#latest = status;
    this.#nrReported++;
  }

  /** Failures so far. */
  get nrReported(): number {
    return this.#nrReported;
  }

  /** The cursor of one more opener. */
  cursor(): ErrorCursor {
    return new ErrorCursor(this, this.#nrTold === this.#nrReported ? this.#nrReported : this.#nrReported - 1);
  }

  /** The cursor of who has been there from the beginning and was told nothing. */
  first(): ErrorCursor {
    return new ErrorCursor(this, 0);
  }

  /** For cursors: the latest failure if there was one since `seen`. */
  since(seen: number): 0 | NegErrno {
    if (seen === this.#nrReported) return 0;
    this.#nrTold = this.#nrReported;
    return this.#latest;
  }
}

/** What one opener has been told. */
export class ErrorCursor {
  readonly #sequence: ErrorSequence;
  #seen: number;

  /** For `ErrorSequence`. */
  constructor(sequence: ErrorSequence, seen: number) {
    this.#sequence = sequence;
    this.#seen = seen;
  }

  /** 0, or the latest failure since the last call. */
  check(): 0 | NegErrno {
    const failed = this.#sequence.since(this.#seen);
    this.#seen = this.#sequence.nrReported;
    return failed;
  }
}
