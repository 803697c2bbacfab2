/**
 * Kept replies: a call that changes something and is sent again, because its reply was lost with a connection, is answered with what it was
 * answered, and is not done twice.
 *
 * A call is known by the host it comes from, its xid, program, procedure and length, and a checksum of its first bytes, credentials among them.
 * The port is no part of it: it differs after a reconnect. Entries are used again in the order in which they were made, but for those in
 * progress; after two minutes they are forgotten.
 */
import type { StandingMemory } from '@tidemark/core';
import { KEPT_REPLY_BYTES } from './sizes.js';

const AGE_MAX_MS = 120_000;
const FREE = 0;
const IN_PROGRESS = 1;
const DONE = 2;

/** What is known of a call. */
export const Seen = { NEW: 0, DONE: 1, NO_ROOM: 2 } as const;

export class ReplyCache {
  readonly #bytes: Uint8Array;
  readonly #nrEntries: number;
  readonly #state: Uint8Array;
  readonly #length: Uint16Array;
  readonly #madeMs: Float64Array;
  readonly #keys: (string | null)[];
  readonly #byKey = new Map<string, number>();
  #next = 0;
  /** The entry that `look` was about. */
  entry = -1;
  /** Replies that were given again, and calls dropped because they were in progress. */
  nrReplayed = 0;
  nrDropped = 0;

  constructor(
    memory: StandingMemory,
    nrEntries: number,
    private readonly nowMs: () => number,
  ) {
    this.#bytes = memory.bytes;
    this.#nrEntries = nrEntries;
    this.#state = new Uint8Array(nrEntries);
    this.#length = new Uint16Array(nrEntries);
    this.#madeMs = new Float64Array(nrEntries);
    this.#keys = new Array<string | null>(nrEntries).fill(null);
  }

  /** True if the same call is being done: this one is to be dropped. */
  isInProgress(key: string): boolean {
    const known = this.#byKey.get(key);
    if (known === undefined || this.#state[known] !== IN_PROGRESS) return false;
    this.nrDropped++;
    return true;
  }

  /** Looks up a call that is not in progress. NEW and DONE leave its `entry`; a new one must be ended. @returns one of `Seen`. */
  look(key: string): number {
    const known = this.#byKey.get(key);
    if (known !== undefined && this.nowMs() - this.#madeMs[known] < AGE_MAX_MS) {
      this.entry = known;
      this.nrReplayed++;
      return Seen.DONE;
    }
    if (known !== undefined) this.forget(known);
    for (let i = 0; i < this.#nrEntries; i++) {
      const entry = (this.#next + i) % this.#nrEntries;
      if (this.#state[entry] === IN_PROGRESS) continue;
      this.forget(entry);
      this.#next = (entry + 1) % this.#nrEntries;
      this.#state[entry] = IN_PROGRESS;
      this.#madeMs[entry] = this.nowMs();
      this.#keys[entry] = key;
      this.#byKey.set(key, entry);
      this.entry = entry;
      return Seen.NEW;
    }
    return Seen.NO_ROOM;
  }

  /** The reply of an entry that is done. */
  replyOf(entry: number): Uint8Array {
    const at = entry * KEPT_REPLY_BYTES;
    return this.#bytes.subarray(at, at + this.#length[entry]);
  }

  /** The call is answered: keeps its reply. */
  end(entry: number, reply: Uint8Array): void {
    if (reply.length > KEPT_REPLY_BYTES) {
      this.forget(entry);
      return;
    }
    this.#bytes.set(reply, entry * KEPT_REPLY_BYTES);
    this.#length[entry] = reply.length;
    this.#state[entry] = DONE;
    this.#madeMs[entry] = this.nowMs();
  }

  /** The entry is free. */
  forget(entry: number): void {
    const key = this.#keys[entry];
    if (key !== null) this.#byKey.delete(key);
    this.#keys[entry] = null;
    this.#state[entry] = FREE;
  }
}

/** A checksum of bytes (FNV-1a), at most 256 of them. */
export function checksumOf(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let i = from; i < to && i < from + 256; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash >>> 0;
}
