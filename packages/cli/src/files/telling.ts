/**
 * Errors of files as this command tells them: `ENOENT: cannot open ext3:disk.img::/a: no such file or directory`.
 *
 * What a device or a filesystem does in the middle of the work (no room, damage, a failed read) is a job that failed; everything else
 * that an errno says is bad input.
 */
import { type ErrnoName, errnoName, errnoOf, KernelError } from '@tidemark/core';
import { reasonOf } from '../host-error.js';
import { JobFailed } from '../outcome.js';

const FAILURES: readonly ErrnoName[] = ['EIO', 'ENOSPC', 'EDQUOT', 'ENOMEM', 'EUCLEAN', 'ESTALE', 'ETIMEDOUT', 'EFBIG', 'ENFILE', 'EMFILE'];

/** Does `work`. @throws KernelError or JobFailed `CODE: cannot DOING: REASON` for an error with an errno; any other is thrown as it is. */
export async function telling<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Error) || typeof (error as NodeJS.ErrnoException).errno !== 'number') throw error;
    throw toldError(doing, error);
  }
}

/** An error with an errno, told. */
function toldError(doing: string, error: Error): Error {
  return toldFailure(new KernelError(errnoName(errnoOf(error)), `cannot ${doing}: ${reasonOf(error)}`, { cause: error }));
}

/** The error as it is, or a job that failed for what is nobody's input. */
export function toldFailure(error: KernelError): Error {
  if (!FAILURES.includes(error.code)) return error;
  return new JobFailed(error.code === 'ENOMEM' ? `${error.message}; --memory gives the kernel more` : error.message, { cause: error });
}
