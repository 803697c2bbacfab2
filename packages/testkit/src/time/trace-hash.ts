/**
 * The hash of a run: every event, in order, and what parts add to it (a disk each request and its end, a link each piece, a scenario what
 * it has read). Two runs with equal hashes went the same way. 64 bits in two lanes; tells runs apart, proves nothing against malice.
 */
import { hashText } from './random.js';

/** A hash of what happened in a run, in order: equal runs have equal ones. */
export class TraceHash {
  #high = 0x243f6a88;
  #low = 0x85a308d3;

  /** Adds a whole number; below 2^53 in size. */
  add(value: number): void {
    const upper = Math.floor(value / 2 ** 32);
    this.#mix((value - upper * 2 ** 32) | 0);
    if (upper !== 0) this.#mix(upper | 0);
  }

  addText(text: string): void {
    this.#mix(hashText(text));
    this.#mix(text.length);
  }

  addBytes(bytes: Uint8Array): void {
    let hash = 0x811c9dc5;
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
    this.#mix(hash);
    this.#mix(bytes.length);
  }

  #mix(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x9e3779b1);
    this.#low ^= this.#low >>> 15;
    this.#high = Math.imul(this.#high ^ this.#low, 0x85ebca77);
    this.#high = (this.#high << 13) | (this.#high >>> 19);
  }

  /** 16 digits. */
  toString(): string {
    return [this.#high, this.#low].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('');
  }
}
