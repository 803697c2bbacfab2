/**
 * Work in steps: one text for what is done at once and what has to wait.
 *
 * A generator that yields the promises it must wait for is driven by `run`: as long as everything is there (a hit, a free lock, a
 * filesystem in memory) it runs to its end synchronously and its value is a value; the first thing that is not there makes it a promise.
 *
 *     *#makeDirectory(…): Steps<NegErrno> {
 *       const locked = yield* settle(dir.lock.exclusive(task));
 *       …
 *     }
 *     const status = run(this.#makeDirectory(…));       // MaybePromise<NegErrno>
 */
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';

/** Work that ends with a `T` and may have to wait on its way. */
export type Steps<T> = Generator<Promise<unknown>, T, unknown>;

/** The value, waited for if it is not there yet. Throws what a promise rejects with. */
export function* settle<T>(value: MaybePromise<T>): Steps<T> {
  return isPromise(value) ? ((yield value) as T) : value;
}

/** Runs steps: now, as far as nothing must be waited for. */
export function run<T>(steps: Steps<T>): MaybePromise<T> {
  const first = steps.next();
  return first.done === true ? first.value : runOn(steps, first.value);
}

async function runOn<T>(steps: Steps<T>, waiting: Promise<unknown>): Promise<T> {
  for (;;) {
    let value: unknown;
    let failed: { error: unknown } | null = null;
    try {
      value = await waiting;
    } catch (error) {
      failed = { error };
    }
    const next: IteratorResult<Promise<unknown>, T> = failed === null ? steps.next(value) : steps.throw(failed.error);
    if (next.done === true) return next.value;
    waiting = next.value;
  }
}
