/**
 * `ReadStream` and `WriteStream`: Node's own, which take the calls they work with as their option `fs`. What they do with offsets, encodings,
 * signals and closing is Node's; opening, reading, writing and closing is done here.
 *
 * Like Node's they are functions rather than classes: older software calls them without `new`, or derives from them with `apply`.
 */
import { ReadStream as HostReadStream, WriteStream as HostWriteStream } from 'node:fs';
import { type Options, toOptions } from './arguments.js';
import { OPEN_FILE } from '../../vfs/open-file.js';
import type { FileHandle } from './file-handle.js';

type Callback = (error: Error | null) => void;

/** The callback forms that streams call. */
export interface StreamCalls {
  open(...args: unknown[]): void;
  read(...args: unknown[]): void;
  write(...args: unknown[]): void;
  writev(...args: unknown[]): void;
  fsync(...args: unknown[]): void;
  close(fd: unknown, callback: Callback): void;
}

type StreamFunction<S> = { new (path: unknown, options?: unknown): S; (path: unknown, options?: unknown): S };

/** The streams of one face. */
export interface Streams {
  readonly ReadStream: StreamFunction<HostReadStream>;
  readonly WriteStream: StreamFunction<HostWriteStream>;
}

/** Makes the streams of the face whose calls these are. */
export function streamsOver(calls: StreamCalls): Streams {
  return {
    ReadStream: streamFunction<HostReadStream>('ReadStream', HostReadStream, calls),
    WriteStream: streamFunction<HostWriteStream>('WriteStream', HostWriteStream, calls),
  };
}

function streamFunction<S extends HostReadStream | HostWriteStream>(name: string, base: unknown, calls: StreamCalls): StreamFunction<S> {
  const hosts = base as StreamFunction<S>;
  function make(this: S | undefined, path: unknown, given?: unknown): S {
    if (!(this instanceof (Stream as unknown as StreamFunction<S>))) return new (Stream as unknown as StreamFunction<S>)(path, given);
    const options = toOptions(given);
    const handle = isHandle(options.fd) ? options.fd : null;
    hosts.call(this, path, handle === null ? { fs: calls, ...options } : onHandle(calls, handle, options));
    handle?.once('close', () => this.destroy());
    return this;
  }
  const Stream = Object.defineProperty(make, 'name', { value: name });
  Object.setPrototypeOf(Stream, hosts);
  Stream.prototype = Object.create(hosts.prototype as object, { constructor: { value: Stream, writable: true, configurable: true } });
  return Stream as unknown as StreamFunction<S>;
}

/** A stream of a handle closes the handle, not its descriptor. */
function onHandle(calls: StreamCalls, handle: FileHandle, options: Options): Options {
  const close = (_fd: unknown, callback: Callback): void => {
    handle.close().then(() => callback(null), callback);
  };
  return { fs: { ...calls, close }, ...options, fd: handle.fd };
}

function isHandle(value: unknown): value is FileHandle {
  return typeof value === 'object' && value !== null && OPEN_FILE in value;
}
