/**
 * Flush ledger: which acknowledged writes are known to be durable, and which may have vanished with a connection (M21 "Hazard").
 *
 * NBD has no verifier: after a reconnect nobody can tell whether the server restarted. So writes that were acknowledged and not flushed
 * when a connection was lost count as possibly lost, until a flush has been failed with `WRITE_AGAIN` on their account. Writes are
 * numbered by their acknowledgement:
 *
 *     0 … flushed … lost … acknowledged
 */
export class FlushLedger {
  #acknowledged = 0;
  /** Durable, or reported as lost, up to here. */
  #settled = 0;
  /** Possibly lost up to here. */
  #lost = 0;

  /** A write that is not stable by itself was acknowledged. */
  acknowledge(): void {
    this.#acknowledged++;
  }

  /** The mark a flush that is about to be sent covers. */
  get mark(): number {
    return this.#acknowledged;
  }

  /** A flush with this mark succeeded. */
  flushed(mark: number): void {
    if (mark > this.#settled) this.#settled = mark;
  }

  /** The connection was lost. */
  connectionLost(): void {
    this.#lost = this.#acknowledged;
  }

  /** True if the next flush must fail with `WRITE_AGAIN`. */
  get hasLosses(): boolean {
    return this.#lost > this.#settled;
  }

  /** A flush has been failed for it: whoever holds the pages writes them again. */
  reportLosses(): void {
    this.#settled = this.#lost;
  }
}
