/**
 * Copies files and trees, from any tree to any other, with one buffer.
 *
 *     regular file    read and written in chunks; blocks of zeroes are not written, so that holes stay holes
 *     link            with -r as a link, otherwise what it leads to
 *     directory       with -r, into one that is there or a new one
 *     anything else   left out, and counted: devices, FIFOs, sockets
 *
 * Below the place that was named no link at the target is followed: what a copy has made cannot lead it elsewhere.
 */
import type { Stats } from 'node:fs';
import { errnoOf, KernelError, PAGE_SIZE } from '@tidemark/core';
import { UsageError } from '../outcome.js';
import type { Progress } from '../progress.js';
import type { OpenedFile } from './file-tree.js';
import { inside } from './file-word.js';
import type { Interrupts } from './interrupts.js';
import { nameOf, type Place } from './trees.js';

/** Bytes read and written at once. */
const CHUNK_BYTES = 256 * 1024;
const ZEROES = Buffer.alloc(PAGE_SIZE);
const PERMISSIONS = 0o777;
const SET_IDS = 0o6000;
const STICKY = 0o1000;

export interface CopyOptions {
  readonly recursive: boolean;
  /** Keeps modes, owners and times. */
  readonly preserve: boolean;
}

/** What was copied; keys of `--json`. */
export interface Copied {
  files: number;
  directories: number;
  links: number;
  leftOut: number;
  bytes: number;
  /** Without blocks of zeroes. */
  writtenBytes: number;
}

