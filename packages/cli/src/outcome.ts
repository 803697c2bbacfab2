/**
 * How a command ends: exit codes, the two errors that choose one, and what is tidied up when a signal comes.
 *
 * A `KernelError` is the world's doing (a device, a server, a budget, a word nobody understands) and means bad input.
 */
import os from 'node:os';

/** Exit codes of every verb. Signal n adds 128 + n. */
export const ExitCode = { DONE: 0, FAILED: 1, BAD_INPUT: 2 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The command line is wrong; the message is the one line that says how. */
export class UsageError extends Error {}

/** The job ran and its result is not what it must be. */
export class JobFailed extends Error {}

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

/**
 * Until the returned function is called, SIGHUP, SIGINT and SIGTERM run `cleanUp`, which must be synchronous, and end the process with
 * 128 + n. For verbs that have nothing to drain.
 */
export function endOnSignal(cleanUp: () => void): () => void {
  const end = (signal: NodeJS.Signals): void => {
    cleanUp();
    process.exit(128 + os.constants.signals[signal]);
  };
  for (const signal of SIGNALS) process.on(signal, end);
  return () => {
    for (const signal of SIGNALS) process.off(signal, end);
  };
}

/** Ends when SIGTERM or SIGINT comes; for verbs that stay in the foreground and drain. A second one ends the process at once. */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, stop);
      resolve();
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
  });
}
