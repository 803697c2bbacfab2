/** Answers of operations that others wrote: whatever they do, the cache gets a status. */
import { Errno, errnoOf, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';

/** A status as the contract has it; anything else is -EIO. */
function asStatus(answer: unknown): 0 | NegErrno {
  return typeof answer === 'number' && Number.isInteger(answer) && answer <= 0 && answer > -4096 ? answer : -Errno.EIO;
}

/** Calls an operation. @returns its status; never throws, never rejects. */
export function ask(operation: () => MaybePromise<0 | NegErrno>): MaybePromise<0 | NegErrno> {
  try {
    const answer = operation();
    return isPromise(answer) ? answer.then(asStatus, errnoOf) : asStatus(answer);
  } catch (error) {
    return errnoOf(error);
  }
}
