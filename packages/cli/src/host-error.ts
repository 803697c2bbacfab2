/**
 * Errors of the host (`node:fs`, streams) as this command tells them: the code once, what was being done, and the host's own words
 * for the number.
 */
import { getSystemErrorMap } from 'node:util';
import { errnoName, errnoOf, KernelError } from '@tidemark/core';

/** What the host says about an error: `no such file or directory`. */
export function reasonOf(error: NodeJS.ErrnoException): string {
  const known = error.errno === undefined ? undefined : getSystemErrorMap().get(error.errno);
  return known?.[1] ?? error.message;
}

/** Does `work`. @throws KernelError `cannot DOING: REASON` for an error of the host; any other is thrown as it is. */
export function attempt<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || (error as NodeJS.ErrnoException).errno === undefined || error instanceof KernelError) throw error;
    throw new KernelError(errnoName(errnoOf(error)), `cannot ${doing}: ${reasonOf(error)}`, { cause: error });
  }
}
