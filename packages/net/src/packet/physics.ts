/**
 * What the links of an in-memory network need of their world: time, a way to have something happen later, and chance. The testkit's is the
 * event queue of a run; a program in real time takes a clock.
 */
import type { Clock, RandomSource } from '@tidemark/core';

export interface Physics {
  nowMs(): number;
  /** Has `fire` called `delayMs` from now. It cannot be taken back. */
  after(delayMs: number, fire: () => void): void;
  /** From 0 to below 1. */
  chance(): number;
}

/** The physics of a clock. Its timers stay pending until they fire: use a clock that is no kernel's. */
export function clockPhysics(clock: Clock, random: RandomSource): Physics {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  return {
    nowMs: () => clock.nowMs(),
    after: (delayMs, fire) => void clock.setTimer(delayMs, fire),
    chance: () => {
      random.fill(bytes);
      return view.getUint32(0) / 2 ** 32;
    },
  };
}
