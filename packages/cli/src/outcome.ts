/**
 * How a command ends: exit codes, the errors that choose one, what is tidied up on every way out, and what becomes of a write to
 * stdout or stderr that fails.
 *
 * A `KernelError` is the world's doing (a device, a server, a budget, a word nobody understands) and means bad input.
 */
import os from 'node:os';
import { formatStallReport, type StallReport } from '@tidemark/core';
import { reasonOf } from './host-error.js';

/** Exit codes of every verb. Signal n adds 128 + n. */
export const ExitCode = { DONE: 0, FAILED: 1, BAD_INPUT: 2, STALLED: 3 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The command line is wrong; the message is the one line that says how. */
export class UsageError extends Error {}

/** The job ran and its result is not what it must be. */
export class JobFailed extends Error {}

/** Nothing moves any more although somebody waits; the report says who for what. */
export class Stalled extends Error {
  constructor(readonly report: StallReport) {
    super(formatStallReport(report));
  }
}

/** A signal came, and the job ended where it could: exit code 128 + n. */
export class Interrupted extends Error {
  constructor(readonly signal: NodeJS.Signals) {
    super(`ended by ${signal}`);
  }

  get exitCode(): number {
    return 128 + os.constants.signals[this.signal];
  }
}

/** What ends a command from outside. */
export const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

/**
 * Until the returned function is called, `cleanUp` runs however the process ends; it must be synchronous. SIGHUP, SIGINT and SIGTERM
 * end it with 128 + n. For verbs that have nothing to drain.
 */
export function onWayOut(cleanUp: () => void): () => void {
  const end = (signal: NodeJS.Signals): void => process.exit(128 + os.constants.signals[signal]);
  process.on('exit', cleanUp);
  for (const signal of SIGNALS) process.on(signal, end);
  return () => {
    process.off('exit', cleanUp);
    for (const signal of SIGNALS) process.off(signal, end);
  };
}

/** Set while a verb that drains is at work: tells it to. */
let stopVerb: (() => void) | null = null;

/**
 * Ends when SIGHUP, SIGINT or SIGTERM comes, or a stream fails; for verbs that stay in the foreground and drain. A second signal ends
 * the process at once.
 */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      for (const signal of SIGNALS) process.off(signal, stop);
      resolve();
    };
    for (const signal of SIGNALS) process.on(signal, stop);
    stopVerb = stop;
  });
}

/**
 * From now on a write that fails ends the process: 128 + SIGPIPE if the reader of stdout or stderr has gone, 1 for any other failure of
 * stdout. Other failures of stderr are ignored, the command goes on without it. A verb that drains is let drain first.
 */
export function endOnStreamFailure(): void {
  const readerGone = 128 + os.constants.signals.SIGPIPE;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return endWith(readerGone);
    if (process.exitCode === undefined || process.exitCode === ExitCode.DONE) {
      process.stderr.write(`tidemark: cannot write to stdout: ${reasonOf(error)}\n`);
    }
    endWith(ExitCode.FAILED);
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') endWith(readerGone);
  });
}

/** Ends the process with `code`: after the drain of a verb that has one (whose `exitCode` this is then), else at once. */
function endWith(code: number): void {
  if (process.exitCode === undefined || process.exitCode === ExitCode.DONE) process.exitCode = code;
  if (stopVerb === null) process.exit();
  stopVerb();
}
