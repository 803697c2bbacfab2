/** The host's socket errors as `KernelError`s that name the address. */
import { Errno, type ErrnoName, isKernelError, KernelError } from '@tidemark/core';

/** Codes of the host that core has no number for. */
const FOREIGN: Record<string, ErrnoName> = {
  ENOTFOUND: 'ENXIO',
  EAI_AGAIN: 'ENXIO',
  EHOSTUNREACH: 'ENXIO',
  ENETUNREACH: 'ENXIO',
  EADDRNOTAVAIL: 'ENXIO',
  ECONNABORTED: 'ECONNRESET',
  ENOTSOCK: 'ECONNREFUSED',
  EMFILE: 'ENFILE',
};

/** `doing` names the address: `connect to 127.0.0.1:10809`. */
export function socketError(thrown: unknown, doing: string): KernelError {
  if (isKernelError(thrown)) return thrown;
  const code = String((thrown as { code?: unknown } | null)?.code ?? '');
  const name = code in Errno ? (code as ErrnoName) : (FOREIGN[code] ?? 'EIO');
  const why = thrown instanceof Error && thrown.message !== '' ? thrown.message : code;
  return new KernelError(name, `${doing}: ${why}`, { cause: thrown });
}
