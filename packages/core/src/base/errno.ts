/**
 * Errors, in two forms: negative errno numbers inside, one `KernelError` at the face.
 *
 * Below the face every fallible call returns a number: zero or more is success, below zero is `-Errno.X`. That costs 3 ns where a
 * thrown Error costs 2,400. The face (Kernel, PagedBuffer, openBlockDevice, …) turns such a number into a `KernelError` once, with
 * a message that says what was being done to what.
 *
 * Numbers are Linux's (asm-generic/errno.h), because ext3, NBD and NFS carry them.
 */

/** Error numbers by name, as on Linux. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  EILSEQ: 84,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  ECONNRESET: 104,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  ESTALE: 116,
  EUCLEAN: 117,
  EDQUOT: 122,
  ECANCELED: 125,
} as const;

/** Symbolic name of an error number. */
export type ErrnoName = keyof typeof Errno;

/** A negative error number, `-Errno.X`. Zero and above mean success. */
export type NegErrno = number;

const NAMES = new Map<number, ErrnoName>(Object.entries(Errno).map(([name, number]) => [number, name as ErrnoName]));

/** Name of an error number, given with either sign; `EIO` for one that is not in the table. */
export function errnoName(errno: number): ErrnoName {
  return NAMES.get(Math.abs(errno)) ?? 'EIO';
}

const BRAND = Symbol.for('tidemark.KernelError');

/** Facts that belong to an error, for programs; the message holds them for people. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/**
 * The one error type that leaves Tidemark. `code` is the errno's name, as in `node:fs`; `details` holds the numbers that the
 * message mentions (the smallest budget, the shortfall, the offset), `cause` what was caught below, if anything.
 */
export class KernelError extends Error {
  readonly code: ErrnoName;
  /** Negative, as in `node:fs`. */
  readonly errno: number;
  readonly details: ErrorDetails;
  readonly [BRAND] = true;

  constructor(code: ErrnoName, message: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(`${code}: ${message}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KernelError';
    this.code = code;
    this.errno = -Errno[code];
    this.details = options.details ?? {};
  }
}

/** Recognises a `KernelError` even when two copies of this package are loaded. */
export function isKernelError(value: unknown): value is KernelError {
  return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[BRAND] === true;
}

/** Turns a negative errno into the error for the face: `errorFrom(-5, 'read slot 7 of nbd:0')`. */
export function errorFrom(errno: NegErrno, doing: string, details?: ErrorDetails): KernelError {
  return new KernelError(errnoName(errno), doing, { details });
}

/** The negative errno of whatever was thrown: of a `KernelError`, of an error of `node:fs`, else `-EIO`. */
export function errnoOf(thrown: unknown): NegErrno {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' && Object.hasOwn(Errno, code) ? -Errno[code as ErrnoName] : -Errno.EIO;
}

/** Throws if `condition` is false. For what only a bug of ours can cause; stays on in production. */
export function invariant(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`tidemark invariant violated: ${what}`);
}
