/**
 * How one call becomes three: the promise, the synchronous and the callback form all run the same steps.
 *
 * | form | caller | when it must wait |
 * |---|---|---|
 * | promise, callback | may wait | it waits |
 * | synchronous | may not | EAGAIN; what was missing is being fetched, so that a later call finds it |
 *
 * A synchronous call that changes something works at once where the filesystem can do that (memfs), and otherwise fails with EAGAIN
 * before it has begun.
 */
import { Errno } from '../../base/errno.js';
import { isPromise, type MaybePromise } from '../../base/maybe-promise.js';
import { run, type Steps } from '../../vfs/steps.js';
import type { Caller } from '../../vfs/walk.js';
import { FsError, wrongType } from './errors.js';

/** Runs steps for a caller that waits. */
export function soon<T>(steps: Steps<T>): Promise<T> {
  try {
    const result = run(steps);
    return isPromise(result) ? result : Promise.resolve(result);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Runs steps for a caller that may not wait. @throws FsError EAGAIN. */
export function now<T>(steps: Steps<T>, syscall: string): T {
  const result: MaybePromise<T> = run(steps);
  if (!isPromise(result)) return result;
  result.catch(() => {}); // it ends by itself: the caller's signal has aborted
  throw new FsError(-Errno.EAGAIN, syscall);
}

/** The last argument of a callback form. @throws TypeError as Node. */
export function toCallback(value: unknown, name = 'cb'): (...results: unknown[]) => void {
  if (typeof value !== 'function') throw wrongType(name, 'of type function', value);
  return value as (...results: unknown[]) => void;
}

/** Calls back once the promise has ended, outside of it: what the callback throws is the program's own affair. */
export function callBack(
  promise: Promise<unknown>,
  callback: (...results: unknown[]) => void,
  spread: (value: unknown) => unknown[],
): void {
  promise.then(
    (value) => process.nextTick(callback, null, ...spread(value)),
    (error) => process.nextTick(callback, error),
  );
}

/** Who calls: one who waits, and one who does not. */
export interface Callers {
  readonly waiting: Caller;
  readonly atOnce: Caller;
}
