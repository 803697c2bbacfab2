/**
 * Errors as `node:fs` throws them: those of the system (`ENOENT: no such file or directory, open '/x'`, with `code`, `errno`, `syscall`,
 * `path`, `dest`) and those of wrong arguments (`ERR_INVALID_ARG_TYPE` and the like), with Node's own words.
 */
import { getSystemErrorMap, inspect } from 'node:util';
import { type ErrnoName, errnoName, KernelError, type NegErrno } from '../../base/errno.js';

const MESSAGES = getSystemErrorMap();

/** An error of the system, at the face for programs. */
export class FsError extends KernelError {
  readonly syscall: string;
  readonly path?: string;
  readonly dest?: string;

  constructor(errno: NegErrno, syscall: string, path?: string, dest?: string) {
    const code: ErrnoName = errnoName(errno);
    const said = MESSAGES.get(errno)?.[1] ?? 'unknown error';
    const where = path === undefined ? '' : dest === undefined ? ` '${path}'` : ` '${path}' -> '${dest}'`;
    super(code, `${said}, ${syscall}${where}`);
    this.name = 'Error';
    this.syscall = syscall;
    if (path !== undefined) this.path = path;
    if (dest !== undefined) this.dest = dest;
  }
}

type ErrorClass = new (message: string) => Error;

function argumentError(type: ErrorClass, code: string, message: string): Error {
  const error = new type(message) as Error & { code: string };
  error.code = code;
  return error;
}

/** How Node tells what it was given. */
function received(value: unknown): string {
  if (value === null || value === undefined) return ` Received ${value}`;
  if (typeof value === 'function') return ` Received function ${value.name}`;
  if (typeof value === 'object') {
    const name = value.constructor?.name;
    return name ? ` Received an instance of ${name}` : ` Received ${inspect(value, { depth: -1 })}`;
  }
  const shown = inspect(value, { colors: false });
  return ` Received type ${typeof value} (${shown.length > 28 ? `${shown.slice(0, 25)}...` : shown})`;
}

/** @param expected as Node says it: `of type number`, `an instance of Buffer`. */
export function wrongType(name: string, expected: string, value: unknown): Error {
  const what = name.endsWith(' argument') ? `The ${name}` : `The "${name}" ${name.includes('.') ? 'property' : 'argument'}`;
  return argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', `${what} must be ${expected}.${received(value)}`);
}

export function wrongValue(name: string, value: unknown, why = 'is invalid'): Error {
  const shown = inspect(value);
  const kind = name.includes('.') ? 'property' : 'argument';
  return argumentError(TypeError, 'ERR_INVALID_ARG_VALUE', `The ${kind} '${name}' ${why}. Received ${shown.slice(0, 128)}`);
}

/** @param range as Node says it: `>= 0 && <= 4294967295`, `an integer`. */
export function outOfRange(name: string, range: string, value: unknown): Error {
  const isLarge =
    typeof value === 'bigint' ? value > 2n ** 32n || value < -(2n ** 32n) : Number.isInteger(value) && Math.abs(value as number) > 2 ** 32;
  const digits = isLarge ? grouped(value as number | bigint) : String(value);
  const shown = typeof value === 'bigint' ? `${digits}n` : digits;
  return argumentError(RangeError, 'ERR_OUT_OF_RANGE', `The value of "${name}" is out of range. It must be ${range}. Received ${shown}`);
}

function grouped(value: number | bigint): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, '_');
}

/** An error of Node's own about files, with a code and a message of its own. */
export function nodeError(code: string, message: string, type: ErrorClass = Error): Error {
  return argumentError(type, code, message);
}
