/**
 * The calls of `node:fs` on file descriptors, and those that take a path or a descriptor. A descriptor is a small number that stands for
 * an open file in the table of one face; 0, 1 and 2 are never given out.
 */
import { Errno } from '../../base/errno.js';
import { OPEN_FILE, type OpenFile } from '../../vfs/open-file.js';
import type { Steps } from '../../vfs/steps.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import { type Options, toBuffer, toBytes, toFlags, toId, toInteger, toMode, toOptions, toPath, toPosition, toTimeMs } from './arguments.js';
import { FsError, outOfRange, wrongType, wrongValue } from './errors.js';
import { FileCalls } from './file-calls.js';
import type { BigIntStats, Stats } from './stats.js';

const FIRST_DESCRIPTOR = 3;
const DESCRIPTORS_MAX = 65_536;

/** Open files by descriptor. */
export class Descriptors {
  readonly #files = new Map<number, OpenFile>();
  /** No lower one is free. */
  #lowest = FIRST_DESCRIPTOR;

  /** Gives a file the lowest free descriptor. @throws FsError EMFILE, with the file closed. */
  add(file: OpenFile, path?: string): number {
    if (this.#files.size >= DESCRIPTORS_MAX) {
      file.release();
      throw new FsError(-Errno.EMFILE, 'open', path);
    }
    while (this.#files.has(this.#lowest)) this.#lowest++;
    this.#files.set(this.#lowest, file);
    return this.#lowest++;
  }

  /** @throws TypeError for what is no descriptor, FsError EBADF for one that is not open. */
  get(fd: unknown, syscall: string): OpenFile {
    const file = this.#files.get(toInteger(fd, 'fd', 0, 2 ** 31 - 1));
    if (file === undefined) throw new FsError(-Errno.EBADF, syscall);
    return file;
  }

  delete(fd: number): void {
    this.#files.delete(fd);
    this.#lowest = Math.min(this.#lowest, fd);
  }
}

/** What part of a buffer is meant. */
export interface BufferPart {
  readonly part: Uint8Array;
  readonly position: number | null;
}

/** `(buffer, offset, length, position)`, `(buffer, options)` or `(options)`, as `fs.read` and `FileHandle.read` take them. */
export function readArguments(args: readonly unknown[]): BufferPart & { readonly buffer: NodeJS.ArrayBufferView } {
  let [buffer, offset, length, position] = args;
  if (!ArrayBuffer.isView(buffer)) {
    if (buffer !== undefined && (buffer === null || typeof buffer !== 'object'))
      throw wrongType('buffer', 'an instance of Buffer, TypedArray, or DataView', buffer);
    const options = (buffer ?? {}) as Options;
    ({ buffer = Buffer.alloc(16_384), offset = 0, length, position = null } = options);
  } else if (offset !== null && typeof offset === 'object') ({ offset = 0, length, position = null } = offset as Options);
  const bytes = toBuffer(buffer);
  const from = offset === undefined || offset === null ? 0 : toInteger(offset, 'offset', 0);
  // Whatever it is, it becomes a number of 32 bits, as with Node.
  const count = length === undefined || length === null ? bytes.length - from : (length as number) | 0;
  const given = buffer as NodeJS.ArrayBufferView;
  if (count === 0) return { part: bytes.subarray(0, 0), position: null, buffer: given };
  if (bytes.length === 0) throw wrongValue('buffer', buffer, 'is empty and cannot be written');
  if (count < 0) throw outOfRange('length', '>= 0', count);
  if (count > bytes.length - from) throw outOfRange('length', `<= ${bytes.length - from}`, count);
  return { part: bytes.subarray(from, from + count), position: toPosition(position), buffer: given };
}

function partToWrite(bytes: Uint8Array, offset: unknown, length: unknown, position: unknown): BufferPart {
  const from = offset === undefined || offset === null ? 0 : toInteger(offset, 'offset', 0);
  const rest = bytes.length - from;
  const count = typeof length === 'number' ? length : rest;
  if (rest < 0) throw outOfRange('offset', `<= ${bytes.length}`, from);
  if (count > rest) throw outOfRange('length', `<= ${rest}`, count);
  if (count < 0) throw outOfRange('length', '>= 0', count);
  return { part: bytes.subarray(from, from + toInteger(count, 'length')), position: toPosition(position) };
}

/** `(buffer, offset, length, position)`, `(buffer, options)` or `(string, position, encoding)`, as `fs.write` takes them. */
export function writeArguments(args: readonly unknown[]): BufferPart {
  const [data, offset, length, position] = args;
  if (typeof data === 'string') return { part: toBytes(data, length), position: typeof offset === 'number' ? toPosition(offset) : null };
  if (!ArrayBuffer.isView(data)) throw wrongType('buffer', 'of type string or an instance of Buffer, TypedArray, or DataView', data);
  const bytes = toBuffer(data);
  if (offset !== null && typeof offset === 'object') {
    const options = offset as Options;
    return partToWrite(bytes, options.offset, options.length, options.position);
  }
  return partToWrite(bytes, offset, length, typeof position === 'number' || typeof position === 'bigint' ? position : null);
}

/** A list of buffers. @throws TypeError as Node. */
export function toBuffers(value: unknown): Uint8Array[] {
  if (!Array.isArray(value) || !value.every((item) => ArrayBuffer.isView(item)))
    throw wrongType('buffers', 'an instance of ArrayBufferView[]', value);
  return value.map((item) => toBuffer(item));
}

export class DescriptorCalls {
  readonly files: FileCalls;
  readonly descriptors = new Descriptors();

