/** `FileHandle` of the promise form: an open file as an object. A handle that is never closed keeps its file open until shutdown. */
import { EventEmitter } from 'node:events';
import type { ReadStream, WriteStream } from 'node:fs';
import * as readline from 'node:readline';
import { Readable } from 'node:stream';
import { OPEN_FILE, type OpenFile } from '../../vfs/open-file.js';
import { toBytes, toFlags, toId, toInteger, toMode, toOptions, toPosition, toTimeMs } from './arguments.js';
import { checkAborted, readArguments, toBuffers, writeArguments } from './descriptor-calls.js';
import { type Callers, soon } from './face.js';
import type { FileCalls } from './file-calls.js';
import type { BigIntStats, Stats } from './stats.js';
import type { Streams } from './streams.js';

/** What a handle works with. */
export interface HandleParts {
  readonly files: FileCalls;
  readonly callers: Callers;
  readonly streams: Streams;
  /** Gives the file a descriptor, for `handle.fd`; and takes it back. */
  describe(file: OpenFile): number;
  undescribe(fd: number): void;
}

export class FileHandle extends EventEmitter {
  readonly [OPEN_FILE]: OpenFile;
  readonly #parts: HandleParts;
  #fd: number;
  #closing: Promise<void> | null = null;

  constructor(parts: HandleParts, file: OpenFile) {
    super();
    this.#parts = parts;
    this[OPEN_FILE] = file;
    this.#fd = parts.describe(file);
  }

  /** Its descriptor, for the calls that take one; −1 once it is closed. */
  get fd(): number {
    return this.#fd;
  }

  get #files(): FileCalls {
    return this.#parts.files;
  }

  async read(...args: unknown[]): Promise<{ bytesRead: number; buffer: NodeJS.ArrayBufferView }> {
    const { part, position, buffer } = readArguments(args);
    const bytesRead = part.length === 0 ? 0 : await soon(this.#files.read(this.#parts.callers.waiting, this[OPEN_FILE], part, position));
    return { bytesRead, buffer };
  }

  async readv(buffers: unknown, position?: unknown): Promise<{ bytesRead: number; buffers: unknown }> {
    const at = typeof position === 'number' ? toPosition(position) : null;
    const bytesRead = await soon(this.#files.readv(this.#parts.callers.waiting, this[OPEN_FILE], toBuffers(buffers), at));
    return { bytesRead, buffers };
  }

  async write(...args: unknown[]): Promise<{ bytesWritten: number; buffer: unknown }> {
    const { part, position } = writeArguments(args);
    const bytesWritten =
      part.length === 0 ? 0 : await soon(this.#files.write(this.#parts.callers.waiting, this[OPEN_FILE], part, position));
    return { bytesWritten, buffer: args[0] };
  }

  async writev(buffers: unknown, position?: unknown): Promise<{ bytesWritten: number; buffers: unknown }> {
    const at = typeof position === 'number' ? toPosition(position) : null;
    const bytesWritten = await soon(this.#files.writev(this.#parts.callers.waiting, this[OPEN_FILE], toBuffers(buffers), at));
    return { bytesWritten, buffers };
  }

  async readFile(options?: unknown): Promise<Buffer | string> {
    const { encoding, signal } = toOptions(options);
    checkAborted(signal);
    const bytes = await soon(this.#files.readAll(this.#parts.callers.waiting, this[OPEN_FILE]));
    return encoding === undefined || encoding === null || encoding === 'buffer' ? bytes : bytes.toString(encoding as BufferEncoding);
  }

  async writeFile(data: unknown, options?: unknown): Promise<void> {
    const { encoding, signal } = toOptions(options, { encoding: 'utf8' });
    for await (const piece of isPieces(data) ? data : [data]) {
      checkAborted(signal);
      await soon(this.#files.writeAll(this.#parts.callers.waiting, this[OPEN_FILE], toBytes(piece, encoding), null));
    }
  }

  appendFile(data: unknown, options?: unknown): Promise<void> {
    return this.writeFile(data, options);
  }

  async stat(options?: unknown): Promise<Stats | BigIntStats> {
    return soon(this.#files.stat(this.#parts.callers.waiting, this[OPEN_FILE], toOptions(options).bigint === true));
  }

  async truncate(length: unknown = 0): Promise<void> {
    await soon(this.#files.truncate(this.#parts.callers.waiting, this[OPEN_FILE], Math.max(0, toInteger(length, 'len'))));
  }

  async sync(): Promise<void> {
    await soon(this.#files.sync(this.#parts.callers.waiting, this[OPEN_FILE], false));
  }

  async datasync(): Promise<void> {
    await soon(this.#files.sync(this.#parts.callers.waiting, this[OPEN_FILE], true));
  }

  async chmod(mode: unknown): Promise<void> {
    await soon(this.#files.chmod(this.#parts.callers.waiting, this[OPEN_FILE], toMode(mode, 'mode')));
  }

  async chown(uid: unknown, gid: unknown): Promise<void> {
    await soon(this.#files.chown(this.#parts.callers.waiting, this[OPEN_FILE], toId(uid, 'uid'), toId(gid, 'gid')));
  }

  async utimes(atime: unknown, mtime: unknown): Promise<void> {
    const [accessed, modified] = [toTimeMs(atime, 'atime'), toTimeMs(mtime, 'mtime')];
    await soon(this.#files.utimes(this.#parts.callers.waiting, this[OPEN_FILE], accessed, modified));
  }

  /** Closes it. A second time is fine, as with Node. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const fd = this.#fd;
    this.#fd = -1;
    this.#parts.undescribe(fd);
    try {
      await soon(this.#files.close(this.#parts.callers.waiting, this[OPEN_FILE]));
    } finally {
      this.emit('close');
    }
  }

  createReadStream(options?: unknown): ReadStream {
    return new this.#parts.streams.ReadStream(undefined, { ...toOptions(options), fd: this });
  }

  createWriteStream(options?: unknown): WriteStream {
    return new this.#parts.streams.WriteStream(undefined, { ...toOptions(options), fd: this });
  }

  /** Its lines, one after the other; it is closed at the end. */
  readLines(options?: unknown): readline.Interface {
    return readline.createInterface({ input: this.createReadStream(options), crlfDelay: Infinity });
  }

  readableWebStream(): ReadableStream {
    return Readable.toWeb(this.createReadStream()) as unknown as ReadableStream;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Data that come in pieces: what is iterable, or becomes so as time goes by, and is no text and no view. */
export function isPieces(data: unknown): data is AsyncIterable<unknown> | Iterable<unknown> {
  return (
    typeof data === 'object' && data !== null && !ArrayBuffer.isView(data) && (Symbol.asyncIterator in data || Symbol.iterator in data)
  );
}

/** Opens a handle. */
export async function openHandle(parts: HandleParts, path: string, flags: unknown, mode: unknown): Promise<FileHandle> {
  const how = toFlags(flags);
  const bits = toMode(mode, 'mode', 0o666);
  return new FileHandle(parts, await soon(parts.files.open(parts.callers.waiting, path, how, bits)));
}
