/**
 * Cancellation. Core is compiled without any host's types, so it has its own name for the part of `AbortSignal` it uses; a real
 * `AbortSignal` fits.
 */
import { Errno, errnoOf, isKernelError, type NegErrno } from '../base/errno.js';

/** What core needs of an `AbortSignal`. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** The errno a wait ends with when `signal` aborts: that of a `KernelError` given as reason, else `-EINTR`. */
export function abortErrno(signal: AbortSignalLike): NegErrno {
  return isKernelError(signal.reason) ? errnoOf(signal.reason) : -Errno.EINTR;
}

/** The controller side, for core's own use (a kernel ends its waits with it at shutdown). */
export class AbortSource {
  readonly #listeners = new Set<() => void>();
  readonly signal: AbortSignalLike & { aborted: boolean; reason?: unknown };

  constructor() {
    const listeners = this.#listeners;
    this.signal = {
      aborted: false,
      reason: undefined,
      addEventListener: (_type, listener) => void listeners.add(listener),
      removeEventListener: (_type, listener) => void listeners.delete(listener),
    };
  }

  /** Ends every wait on the signal; the first call counts. */
  abort(reason?: unknown): void {
    if (this.signal.aborted) return;
    this.signal.aborted = true;
    this.signal.reason = reason;
    for (const listener of [...this.#listeners]) listener();
    this.#listeners.clear();
  }
}

/** A signal that aborts when either does, with that one's reason. */
export function eitherSignal(a: AbortSignalLike | null, b: AbortSignalLike): AbortSignalLike {
  if (a === null || b.aborted) return b;
  if (a.aborted) return a;
  const either = new AbortSource();
  for (const signal of [a, b]) signal.addEventListener('abort', () => either.abort(signal.reason), { once: true });
  return either.signal;
}
