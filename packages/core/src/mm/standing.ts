/**
 * Standing memory (M5): frames that a part takes when it is admitted (connect, accept, open, swapon) and keeps until it goes. They
 * are contiguous, pinned, invisible to reclaim, and counted as `standing` in meminfo with their owner's name.
 */
import type { Pfn } from './arena.js';

/** One contiguous block of pinned frames. */
export interface StandingMemory {
  /** Who has it: `nbd://…/disk receive slot`. */
  readonly owner: string;
  readonly pfn: Pfn;
  readonly nrFrames: number;
  /** Arena address of the first byte. */
  readonly address: number;
  /** The bytes. Zeroed when taken. */
  readonly bytes: Uint8Array;
  /** Gives the frames back; once. */
  free(): void;
}
