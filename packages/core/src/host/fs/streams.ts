/** `createReadStream` and `createWriteStream`: Node's streams over an open file. A read never asks for more than the stream wants next. */
import type { ReadStream, WriteStream } from 'node:fs';
import { Readable, Writable } from 'node:stream';
import type { OpenFile } from '../../vfs/open-file.js';
import { type Options, toFlags, toInteger, toMode, toOptions, toPath } from './arguments.js';
import { OPEN_FILE } from './descriptor-calls.js';
import { outOfRange } from './errors.js';
import { soon } from './face.js';
import type { FileHandle, HandleParts } from './file-handle.js';

const READ_AHEAD_BYTES = 65_536;

type Done = (error?: Error | null) => void;

/** The open file of a stream: its own, by path; or one that somebody handed over. */
class StreamFile {
  readonly #parts: HandleParts;
  readonly #options: Options;
  readonly #path: string | undefined;
  readonly #autoClose: boolean;
  #handle: FileHandle | null;
  file: OpenFile | null = null;
  fd: number | null = null;

  constructor(parts: HandleParts, path: string | undefined, options: Options, file: OpenFile | null) {
    this.#parts = parts;
    this.#path = path;
    this.#options = options;
    this.#autoClose = options.autoClose !== false;
    this.#handle = isHandle(options.fd) ? options.fd : null;
    this.file = this.#handle?.[OPEN_FILE] ?? file;
    this.fd = this.#handle?.fd ?? (typeof options.fd === 'number' ? options.fd : null);
  }

  async open(flag: string): Promise<number> {
    if (this.file === null) {
      const { flags, mode } = this.#options;
      const how = toFlags(flags, 'flags', flag);
      const bits = toMode(mode, 'mode', 0o666);
      this.file = await soon(this.#parts.files.open(this.#parts.callers.waiting, this.#path as string, how, bits));
      this.fd = this.#parts.describe(this.file);
    }
    return this.fd as number;
  }

  async close(): Promise<void> {
    if (!this.#autoClose || this.file === null) return;
    if (this.#handle !== null) await this.#handle.close();
    else if (this.file.isOpen) {
      this.file.release();
      this.#parts.undescribe(this.fd as number);
    }
    this.fd = null;
  }
}

function isHandle(value: unknown): value is FileHandle {
  return typeof value === 'object' && value !== null && OPEN_FILE in value;
}

function offsetOption(options: Options, name: string): number | undefined {
  const value = options[name];
  return value === undefined ? undefined : value === Infinity ? Infinity : toInteger(value, name, 0);
}

/** @param find gives the open file of a descriptor. */
export function createReadStream(parts: HandleParts, path: unknown, given: unknown, find?: (fd: unknown) => OpenFile): ReadStream {
  const options = toOptions(given);
  const start = offsetOption(options, 'start');
  const end = offsetOption(options, 'end') ?? Infinity;
  if (start !== undefined && start > end) throw outOfRange('start', `<= "end" (here: ${end})`, start);
  const at = options.fd === undefined || options.fd === null ? toPath(path) : undefined;
  const source = new StreamFile(parts, at, options, typeof options.fd === 'number' && find ? find(options.fd) : null);
  const { waiting } = parts.callers;
  let position = start ?? null;
  let left = end === Infinity ? Infinity : end - (start ?? 0) + 1;
  const stream = new Readable({
    highWaterMark: (options.highWaterMark as number | undefined) ?? READ_AHEAD_BYTES,
    encoding: options.encoding as BufferEncoding | undefined,
    emitClose: options.emitClose !== false,
    autoDestroy: options.autoClose !== false,
    signal: options.signal as AbortSignal | undefined,
    construct(done: Done) {
      source.open('r').then(opened(stream, done), done);
    },
    read(size: number) {
      const wanted = Math.min(size, left);
      if (wanted <= 0) {
        stream.push(null);
        return;
      }
      const chunk = Buffer.allocUnsafeSlow(wanted);
      soon(parts.files.read(waiting, source.file as OpenFile, chunk, position)).then(
        (got) => {
          (stream as unknown as { bytesRead: number }).bytesRead += got;
          if (position !== null) position += got;
          left -= got;
          stream.push(got === 0 ? null : got === wanted ? chunk : Buffer.from(chunk.subarray(0, got)));
        },
        (error: Error) => stream.destroy(error),
      );
    },
    destroy(error: Error | null, done: Done) {
      source.close().then(() => done(error), done);
    },
  });
  return Object.assign(stream, { bytesRead: 0, path: at, fd: null, close: closer(stream) }) as unknown as ReadStream;
}

/** As `createReadStream`. */
export function createWriteStream(parts: HandleParts, path: unknown, given: unknown, find?: (fd: unknown) => OpenFile): WriteStream {
  const options = toOptions(given);
  const start = offsetOption(options, 'start');
  const at = options.fd === undefined || options.fd === null ? toPath(path) : undefined;
  const target = new StreamFile(parts, at, options, typeof options.fd === 'number' && find ? find(options.fd) : null);
  const { waiting } = parts.callers;
  let position = start ?? null;
  const write = (bytes: Uint8Array, done: Done): void => {
    soon(parts.files.writeAll(waiting, target.file as OpenFile, bytes, position)).then(() => {
      (stream as unknown as { bytesWritten: number }).bytesWritten += bytes.length;
      if (position !== null) position += bytes.length;
      done();
    }, done);
  };
  const stream = new Writable({
    highWaterMark: options.highWaterMark as number | undefined,
    defaultEncoding: options.encoding as BufferEncoding | undefined,
    decodeStrings: true,
    emitClose: options.emitClose !== false,
    autoDestroy: options.autoClose !== false,
    signal: options.signal as AbortSignal | undefined,
    construct(done: Done) {
      target.open(start === undefined ? 'w' : 'r+').then(opened(stream, done), done);
    },
    write(chunk: Buffer, _encoding, done: Done) {
      write(chunk, done);
    },
    writev(chunks: { chunk: Buffer }[], done: Done) {
      write(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
    },
    final(done: Done) {
      if (options.flush !== true) done();
      else soon(parts.files.sync(waiting, target.file as OpenFile, false)).then(() => done(), done);
    },
    destroy(error: Error | null, done: Done) {
      target.close().then(() => done(error), done);
    },
  });
  return Object.assign(stream, { bytesWritten: 0, path: at, fd: null, close: closer(stream) }) as unknown as WriteStream;
}

function opened(stream: Readable | Writable, done: Done): (fd: number) => void {
  return (fd) => {
    (stream as unknown as { fd: number }).fd = fd;
    done();
    stream.emit('open', fd);
    stream.emit('ready');
  };
}

/** Node's `stream.close(callback)`. */
function closer(stream: Readable | Writable): (callback?: Done) => void {
  return (callback) => {
    if (callback !== undefined) {
      if (stream.closed) process.nextTick(callback);
      else stream.once('close', callback);
    }
    if (stream instanceof Writable && !stream.destroyed) stream.end();
    else stream.destroy();
  };
}
