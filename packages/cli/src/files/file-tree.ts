/**
 * A tree of files, of a kernel or of the host: the calls of `node:fs/promises` that the verbs need, with errors that name the file as it was
 * given. Names are strings as core has them, so that those that are no UTF-8 go from one tree to another unchanged.
 */
import type { Stats, StatsFs } from 'node:fs';
import { checkName, decodeName, encodeName, errnoOf, KernelError } from '@tidemark/core';
import { JobFailed } from '../outcome.js';
import { printable } from './printable.js';
import { telling } from './telling.js';

type Promises = Pick<
  typeof import('node:fs/promises'),
  | 'chmod'
  | 'lchown'
  | 'link'
  | 'lstat'
  | 'lutimes'
  | 'mkdir'
  | 'open'
  | 'readdir'
  | 'readlink'
  | 'realpath'
  | 'rename'
  | 'rm'
  | 'stat'
  | 'statfs'
  | 'symlink'
  | 'unlink'
>;
type Handle = Awaited<ReturnType<Promises['open']>>;

/** A path as `node:fs` takes it: bytes where the string holds some that are no UTF-8. */
function argument(path: string): string | Buffer {
  return /\p{Surrogate}/u.test(path) ? Buffer.from(encodeName(path)) : path;
}

/** An open file. Reads and writes at offsets; `close` tells of errors, too. */
export class OpenedFile {
  constructor(
    readonly name: string,
    readonly handle: Handle,
  ) {}

  /** Fills `bytes` from `offsetBytes` on. @returns how many there were; fewer than asked for only at the end. */
  async read(bytes: Uint8Array, offsetBytes: number): Promise<number> {
    return telling(`read ${this.name}`, async () => {
      for (let done = 0; ; ) {
        const { bytesRead } = await this.handle.read(bytes, done, bytes.length - done, offsetBytes + done);
        done += bytesRead;
        if (bytesRead === 0 || done === bytes.length) return done;
      }
    });
  }

  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    await telling(`write ${this.name}`, async () => {
      for (let done = 0; done < bytes.length; )
        done += (await this.handle.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten;
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return telling(`set the size of ${this.name}`, () => this.handle.truncate(sizeBytes));
  }

  close(): Promise<void> {
    return telling(`close ${this.name}`, () => this.handle.close());
  }
}

export class FileTree {
  readonly #fs: Promises;

  /** @param word the TREE, or null for the host. */
  constructor(
    readonly word: string | null,
    fs: Promises,
  ) {
    this.#fs = fs;
  }

  /** A file as the user would name it. */
  name(path: string): string {
    return printable(this.word === null ? path : `${this.word}::${path}`);
  }

  #call<T>(doing: string, path: string, call: (path: string | Buffer) => Promise<T>): Promise<T> {
    return telling(`${doing} ${this.name(path)}`, () => call(argument(path)));
  }

  stat(path: string): Promise<Stats> {
    return this.#call('look at', path, (at) => this.#fs.stat(at));
  }

  lstat(path: string): Promise<Stats> {
    return this.#call('look at', path, (at) => this.#fs.lstat(at));
  }

  /** As `lstat` or `stat`; null if there is no such file. */
  async find(path: string, follow: boolean): Promise<Stats | null> {
    try {
      return await (follow ? this.stat(path) : this.lstat(path));
    } catch (error) {
      if (errnoOf(error) === NOT_THERE) return null;
      throw error;
    }
  }

  /** Names in a directory, sorted. @throws JobFailed for a name that no file can have. */
  async names(path: string): Promise<string[]> {
    const entries = await this.#call('list', path, (at) => this.#fs.readdir(at, { encoding: 'buffer' }));
    const names = entries.map((bytes) => decodeName(bytes));
    const bad = names.find((name) => checkName(name) < 0);
    if (bad !== undefined) throw new JobFailed(`EUCLEAN: ${this.name(path)} holds the name ${JSON.stringify(bad)}, which no file can have`);
    return names.sort();
  }

  /** @param flags of `node:fs`. @param mode permissions of a file that is made. */
  async open(path: string, flags: string, mode?: number): Promise<OpenedFile> {
    const handle = await this.#call('open', path, (at) => this.#fs.open(at, flags, mode));
    return new OpenedFile(this.name(path), handle);
  }

  async mkdir(path: string, options: { recursive?: boolean; mode?: number }): Promise<void> {
    await this.#call('make directory', path, (at) => this.#fs.mkdir(at, options));
  }

  rm(path: string, options: { recursive: boolean; force: boolean }): Promise<void> {
    return this.#call('remove', path, (at) => this.#fs.rm(at, options));
  }

  unlink(path: string): Promise<void> {
    return this.#call('remove', path, (at) => this.#fs.unlink(at));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(`move ${this.name(from)} to`, to, (at) => this.#fs.rename(argument(from), at));
  }

  link(existing: string, path: string): Promise<void> {
    return this.#call(`link ${this.name(existing)} as`, path, (at) => this.#fs.link(argument(existing), at));
  }

  symlink(target: string, path: string): Promise<void> {
    return this.#call('make link', path, (at) => this.#fs.symlink(argument(target), at));
  }

  async readlink(path: string): Promise<string> {
    return decodeName(await this.#call('read link', path, (at) => this.#fs.readlink(at, { encoding: 'buffer' })));
  }

  async realpath(path: string): Promise<string> {
    return decodeName(await this.#call('find', path, (at) => this.#fs.realpath(at, { encoding: 'buffer' })));
  }

  chmod(path: string, mode: number): Promise<void> {
    return this.#call('change the mode of', path, (at) => this.#fs.chmod(at, mode));
  }

  lchown(path: string, uid: number, gid: number): Promise<void> {
    return this.#call('change the owner of', path, (at) => this.#fs.lchown(at, uid, gid));
  }

  /** Of the file itself, be it a link. */
  setTimes(path: string, accessedMs: number, modifiedMs: number): Promise<void> {
    return this.#call('set the times of', path, (at) => this.#fs.lutimes(at, accessedMs / 1000, modifiedMs / 1000));
  }

  room(path: string): Promise<StatsFs> {
    return this.#call('ask for the room of', path, (at) => this.#fs.statfs(at));
  }
}

const NOT_THERE = new KernelError('ENOENT', '').errno;
