/**
 * Signals during work on a tree that can be written: the work ends between two steps, and the tree is written out and unmounted. A second
 * signal ends the process at once.
 */
import { Interrupted, SIGNALS } from '../outcome.js';

/** What long work asks between its steps. */
export interface Interrupts {
  /** @throws Interrupted once a signal has come. */
  check(): void;
}

/** Listens for signals until `disarm` is called. */
export function interruptible(): Interrupts & { disarm(): void } {
  let came: NodeJS.Signals | null = null;
  const disarm = (): void => {
    for (const signal of SIGNALS) process.off(signal, note);
  };
  const note = (signal: NodeJS.Signals): void => {
    came = signal;
    disarm();
  };
  for (const signal of SIGNALS) process.on(signal, note);
  return {
    check() {
      if (came !== null) throw new Interrupted(came);
    },
    disarm,
  };
}