export class Copier {
  readonly copied: Copied = { files: 0, directories: 0, links: 0, leftOut: 0, bytes: 0, writtenBytes: 0 };
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);

  constructor(
    readonly options: CopyOptions,
    readonly progress: Progress,
    readonly interrupts: Interrupts,
  ) {}

  /** Bytes of regular files at and below a place. */
  async measure(from: Place): Promise<number> {
    this.interrupts.check();
    const stats = await this.#look(from);
    if (stats.isFile()) return stats.size;
    if (!stats.isDirectory() || !this.options.recursive) return 0;
    let bytes = 0;
    for (const name of await from.tree.names(from.path)) bytes += await this.measure(child(from, name));
    return bytes;
  }

  /** @throws UsageError for a directory without -r, one copied into itself, a file copied onto itself; KernelError, JobFailed; Interrupted. */
  async copy(from: Place, to: Place): Promise<void> {
    const stats = await this.#look(from);
    if (stats.isDirectory()) {
      if (!this.options.recursive) throw new UsageError(`${nameOf(from)} is a directory; -r copies it`);
      await refuseInside(from, to);
    }
    await this.#copy(from, to, stats, true);
  }

  #look({ tree, path }: Place): Promise<Stats> {
    return this.options.recursive ? tree.lstat(path) : tree.stat(path);
  }

  async #copy(from: Place, to: Place, stats: Stats, isNamed: boolean): Promise<void> {
    this.interrupts.check();
    const there = await to.tree.find(to.path, isNamed && !stats.isSymbolicLink());
    if (there !== null && from.tree === to.tree && there.ino === stats.ino && there.dev === stats.dev)
      throw new UsageError(`${nameOf(from)} and ${nameOf(to)} are the same file`);
    if (stats.isDirectory()) await this.#directory(from, to, stats, there);
    else if (stats.isSymbolicLink()) await this.#link(from, to, there);
    else if (stats.isFile()) await this.#file(from, to, stats, there);
    else {
      this.copied.leftOut++;
      this.progress.say(`left out: ${nameOf(from)} is no file, directory or link`);
      return;
    }
    if (this.options.preserve) await preserve(to, stats);
  }

  async #directory(from: Place, to: Place, stats: Stats, there: Stats | null): Promise<void> {
    if (there === null) await to.tree.mkdir(to.path, { mode: (stats.mode & PERMISSIONS) | 0o700 });
    else if (!there.isDirectory()) throw new KernelError('ENOTDIR', `cannot copy to ${nameOf(to)}: it is no directory`);
    this.copied.directories++;
    for (const name of await from.tree.names(from.path)) {
      const below = child(from, name);
      await this.#copy(below, child(to, name), await below.tree.lstat(below.path), false);
    }
  }

  async #link(from: Place, to: Place, there: Stats | null): Promise<void> {
    const target = await from.tree.readlink(from.path);
    if (there !== null && !there.isDirectory()) await to.tree.unlink(to.path);
    await to.tree.symlink(target, to.path);
    this.copied.links++;
  }

  async #file(from: Place, to: Place, stats: Stats, there: Stats | null): Promise<void> {
    if (there?.isSymbolicLink()) await to.tree.unlink(to.path);
    else if (there !== null && !there.isFile() && !there.isDirectory())
      throw new KernelError('EINVAL', `cannot copy to ${nameOf(to)}: it is no regular file`);
    const source = await from.tree.open(from.path, 'r');
    try {
      const target = await to.tree.open(to.path, 'w', stats.mode & PERMISSIONS);
      try {
        await this.#content(source, target);
      } finally {
        await target.close();
      }
    } finally {
      await source.close();
    }
    this.copied.files++;
  }

  /** Copies until the end, wherever it is by then. */
  async #content(source: OpenedFile, target: OpenedFile): Promise<void> {
    let end = 0;
    for (let at = 0; ; at += CHUNK_BYTES) {
      this.interrupts.check();
      const length = await source.read(this.#chunk, at);
      for (const [from, to] of dataRuns(this.#chunk.subarray(0, length))) {
        await target.write(this.#chunk.subarray(from, to), at + from);
        this.copied.writtenBytes += to - from;
        end = at + to;
      }
      this.copied.bytes += length;
      this.progress.advance(this.copied.bytes);
      if (length === CHUNK_BYTES) continue;
      if (end < at + length) await target.truncate(at + length);
      return;
    }
  }
}

/** The ranges of a chunk that are not all zeroes, in whole blocks. */
export function* dataRuns(chunk: Uint8Array): Generator<[from: number, to: number]> {
  let from = -1;
  for (let at = 0; at < chunk.length; at += PAGE_SIZE) {
    const to = Math.min(at + PAGE_SIZE, chunk.length);
    const isZero = ZEROES.compare(chunk, at, to, 0, to - at) === 0;
    if (isZero && from >= 0) yield [from, at];
    if (isZero) from = -1;
    else if (from < 0) from = at;
  }
  if (from >= 0) yield [from, chunk.length];
}

function child({ tree, path }: Place, name: string): Place {
  return { tree, path: inside(path, name) };
}

/** @throws UsageError if `to` is, or would be, below the directory `from`. */
async function refuseInside(from: Place, to: Place): Promise<void> {
  if (from.tree !== to.tree) return;
  const source = await from.tree.realpath(from.path);
  const parent = to.path.replace(/[^/]*\/*$/, '') || '.';
  const target = inside(await to.tree.realpath(parent), '');
  if (target.startsWith(inside(source, ''))) throw new UsageError(`${nameOf(to)} is inside of ${nameOf(from)}`);
}

/** Gives a copy the owner, mode and times of its original. Who may not give files away keeps them, without set-id bits. */
async function preserve({ tree, path }: Place, stats: Stats): Promise<void> {
  let mode = stats.mode & (PERMISSIONS | SET_IDS | STICKY);
  try {
    await tree.lchown(path, stats.uid, stats.gid);
  } catch (error) {
    if (errnoOf(error) !== NOT_PERMITTED) throw error;
    mode &= ~SET_IDS;
  }
  if (!stats.isSymbolicLink()) await tree.chmod(path, mode);
  await tree.setTimes(path, stats.atimeMs, stats.mtimeMs);
}

const NOT_PERMITTED = new KernelError('EPERM', '').errno;
