/** The protocol's error numbers and ours. Only these numbers may be on the wire; they are Linux's. */
import { Errno, type NegErrno } from '@tidemark/core';

const ON_WIRE: ReadonlySet<number> = new Set([
  Errno.EPERM,
  Errno.EIO,
  Errno.ENOMEM,
  Errno.EINVAL,
  Errno.ENOSPC,
  Errno.EOVERFLOW,
  Errno.EOPNOTSUPP,
  Errno.ESHUTDOWN,
]);

/** What a server sends for a status: 0, or a number every client knows. */
export function wireError(status: 0 | NegErrno): number {
  if (status === 0) return 0;
  const errno = -status;
  if (ON_WIRE.has(errno)) return errno;
  if (errno === Errno.EROFS || errno === Errno.EACCES) return Errno.EPERM;
  if (errno === Errno.EFBIG) return Errno.ENOSPC;
  return Errno.EIO;
}

/** What a client makes of a server's error; the specification has unknown ones count as EINVAL. */
export function statusOfWireError(error: number): 0 | NegErrno {
  if (error === 0) return 0;
  return ON_WIRE.has(error) ? -error : -Errno.EINVAL;
}
