/**
 * The write verifier: tells a client that what it wrote UNSTABLE may be gone. It is the same in every answer of one server, whatever the
 * export and connection, until something may have been lost: after a restart, and after a failure to write back.
 */
import type { RandomSource } from '@tidemark/core';
import { VERIFIER_BYTES } from '../protocol/nfs3-constants.js';

export class WriteVerifier {
  #bytes: Uint8Array;
  readonly #random: RandomSource;
  /** Times it has changed. */
  nrChanges = 0;

  constructor(random: RandomSource) {
    this.#random = random;
    this.#bytes = this.#draw();
  }

  #draw(): Uint8Array {
    const bytes = new Uint8Array(VERIFIER_BYTES);
    this.#random.fill(bytes);
    return bytes;
  }

  /** The verifier of now; it is never changed in place, so it can be kept from before a write until its answer. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Something acknowledged may be lost. */
  change(): void {
    this.#bytes = this.#draw();
    this.nrChanges++;
  }
}