  constructor(vfs: Vfs) {
    this.files = new FileCalls(vfs);
  }

  *open(who: Caller, path: unknown, flags?: unknown, mode?: unknown): Steps<number> {
    const at = toPath(path);
    const how = toFlags(flags);
    const file = yield* this.files.open(who, at, how, toMode(mode, 'mode', 0o666));
    return this.descriptors.add(file, at);
  }

  *close(who: Caller, fd: unknown): Steps<void> {
    const file = this.descriptors.get(fd, 'close');
    this.descriptors.delete(fd as number);
    yield* this.files.close(who, file);
  }

  *read(who: Caller, fd: unknown, ...args: unknown[]): Steps<number> {
    const file = this.descriptors.get(fd, 'read');
    const { part, position } = readArguments(args);
    return part.length === 0 ? 0 : yield* this.files.read(who, file, part, position);
  }

  *readv(who: Caller, fd: unknown, buffers: unknown, position?: unknown): Steps<number> {
    const file = this.descriptors.get(fd, 'read');
    return yield* this.files.readv(who, file, toBuffers(buffers), typeof position === 'number' ? position : null);
  }

  *write(who: Caller, fd: unknown, ...args: unknown[]): Steps<number> {
    const file = this.descriptors.get(fd, 'write');
    const { part, position } = writeArguments(args);
    return yield* this.files.write(who, file, part, position);
  }

  *writev(who: Caller, fd: unknown, buffers: unknown, position?: unknown): Steps<number> {
    const file = this.descriptors.get(fd, 'write');
    return yield* this.files.writev(who, file, toBuffers(buffers), typeof position === 'number' ? position : null);
  }

  *fstat(who: Caller, fd: unknown, options?: unknown): Steps<Stats | BigIntStats> {
    return yield* this.files.stat(who, this.descriptors.get(fd, 'fstat'), toOptions(options).bigint === true);
  }

  *ftruncate(who: Caller, fd: unknown, length: unknown = 0): Steps<void> {
    const file = this.descriptors.get(fd, 'ftruncate');
    yield* this.files.truncate(who, file, Math.max(0, toInteger(length, 'len')));
  }

