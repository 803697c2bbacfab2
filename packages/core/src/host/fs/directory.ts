/** `Dir` of `opendir`: a directory read bit by bit, in the order in which the filesystem has it; recursively, what is below follows after. */
import { FileType, OpenFlag } from '../../vfs/mode.js';
import type { OpenFile } from '../../vfs/open-file.js';
import { BATCH_MAX, type DirectoryEntry } from '../../vfs/read-directory.js';
import { type Steps } from '../../vfs/steps.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import type { Options } from './arguments.js';
import { FsError, nodeError } from './errors.js';
import { type Callers, callBack, now, soon, toCallback } from './face.js';
import { encoded, flag, join } from './path-calls.js';
import { Dirent } from './stats.js';

const DEFAULT_BATCH = 32;

export class Dir {
  readonly #vfs: Vfs;
  readonly #callers: Callers;
  #file: OpenFile;
  readonly #encoding: unknown;
  readonly #batchSize: number;
  /** Directories that are to be read after this one; null: only this one is. */
  readonly #below: string[] | null;
  /** The directory that is being read. */
  #current: string;
  #batch: readonly DirectoryEntry[] = [];
  #at = 0;
  #cookie = 0;
  #isAtEnd = false;
  /** Calls follow each other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    vfs: Vfs,
    callers: Callers,
    file: OpenFile,
    readonly path: string,
    options: Options,
  ) {
    this.#below = flag(options, 'recursive') ? [] : null;
    this.#current = path;
    this.#vfs = vfs;
    this.#callers = callers;
    this.#file = file;
    this.#encoding = options.encoding;
    this.#batchSize = typeof options.bufferSize === 'number' ? Math.min(Math.max(options.bufferSize, 1), BATCH_MAX) : DEFAULT_BATCH;
  }

  *#next(who: Caller): Steps<Dirent | null> {
    this.#requireOpen();
    for (;;) {
      const entry = yield* this.#nextHere(who);
      if (entry !== null) return entry;
      const below = this.#below?.shift();
      if (below === undefined) return null;
      const file = yield* this.#vfs.open(who, below, OpenFlag.READ_ONLY | OpenFlag.DIRECTORY, 0);
      if (typeof file === 'number') throw new FsError(file, 'opendir', below);
      this.#file.release();
      this.#file = file;
      this.#current = below;
      this.#batch = [];
      this.#at = this.#cookie = 0;
      this.#isAtEnd = false;
    }
  }

  *#nextHere(who: Caller): Steps<Dirent | null> {
    if (this.#at === this.#batch.length && !this.#isAtEnd) {
      const batch = yield* this.#vfs.readDirectory(who, this.#file.inode, this.#cookie, this.#batchSize);
      if (typeof batch === 'number') throw new FsError(batch, 'readdir', this.#current);
      this.#batch = batch;
      this.#at = 0;
      this.#isAtEnd = batch.length < this.#batchSize;
    }
    if (this.#at === this.#batch.length) return null;
    const { name, type, cookie } = this.#batch[this.#at++];
    this.#cookie = cookie;
    if (type === FileType.DIRECTORY) this.#below?.push(join(this.#current, name));
    return new Dirent(encoded(name, this.#encoding), this.#current, type);
  }

  #requireOpen(): void {
    if (!this.#file.isOpen) throw nodeError('ERR_DIR_CLOSED', 'Directory handle was closed');
  }

  /** The next entry, or null at the end. */
  read(): Promise<Dirent | null>;
  read(callback: (error: Error | null, entry: Dirent | null) => void): void;
  read(callback?: unknown): unknown {
    const next = this.#last.then(() => soon(this.#next(this.#callers.waiting)));
    this.#last = next.catch(() => {});
    if (callback === undefined) return next;
    return callBack(next, toCallback(callback), (entry) => [entry]);
  }

  readSync(): Dirent | null {
    return now(this.#next(this.#callers.atOnce), 'readdir');
  }

  close(): Promise<void>;
  close(callback: (error: Error | null) => void): void;
  close(callback?: unknown): unknown {
    const closed = this.#last.then(() => this.closeSync());
    if (callback === undefined) return closed;
    return callBack(closed, toCallback(callback), () => []);
  }

  closeSync(): void {
    this.#requireOpen();
    this.#file.release();
  }

  /** Its entries; it is closed at the end, however that comes. */
  async *entries(): AsyncGenerator<Dirent> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry;
    } finally {
      if (this.#file.isOpen) this.closeSync();
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Dirent> {
    return this.entries();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#file.isOpen) this.closeSync();
  }
}
