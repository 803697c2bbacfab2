/** The host's randomness. */
import { randomFillSync } from 'node:crypto';
import type { RandomSource } from '../task/clock.js';

/** Cryptographically strong bytes. */
export class HostRandom implements RandomSource {
  fill(target: Uint8Array): void {
    randomFillSync(target);
  }
}
