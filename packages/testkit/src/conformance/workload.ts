/**
 * A random workload with its model: files and directories below one directory, each operation done on the tree and on the model. Every
 * file has an owner's number in each of its words, so that content of another file shows wherever it turns up.
 *
 * What an operation may fail with is given; after such a failure names must be as they were, and a file whose write failed may hold any
 * mixture of its old and new words.
 */
import { isKernelError, PAGE_SIZE } from '@tidemark/core';
import { hashText, type Random } from '../time/random.js';
import { Mismatch, must, same } from './expect.js';
import type { Files } from './files.js';

/** A file of the model. */
export interface ModelFile {
  readonly owner: number;
  data: Uint8Array;
  /** A change of it has failed: its words are its own, or zero, and nothing else is known. */
  isUncertain: boolean;
  /** Changes so far. */
  version: number;
}

export interface WorkloadOptions {
  /** Largest file in bytes. */
  readonly fileBytesMax: number;
  /** Most files and directories. */
  readonly nodesMax: number;
  /** Errors that an operation may end with. */
  readonly mayFail: readonly string[];
}

const OWNER_STEP = 0x01000193;

/** A word of the model's content: its owner's number, and how often the file had been changed. */
function fillOwned(bytes: Uint8Array, owner: number): Uint8Array {
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 4 <= bytes.length; at += 4) words.setUint32(at, Math.imul(owner, OWNER_STEP) >>> 0, true);
  return bytes;
}

/** @throws Mismatch if a word of `bytes` is neither zero nor the owner's. */
export function checkOwned(bytes: Uint8Array, owner: number, what: string): void {
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const mine = Math.imul(owner, OWNER_STEP) >>> 0;
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    const word = words.getUint32(at, true);
    if (word !== 0 && word !== mine) throw new Mismatch(`${what}: word at ${at} is ${word}, which is not its own (${mine}) and not zero`);
  }
}

export class Workload {
  readonly files = new Map<string, ModelFile>();
  readonly directories = new Set<string>();
  /** Operations that ended with an error they may end with, and those that succeeded. */
  nrFailed = 0;
  nrDone = 0;
  #nrOwners = 0;
  readonly #firstOwner: number;

  constructor(
    public tree: Files,
    readonly random: Random,
    readonly options: WorkloadOptions,
    /** Directory it plays in; `` for the root. */
    public top = '',
  ) {
    this.#firstOwner = hashText(top) % 1000;
  }