  *fsync(who: Caller, fd: unknown): Steps<void> {
    yield* this.files.sync(who, this.descriptors.get(fd, 'fsync'), false);
  }

  *fdatasync(who: Caller, fd: unknown): Steps<void> {
    yield* this.files.sync(who, this.descriptors.get(fd, 'fdatasync'), true);
  }

  *fchmod(who: Caller, fd: unknown, mode: unknown): Steps<void> {
    yield* this.files.chmod(who, this.descriptors.get(fd, 'fchmod'), toMode(mode, 'mode'));
  }

  *fchown(who: Caller, fd: unknown, uid: unknown, gid: unknown): Steps<void> {
    yield* this.files.chown(who, this.descriptors.get(fd, 'fchown'), toId(uid, 'uid'), toId(gid, 'gid'));
  }

  *futimes(who: Caller, fd: unknown, atime: unknown, mtime: unknown): Steps<void> {
    const file = this.descriptors.get(fd, 'futime');
    yield* this.files.utimes(who, file, toTimeMs(atime, 'atime'), toTimeMs(mtime, 'mtime'));
  }

  /** A descriptor's file, or the file of a path while `work` runs. */
  *#fileOf<T>(who: Caller, target: unknown, flags: number, mode: number, work: (file: OpenFile) => Steps<T>): Steps<T> {
    if (typeof target === 'number') return yield* work(this.descriptors.get(target, 'read'));
    const handled = (target as { [OPEN_FILE]?: OpenFile } | null | undefined)?.[OPEN_FILE];
    if (handled !== undefined) return yield* work(handled);
    return yield* this.files.with(who, toPath(target), flags, mode, work);
  }

  *readFile(who: Caller, target: unknown, options?: unknown): Steps<Buffer | string> {
    const { encoding, flag, signal } = toOptions(options, { flag: 'r' });
    checkAborted(signal);
    const flags = toFlags(flag);
    const bytes = yield* this.#fileOf(who, target, flags, 0o666, (file) => this.files.readAll(who, file));
    return encoding === undefined || encoding === null || encoding === 'buffer' ? bytes : bytes.toString(encoding as BufferEncoding);
  }

  *writeFile(who: Caller, target: unknown, data: unknown, options?: unknown): Steps<void> {
    yield* this.#writeFile(who, target, data, toOptions(options, { encoding: 'utf8', mode: 0o666, flag: 'w' }));
  }

  *appendFile(who: Caller, target: unknown, data: unknown, options?: unknown): Steps<void> {
    yield* this.#writeFile(who, target, data, toOptions(options, { encoding: 'utf8', mode: 0o666, flag: 'a' }));
  }

  *#writeFile(who: Caller, target: unknown, data: unknown, options: Options): Steps<void> {
    const bytes = toBytes(data, options.encoding);
    checkAborted(options.signal);
    const flags = toFlags(options.flag, 'flags', 'w');
    const { files } = this;
    yield* this.#fileOf(who, target, flags, toMode(options.mode, 'mode', 0o666), function* (file) {
      yield* files.writeAll(who, file, bytes, null);
      if (options.flush === true) yield* files.sync(who, file, false);
    });
  }

  *copyFile(who: Caller, src: unknown, dest: unknown, mode: unknown = 0): Steps<void> {
    const from = toPath(src, 'src');
    const to = toPath(dest, 'dest');
    yield* this.files.copyFile(who, from, to, toInteger(mode, 'mode', 0, 7));
  }
}

/** @throws AbortError, as Node has it, if the signal has aborted. */
export function checkAborted(signal: unknown): void {
  const { aborted, reason } = (signal ?? {}) as { aborted?: boolean; reason?: unknown };
  if (aborted !== true) return;
  const error = new Error('The operation was aborted', { cause: reason }) as Error & { code: string };
  error.name = 'AbortError';
  error.code = 'ABORT_ERR';
  throw error;
}
