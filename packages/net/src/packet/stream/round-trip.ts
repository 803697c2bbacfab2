/**
 * How long to wait for an acknowledgement (RFC 6298): smoothed round-trip time and its variation, doubled with every time it was in vain.
 * One segment at a time is measured, and none that was sent twice.
 */

const FIRST_MS = 200;
const LEAST_MS = 20;
const MOST_MS = 2_000;

export class RoundTrip {
  #smoothedMs = -1;
  #variationMs = 0;
  #backoff = 0;
  #measuredOffset = -1;
  #sentMs = 0;

  /** Time to wait now. */
  get timeoutMs(): number {
    const base = this.#smoothedMs < 0 ? FIRST_MS : Math.max(this.#smoothedMs + 4 * this.#variationMs, LEAST_MS);
    return Math.min(base * 2 ** this.#backoff, MOST_MS);
  }

  /** Times in a row that waiting was in vain. */
  get nrInVain(): number {
    return this.#backoff;
  }

  /** Bytes up to `endOffset` were sent for the first time. */
  sent(endOffset: number, nowMs: number): void {
    if (this.#measuredOffset >= 0) return;
    this.#measuredOffset = endOffset;
    this.#sentMs = nowMs;
  }

  /** Something is sent again: what is under way measures nothing. */
  resent(): void {
    this.#measuredOffset = -1;
  }

  inVain(): void {
    this.#backoff = Math.min(this.#backoff + 1, 16);
    this.resent();
  }

  /** Everything up to `offset` has been acknowledged. */
  acknowledged(offset: number, nowMs: number): void {
    this.#backoff = 0;
    if (this.#measuredOffset < 0 || offset < this.#measuredOffset) return;
    this.#measuredOffset = -1;
    const sampleMs = nowMs - this.#sentMs;
    if (this.#smoothedMs < 0) {
      this.#smoothedMs = sampleMs;
      this.#variationMs = sampleMs / 2;
    } else {
      this.#variationMs += (Math.abs(this.#smoothedMs - sampleMs) - this.#variationMs) / 4;
      this.#smoothedMs += (sampleMs - this.#smoothedMs) / 8;
    }
  }
}
