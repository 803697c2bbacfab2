/**
 * Reading directories: READDIRPLUS while the server has it, else READDIR. What READDIRPLUS says of the entries is kept for the lookups that
 * mostly follow.
 *
 * A server's cookies are 64 bits, core's are safe integers. What fits goes as it is. What does not is known by its number in the directory,
 * from `ORDINAL_FIRST` on; the latest of these are kept, and for one that is not the directory is read from its beginning, and as many entries
 * passed over.
 */
import { decodeName, type DirectorySink, Errno, FileType, type Inode, type NegErrno, type TaskContext } from '@tidemark/core';
import type { FileAttributes } from '../protocol/attributes.js';
import { NfsStatus, VERIFIER_BYTES } from '../protocol/nfs3-constants.js';
import type { NfsEntry, ReadDirectoryResult } from '../protocol/results.js';
import type { AttributeCache } from './attribute-cache.js';
import type { NfsCalls } from './nfs-calls.js';
import { type NfsNode, nodeOf } from './nfs-node.js';

const ORDINAL_FIRST = 2 ** 52;
/** Cookies that are no numbers, kept for each directory. */
const COOKIES_MAX = 1024;
/** READDIRPLUS: of the result, this part may be names; Linux has an eighth. */
const NAMES_PART = 4;
const NO_COOKIE = new Uint8Array(8);
const NO_VERIFIER = new Uint8Array(VERIFIER_BYTES);

/** What READDIRPLUS said of an entry. */
export interface Primed {
  readonly handle: Uint8Array;
  readonly attributes: FileAttributes;
  readonly startedAt: number;
  readonly atMs: number;
  /** `entriesStamp` of the directory then. */
  readonly stamp: number;
}

export interface DirectoryReaderParts {
  readonly calls: NfsCalls;
  readonly cache: AttributeCache;
  readonly directoryBytes: number;
  readonly primedMax: number;
  readonly usesPlus: boolean;
  nowMs(): number;
  /** True for a name that is to be seen by nobody. */
  isHidden(dir: Inode, name: string): boolean;
  /** The node of a handle, if it is in memory. */
  find(fileid: number, handle: Uint8Array): NfsNode | null;
}

/** Where reading goes on. */
interface Position {
  cookie: Uint8Array;
  /** Entries in front of it, if they were counted. */
  ordinal: number;
}

export class DirectoryReader {
  readonly #parts: DirectoryReaderParts;
  readonly #primed = new Map<string, Primed>();
  #hasPlus: boolean;

  constructor(parts: DirectoryReaderParts) {
    this.#parts = parts;
    this.#hasPlus = parts.usesPlus;
  }

  /** What READDIRPLUS said of a name, once. @param validMs for how long it is believed. */
  takePrimed(dir: Inode, name: string, validMs: number): Primed | null {
    const key = keyOf(dir, name);
    const primed = this.#primed.get(key);
    if (primed === undefined) return null;
    this.#primed.delete(key);
    return primed.stamp === dir.entriesStamp && this.#parts.nowMs() - primed.atMs < validMs ? primed : null;
  }

  /** A name means something else now. */
  forget(dir: Inode, name: string): void {
    this.#primed.delete(keyOf(dir, name));
  }

