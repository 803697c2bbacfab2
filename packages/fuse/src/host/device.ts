/**
 * /dev/fuse on the event loop. The device can be polled, but no documented part of Node does so: `fs` reads it in the thread pool, where a read
 * that waits holds one of the four threads. So the descriptor is wrapped in the handle that Node has for pipes, which polls whatever it is
 * given; a read of it is one request, straight into our memory. That class and the `handle` option are undocumented, and this file is the only
 * one that knows them (test: interop/test/fuse-mount.test.ts, to be run on every version of Node that is supported). Where they are not what
 * they were, a thread of the pool does the reading.
 */
import fs from 'node:fs';
import { createServer, type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';

/** Reads requests. */
export interface DeviceReader {
  start(): void;
  /** Reads on after `request` has said no. */
  resume(): void;
  /** Closes the descriptor. */
  close(): void;
}

/** What is read into, and who is told. */
export interface ReaderEnd {
  buffer(): Uint8Array;
  /** @returns false to have no more read until `resume`. */
  request(length: number): boolean;
  /** Reading has ended, and the descriptor is closed. @param error what the read said. */
  closed(error: NodeJS.ErrnoException | null): void;
}

interface PollingHandle {
  open(fd: number): number;
}

/** The handle for pipes, or null if this Node has none that opens a descriptor. */
function polling(fd: number): object | null {
  const server = createServer();
  try {
    server.listen({ path: `\0tidemark-${process.pid}-${fd}`, exclusive: true });
    const { _handle: listening } = server as unknown as { _handle: { constructor: new (kind: number) => PollingHandle } | null };
    if (listening === null) return null;
    const handle = new listening.constructor(0);
    return handle.open(fd) === 0 ? handle : null;
  } catch {
    return null;
  } finally {
    server.close();
  }
}

/** A reader of `fd`, which belongs to it. */
export function readDevice(fd: number, end: ReaderEnd): DeviceReader {
  const handle = polling(fd);
  return handle === null ? new PoolReader(fd, end) : new PollingReader(handle, end);
}

/** A request that was taken back before it was read, and the like: the next read may succeed. */
const AGAIN: ReadonlySet<string> = new Set(['EINTR', 'EAGAIN', 'ENOENT']);

class PollingReader implements DeviceReader {
  readonly #socket: Socket;

  constructor(handle: object, end: ReaderEnd) {
    let failure: NodeJS.ErrnoException | null = null;
    const onread = { buffer: () => end.buffer(), callback: (length: number) => end.request(length) } as OnReadOpts;
    this.#socket = new Socket({ handle, onread, manualStart: true, writable: false } as SocketConstructorOpts);
    this.#socket.on('error', (error) => {
      failure = error;
    });
    this.#socket.once('close', () => end.closed(failure));
  }

  start(): void {
    this.#socket.resume();
    this.#socket.read(0);
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }
}

class PoolReader implements DeviceReader {
  #isReading = false;
  #isClosed = false;

  constructor(
    private readonly fd: number,
    private readonly end: ReaderEnd,
  ) {}

  start(): void {
    this.resume();
  }

  resume(): void {
    if (this.#isReading || this.#isClosed) return;
    this.#isReading = true;
    const buffer = this.end.buffer();
    fs.read(this.fd, buffer, 0, buffer.length, null, (error, length) => {
      this.#isReading = false;
      const isOver = error !== null && !AGAIN.has(error.code ?? '');
      if (isOver || (error === null && length === 0)) this.#finish(error);
      else if (error !== null || this.end.request(length)) this.resume();
    });
  }

  #finish(error: NodeJS.ErrnoException | null): void {
    if (!this.#isClosed) fs.closeSync(this.fd);
    this.#isClosed = true;
    this.end.closed(error);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    fs.closeSync(this.fd);
    if (!this.#isReading) this.end.closed(null);
  }
}
