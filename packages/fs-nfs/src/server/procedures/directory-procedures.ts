/**
 * READDIR and READDIRPLUS.
 *
 *     cookie 0   the beginning       1   behind `.`       2   behind `..`       n + 2   behind the entry whose cookie in the VFS is n
 *
 * Cookies of the VFS stay good whatever is made and removed meanwhile, so the cookie verifier is always zero and none is refused: a client that
 * deletes what it lists needs that.
 */
import { Access as Permission, type DirectoryEntry, encodeName, type NegErrno, permission, type Steps } from '@tidemark/core';
import { getReadDirectory } from '../../protocol/arguments.js';
import { FATTR_BYTES, putOptionalAttributes } from '../../protocol/attributes.js';
import { Nfs3, NfsStatus, VERIFIER_BYTES } from '../../protocol/nfs3-constants.js';
import { entryBytes, putEntry } from '../../protocol/results.js';
import { type Call, nfsProcedure, type Procedure, statusOf } from '../call.js';
import { HANDLE_BYTES } from '../file-handle.js';
import type { Subject } from '../subject.js';
import { childOf } from './name-procedures.js';

/** Status, attributes and verifier before the list; its end and the end of the directory behind it. */
const HEAD_BYTES = 4 + 4 + FATTR_BYTES + VERIFIER_BYTES;
const TAIL_BYTES = 8;
const NR_DOTS = 2;
/** Entries that are asked of the VFS at once: what they take on the heap is part of the call's. */
const BATCH_MAX = 64;
const DOT = '.';
const DOT_DOT = '..';
const NO_VERIFIER = new Uint8Array(VERIFIER_BYTES);

/** Puts entries into a result, as many as its bounds take. */
class Listing {
  #resultLeft: number;
  #namesLeft: number;
  nrEntries = 0;

  constructor(
    private readonly call: Call,
    private readonly directory: Subject,
    resultBytes: number,
    namesBytes: number,
    private readonly isPlus: boolean,
  ) {
    this.#resultLeft = resultBytes - HEAD_BYTES - TAIL_BYTES;
    this.#namesLeft = namesBytes;
  }

  /** Most entries that could still fit, at least 1. */
  get nrMost(): number {
    return Math.min(Math.max(Math.floor(this.#resultLeft / entryBytes(1, this.isPlus ? HANDLE_BYTES : null)), 1), BATCH_MAX);
  }

  /** @param cookie in the VFS, or those of the dots. @returns false if it does not fit. */
  *add(name: string, ino: number, cookie: number): Steps<boolean> {
    const bytes = encodeName(name);
    const whole = entryBytes(bytes.length, this.isPlus ? HANDLE_BYTES : null);
    const named = entryBytes(bytes.length, null);
    if (whole > this.#resultLeft || (this.isPlus && named > this.#namesLeft)) return false;
    this.#resultLeft -= whole;
    this.#namesLeft -= named;
    this.nrEntries++;
    if (this.isPlus) yield* this.#putPlus(name, bytes, ino, cookie);
    else putEntry(this.call.out, ino, bytes, cookie, null);
    return true;
  }

  /** An entry that is gone, or cannot be read, is listed without attributes: the client asks for it if it wants it. */
  *#putPlus(name: string, bytes: Uint8Array, ino: number, cookie: number): Steps<void> {
    const { call, directory } = this;
    const inode = yield* childOf(call, directory, name);
    if (typeof inode === 'number') {
      putEntry(call.out, ino, bytes, cookie, { attributes: null, handle: null });
      return;
    }
    const plus = { attributes: directory.target.attributesOf(inode), handle: call.handleOf(directory, inode) };
    putEntry(call.out, inode.ino, bytes, cookie, plus);
    inode.superblock.put(inode);
  }
}

function* inoAbove(call: Call, directory: Subject): Steps<number | NegErrno> {
  const parent = yield* childOf(call, directory, DOT_DOT);
  if (typeof parent === 'number') return parent;
  parent.superblock.put(parent);
  return parent.ino;
}

/** Lists from a cookie on. @returns whether the end was reached, or an errno. */
function* list(call: Call, directory: Subject, listing: Listing, cookie: number): Steps<boolean | NegErrno> {
  const { inode } = directory;
  if (cookie < 1 && !(yield* listing.add(DOT, inode.ino, 1))) return false;
  if (cookie < NR_DOTS) {
    const above = yield* inoAbove(call, directory);
    if (above < 0) return above;
    if (!(yield* listing.add(DOT_DOT, above, NR_DOTS))) return false;
  }
  const { vfs } = call.service;
  const who = call.who(directory);
  let behind = Math.max(cookie - NR_DOTS, 0);
  for (;;) {
    const { nrMost } = listing;
    const batch: readonly DirectoryEntry[] | NegErrno = yield* vfs.readDirectory(who, inode, behind, nrMost);
    if (typeof batch === 'number') return batch;
    for (const { name, ino, cookie: at } of batch) {
      if (!(yield* listing.add(name, ino, at + NR_DOTS))) return false;
      behind = at;
    }
    if (batch.length < nrMost) return true;
  }
}

function listingOf(number: number, isPlus: boolean): Procedure {
  return nfsProcedure(number, {
    read: (input, { handles, sizes }) => {
      const { handle, cookie, namesBytesMax, resultBytesMax } = getReadDirectory(input, isPlus);
      const view = new DataView(cookie.buffer, cookie.byteOffset, cookie.byteLength);
      const resultBytes = Math.min(resultBytesMax, sizes.directoryBytes);
      return { handle: handles.decode(handle), cookie: view.getUint32(0) * 2 ** 32 + view.getUint32(4), namesBytesMax, resultBytes };
    },
    // What is counted is the result behind the status; a client's bound may be smaller than that of a failure.
    resultBytes: ({ resultBytes }) => 4 + Math.max(resultBytes, HEAD_BYTES + TAIL_BYTES),
    *run(call, { handle, cookie, namesBytesMax, resultBytes }) {
      const directory = yield* call.subject(handle);
      if (typeof directory === 'number') return directory;
      if (!directory.inode.isDirectory) return NfsStatus.NOTDIR;
      const { credentials } = call.who(directory);
      const refused = permission(credentials, directory.inode, Permission.READ);
      if (refused < 0) return statusOf(refused);
      if (!Number.isSafeInteger(cookie)) return NfsStatus.BAD_COOKIE;
      const { out } = call;
      const head = directory.attributes;
      putOptionalAttributes(out.u32(NfsStatus.OK), head);
      out.fixed(NO_VERIFIER);
      const namesBytes = namesBytesMax === 0 ? resultBytes : namesBytesMax;
      const listing = new Listing(call, directory, resultBytes, namesBytes, isPlus);
      const isEnd = yield* list(call, directory, listing, cookie);
      if (typeof isEnd === 'number') return statusOf(isEnd);
      if (!isEnd && listing.nrEntries === 0) return NfsStatus.TOOSMALL;
      out.bool(false).bool(isEnd);
      return NfsStatus.OK;
    },
  });
}

export const DIRECTORY_PROCEDURES: Readonly<Record<number, Procedure>> = {
  [Nfs3.READDIR]: listingOf(Nfs3.READDIR, false),
  [Nfs3.READDIRPLUS]: listingOf(Nfs3.READDIRPLUS, true),
};