  async read(task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): Promise<0 | NegErrno> {
    const node = nodeOf(dir);
    const position: Position = { cookie: NO_COOKIE, ordinal: 0 };
    let nrSkipped = 0;
    if (cookie >= ORDINAL_FIRST) {
      const kept = node.cookies?.get(cookie);
      if (kept === undefined) nrSkipped = cookie - ORDINAL_FIRST;
      else {
        position.cookie = kept;
        position.ordinal = cookie - ORDINAL_FIRST;
      }
    } else if (cookie > 0) position.cookie = cookieOf(cookie);
    for (;;) {
      const page = await this.#page(task, node, position.cookie);
      if (typeof page === 'number') return page;
      const { entries, isEnd } = page.result;
      if (entries.length === 0) return isEnd ? 0 : -Errno.EPROTO; // it would go on like this for ever
      const last = entries[entries.length - 1].cookie;
      if (!isEnd && isSameCookie(last, position.cookie)) return -Errno.EPROTO;
      for (const entry of entries) {
        position.ordinal++;
        position.cookie = entry.cookie;
        if (position.ordinal <= nrSkipped) continue;
        if (!this.#add(dir, node, entry, position, page.startedAt, sink)) return 0;
      }
      if (isEnd) return 0;
    }
  }

  #add(dir: Inode, node: NfsNode, entry: NfsEntry, { ordinal }: Position, startedAt: number, sink: DirectorySink): boolean {
    const name = decodeName(entry.name);
    const { attributes, handle, fileid } = entry;
    if (attributes !== null && handle !== null) this.#prime(dir, name, handle, attributes, startedAt);
    if (name === '.' || name === '..' || this.#parts.isHidden(dir, name)) return true;
    const type = attributes === null ? 0 : attributes.mode & FileType.MASK;
    return sink.add(name, fileid, type, this.#numberOf(node, entry.cookie, ordinal));
  }

  #prime(dir: Inode, name: string, handle: Uint8Array, attributes: FileAttributes, startedAt: number): void {
    if (name === '.' || name === '..') return;
    const known = this.#parts.find(attributes.fileid, handle);
    if (known !== null) {
      this.#parts.cache.absorb(known, attributes, startedAt);
      return;
    }
    const key = keyOf(dir, name);
    this.#primed.delete(key);
    if (this.#primed.size >= this.#parts.primedMax) this.#primed.delete(this.#primed.keys().next().value as string);
    this.#primed.set(key, { handle, attributes, startedAt, atMs: this.#parts.nowMs(), stamp: dir.entriesStamp });
  }

  /** Core's cookie for a server's. */
  #numberOf(node: NfsNode, cookie: Uint8Array, ordinal: number): number {
    const view = new DataView(cookie.buffer, cookie.byteOffset, 8);
    const high = view.getUint32(0);
    const low = view.getUint32(4);
    if (high < 2 ** 20 && (high > 0 || low > 0)) return high * 2 ** 32 + low;
    const number = ORDINAL_FIRST + ordinal;
    node.cookies ??= new Map();
    node.cookies.delete(number);
    if (node.cookies.size >= COOKIES_MAX) node.cookies.delete(node.cookies.keys().next().value as number);
    node.cookies.set(number, cookie);
    return number;
  }

  /** What follows a cookie. */
  async #page(
    task: TaskContext,
    node: NfsNode,
    cookie: Uint8Array,
  ): Promise<{ readonly result: ReadDirectoryResult; readonly startedAt: number } | NegErrno> {
    const { calls, cache, directoryBytes } = this.#parts;
    const isFirst = isSameCookie(cookie, NO_COOKIE);
    const verifier = isFirst || node.cookieVerifier.length !== VERIFIER_BYTES ? NO_VERIFIER : node.cookieVerifier;
    for (;;) {
      const isPlus = this.#hasPlus;
      const namesBytesMax = isPlus ? Math.max(Math.floor(directoryBytes / NAMES_PART), 512) : directoryBytes;
      const what = { handle: node.handle, cookie, verifier, namesBytesMax, resultBytesMax: directoryBytes };
      const reply = await calls.readDirectory(task, what, isPlus);
      if (typeof reply === 'number') {
        if (!isPlus || reply !== -Errno.EOPNOTSUPP) return reply;
        this.#hasPlus = false;
        continue;
      }
      const { ok, status, nfsStatus, startedAt, failure } = reply;
      if (ok === null) {
        cache.absorb(node, failure.first.after, startedAt);
        if (!isPlus || nfsStatus !== NfsStatus.NOTSUPP) return status;
        this.#hasPlus = false;
        continue;
      }
      cache.absorb(node, ok.attributes, startedAt);
      node.cookieVerifier = ok.verifier;
      return { result: ok, startedAt };
    }
  }
}

function keyOf(dir: Inode, name: string): string {
  return `${dir.ino}/${name}`;
}

function cookieOf(number: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(number / 2 ** 32));
  view.setUint32(4, number % 2 ** 32);
  return bytes;
}

function isSameCookie(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
