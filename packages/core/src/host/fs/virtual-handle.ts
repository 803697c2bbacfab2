/** An open file as `node:vfs` holds it: promise and synchronous forms side by side, over a descriptor of `kernel.fs`. */
import type { NodeFs } from './node-fs.js';

type Call = (...args: unknown[]) => unknown;
type Bytes = NodeJS.ArrayBufferView;

export class VirtualHandle {
  readonly #fs: Record<string, Call>;
  readonly #fd: number;
  #isOpen = true;

  constructor(
    fs: NodeFs,
    fd: number,
    readonly path: string,
  ) {
    this.#fs = fs as unknown as Record<string, Call>;
    this.#fd = fd;
  }

  get closed(): boolean {
    return !this.#isOpen;
  }

  /** A callback form, as a promise of its first result. */
  #later<T>(name: string, ...args: unknown[]): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#fs[name](this.#fd, ...args, (error: Error | null, result: T) => (error ? reject(error) : resolve(result)));
    });
  }

  #now<T>(name: string, ...args: unknown[]): T {
    return this.#fs[`${name}Sync`](this.#fd, ...args) as T;
  }

  async read(buffer: Bytes, offset?: number, length?: number, position?: number | null): Promise<{ bytesRead: number; buffer: Bytes }> {
    return { bytesRead: await this.#later('read', buffer, offset, length, position), buffer };
  }

  readSync(buffer: Bytes, offset?: number, length?: number, position?: number | null): number {
    return this.#now('read', buffer, offset, length, position);
  }

  async write(
    buffer: Bytes | string,
    offset?: number,
    length?: number,
    position?: number | null,
  ): Promise<{ bytesWritten: number; buffer: unknown }> {
    return { bytesWritten: await this.#later('write', buffer, offset, length, position), buffer };
  }

  writeSync(buffer: Bytes | string, offset?: number, length?: number, position?: number | null): number {
    return this.#now('write', buffer, offset, length, position);
  }

  async readv(buffers: readonly Bytes[], position?: number | null): Promise<{ bytesRead: number; buffers: readonly Bytes[] }> {
    return { bytesRead: await this.#later('readv', buffers, position), buffers };
  }

  async writev(buffers: readonly Bytes[], position?: number | null): Promise<{ bytesWritten: number; buffers: readonly Bytes[] }> {
    return { bytesWritten: await this.#later('writev', buffers, position), buffers };
  }

  readFile(options?: unknown): Promise<Buffer | string> {
    return this.#later('readFile', options);
  }

  readFileSync(options?: unknown): Buffer | string {
    return this.#now('readFile', options);
  }

  writeFile(data: unknown, options?: unknown): Promise<void> {
    return this.#later('writeFile', data, options);
  }

  writeFileSync(data: unknown, options?: unknown): void {
    this.#now('writeFile', data, options);
  }

  appendFile(data: unknown, options?: unknown): Promise<void> {
    return this.#later('appendFile', data, options);
  }

  stat(options?: unknown): Promise<unknown> {
    return this.#later('fstat', options);
  }

  statSync(options?: unknown): unknown {
    return this.#now('fstat', options);
  }

  truncate(length?: number): Promise<void> {
    return this.#later('ftruncate', length);
  }

  truncateSync(length?: number): void {
    this.#now('ftruncate', length);
  }

  chmod(mode: unknown): Promise<void> {
    return this.#later('fchmod', mode);
  }

  chmodSync(mode: unknown): void {
    this.#now('fchmod', mode);
  }

  chown(uid: number, gid: number): Promise<void> {
    return this.#later('fchown', uid, gid);
  }

  utimes(accessed: unknown, modified: unknown): Promise<void> {
    return this.#later('futimes', accessed, modified);
  }

  utimesSync(accessed: unknown, modified: unknown): void {
    this.#now('futimes', accessed, modified);
  }

  sync(): Promise<void> {
    return this.#later('fsync');
  }

  datasync(): Promise<void> {
    return this.#later('fdatasync');
  }

  /** Twice is fine. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#later('close');
  }

  /** As `close`. */
  closeSync(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#now('close');
  }
}
