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

/**
 * Steps that have ended before they began. There is one object, for all of them: `yield*` takes the value out at once, so that what is
 * there costs no generator.
 */
class Ended {
  readonly done = true;
  value: unknown;

  next(): this {
    return this;
  }

  [Symbol.iterator](): this {
    return this;
  }
}

const ended = new Ended();

/** Steps for a value that is there. To be given to `yield*` or `run` before anything else is done. */
export function ready<T>(value: T): Steps<T> {
  ended.value = value;
  return ended as unknown as Steps<T>;
}

/** The value, waited for if it is not there yet. Throws what a promise rejects with. As `ready`, to be given to `yield*` at once. */
export function settle<T>(value: MaybePromise<T>): Steps<T> {
  return isPromise(value) ? waitFor(value) : ready(value);
}

function* waitFor<T>(value: Promise<T>): Steps<T> {
  return (yield value) as T;
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