  #newOwner(): number {
    return this.#firstOwner * 10_000 + ++this.#nrOwners;
  }

  /** Names and types, sorted: what a crash must leave one of. */
  names(): string {
    return [...[...this.files.keys()].map((path) => `${path} file`), ...[...this.directories].map((path) => `${path} directory`)]
      .sort()
      .join('\n');
  }

  #directory(): string {
    const at = this.random.below(this.directories.size + 1) - 1;
    return at < 0 ? this.top : [...this.directories][at];
  }

  #newPath(): string {
    return `${this.#directory()}/${this.random.pick(['f', 'é', 'name'])}${this.#newOwner()}`;
  }

  #pickFile(): string | null {
    const paths = [...this.files.keys()];
    return paths.length === 0 ? null : this.random.pick(paths);
  }

  /** Does one thing. @returns what it was. */
  async step(): Promise<string> {
    const n = this.random.below(100);
    const path = this.#pickFile();
    if (n < 20 || path === null) return this.#make();
    if (n < 45) return this.#write(path);
    if (n < 55) return this.#truncate(path);
    if (n < 67) return this.#unlink(path);
    if (n < 80) return this.#rename(path);
    if (n < 84) return this.#removeDirectory();
    if (n < 92) return this.#check(path);
    return this.#fsync(path);
  }

  /** @returns true if it succeeded, false if it failed as it may. */
  async #try(what: string, work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      this.nrDone++;
      return true;
    } catch (error) {
      if (!isKernelError(error) || !this.options.mayFail.includes(error.code)) throw new Mismatch(`${what}: ${error}`);
      this.nrFailed++;
      return false;
    }
  }

  async #make(): Promise<string> {
    const path = this.#newPath();
    if (this.files.size + this.directories.size >= this.options.nodesMax) return this.#unlink(this.#pickFile());
    if (this.random.chance(0.25)) {
      if (await this.#try(`mkdir ${path}`, () => this.tree.mkdir(path))) this.directories.add(path);
      return `mkdir ${path}`;
    }
    if (await this.#try(`create ${path}`, () => this.tree.create(path)))
      this.files.set(path, { owner: this.#newOwner(), data: new Uint8Array(0), isUncertain: false, version: 0 });
    return `create ${path}`;
  }

  async #write(path: string): Promise<string> {
    const file = this.files.get(path) as ModelFile;
    const { fileBytesMax } = this.options;
    const isAppend = this.random.chance(0.5) && !file.isUncertain;
    const words = (bytes: number): number => bytes - (bytes % 4);
    const at = words(isAppend ? file.data.length : this.random.below(fileBytesMax));
    const length = Math.min(4 + words(this.random.below(this.random.chance(0.3) ? 8 * PAGE_SIZE : 600)), fileBytesMax - at);
    if (length <= 0) return this.#truncate(path);
    const bytes = fillOwned(new Uint8Array(length), file.owner);
    file.version++;
    const what = `write ${length} bytes at ${at} of ${path}`;
    if (!(await this.#try(what, () => this.tree.write(path, at, bytes)))) file.isUncertain = true;
    else {
      const grown = new Uint8Array(Math.max(file.data.length, at + length));
      grown.set(file.data);
      grown.set(bytes, at);
      file.data = grown;
    }
    return what;
  }

  async #truncate(path: string): Promise<string> {
    const file = this.files.get(path) as ModelFile;
    const size = this.random.chance(0.3) ? 0 : this.random.below(Math.min(file.data.length * 1.3 + 10, this.options.fileBytesMax)) & ~3;
    file.version++;
    const what = `truncate ${path} to ${size}`;
    if (!(await this.#try(what, () => this.tree.truncate(path, size)))) file.isUncertain = true;
    else {
      const data = new Uint8Array(size);
      data.set(file.data.subarray(0, Math.min(size, file.data.length)));
      file.data = data;
    }
    return what;
  }

  async #unlink(path: string | null): Promise<string> {
    if (path === null) return this.#removeDirectory();
    if (await this.#try(`unlink ${path}`, () => this.tree.unlink(path))) this.files.delete(path);
    return `unlink ${path}`;
  }

  async #removeDirectory(): Promise<string> {
    const empty = [...this.directories].filter(
      (dir) => ![...this.files.keys(), ...this.directories].some((path) => path.startsWith(`${dir}/`)),
    );
    if (empty.length === 0) return 'nothing';
    const path = this.random.pick(empty);
    if (await this.#try(`rmdir ${path}`, () => this.tree.rmdir(path))) this.directories.delete(path);
    return `rmdir ${path}`;
  }

  async #rename(path: string): Promise<string> {
    const onto = this.random.chance(0.4) ? this.#pickFile() : null;
    const to = onto ?? this.#newPath();
    if (to === path) return 'nothing';
    const what = `rename ${path} to ${to}`;
    if (await this.#try(what, () => this.tree.rename(path, to))) {
      const file = this.files.get(path) as ModelFile;
      this.files.delete(path);
      this.files.set(to, file);
    }
    return what;
  }

  async #check(path: string): Promise<string> {
    const file = this.files.get(path) as ModelFile;
    await this.#try(`read ${path}`, async () => {
      const bytes = await this.tree.readAll(path);
      this.compare(path, file, bytes);
    });
    return `read ${path}`;
  }

  async #fsync(path: string): Promise<string> {
    await this.#try(`fsync ${path}`, () => this.tree.fsync(path));
    return `fsync ${path}`;
  }

  /** @throws Mismatch if content is not what the model says. */
  compare(path: string, file: ModelFile, bytes: Uint8Array): void {
    checkOwned(bytes, file.owner, path);
    if (file.isUncertain) return;
    must(bytes.length === file.data.length, `${path} has ${bytes.length} bytes, wanted ${file.data.length}`);
    for (let at = 0; at < bytes.length; at++)
      if (bytes[at] !== file.data[at])
        throw new Mismatch(`byte ${at} of ${path} is ${bytes[at]}, wanted ${file.data[at]} (owner ${file.owner})`);
  }

  /** Compares everything below its directory. @param others names in it that are not the workload's. */
  async checkAll(others: readonly string[] = []): Promise<void> {
    const found: string[] = [];
    const walk = async (at: string): Promise<void> => {
      for (const name of await this.tree.readdir(at === '' ? '/' : at)) {
        const path = `${at}/${name}`;
        if (at === this.top && others.includes(name)) continue;
        if (this.files.has(path)) {
          found.push(`${path} file`);
          const file = this.files.get(path) as ModelFile;
          await this.#try(`read ${path}`, async () => this.compare(path, file, await this.tree.readAll(path)));
        } else {
          const isDirectory = this.directories.has(path);
          found.push(`${path} ${isDirectory ? 'directory' : 'nobody made'}`);
          if (isDirectory) await walk(path);
        }
      }
    };
    await walk(this.top);
    same(found.sort(), this.names().split('\n').filter(Boolean), 'tree');
  }
}
