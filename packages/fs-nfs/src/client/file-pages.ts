/**
 * What is behind the pages of a file on NFS. Reading is as many READs at once as the pages take, straight into their frames; writing is a WRITE
 * for each run, by reference to its pages, and a COMMIT for several of them. A page is on its way until it is stable (M15): what the server
 * loses when it restarts is still here, and is written again.
 */
import {
  type AddressSpaceOperations,
  Errno,
  type Inode,
  type MaybePromise,
  type NegErrno,
  type PageChange,
  PAGE_SIZE,
  type Pfn,
  type TaskContext,
  type UnitPool,
  type WriteoutNode,
  type WriteoutTicket,
} from '@tidemark/core';
import { Stable } from '../protocol/nfs3-constants.js';
import { zeroTail } from '../rpc/page-span.js';
import { type Fate, FileCommits, isSameVerifier } from './committer.js';
import type { NfsNode } from './nfs-node.js';
import type { NfsParts } from './nfs-parts.js';

/** Times a server may lose what it was given before it is asked to keep it at once. */
const LOSSES_MAX = 3;

/** What a WRITE, in as many calls as it takes, has come to: all of it is stable, or unstable under one verifier; `again` if under two. */
export type Written = { readonly verifier: Uint8Array | null } | 'again' | NegErrno;

export class FilePages implements AddressSpaceOperations {
  readonly device: object;
  readonly beginsUnits = true;
  readonly pagesPerWrite: number;
  readonly #commits: FileCommits;

  constructor(
    readonly parts: NfsParts,
    readonly inode: Inode,
    readonly node: NfsNode,
  ) {
    this.device = parts.device;
    this.pagesPerWrite = parts.pagesPerWrite;
    this.#commits = new FileCommits(node);
  }

  get sizeBytes(): number {
    return this.inode.sizeBytes;
  }

  setSize(sizeBytes: number): void {
    if (sizeBytes < this.inode.sizeBytes) this.node.isResizing = true;
    this.inode.sizeBytes = sizeBytes;
  }

  writesThrough(): WriteoutNode {
    return this.parts.nodes.write;
  }

  /** Nothing can fail later that does not fail now: the pages go by reference, and what carries them stands. */
  dirtyPage(_task: TaskContext, change: PageChange): 0 | NegErrno {
    return this.node.nrPins > 0 ? -Errno.ETXTBSY : change.bringIn();
  }

  readFolio(task: TaskContext, index: number, pfn: Pfn): Promise<0 | NegErrno> {
    return this.readahead(task, index, Uint32Array.of(pfn), 0, 1);
  }

  async readahead(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    return readPages(this.parts, task, this.node, index, pfns, from, count, false);
  }

  writepages(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): MaybePromise<0 | NegErrno> {
    this.node.nrWriting++;
    return this.#write(task, index, pfns, from, count).then((status) => {
      if (status === 0) this.#quiet();
      else this.parts.defer(() => this.#quiet()); // until then the pages are neither dirty nor on their way
      return status;
    });
  }

  #quiet(): void {
    this.node.nrWriting--;
    this.parts.cache.quiet(this.node);
  }

  async #write(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number): Promise<0 | NegErrno> {
    const { parts } = this;
    const units = parts.writeUnits();
    const tickets = units === null ? [] : await beginUnits(parts, task, units, count);
    if (typeof tickets === 'number') return tickets;
    let fate: Fate = 'again';
    for (let nrLosses = 0; fate === 'again'; nrLosses++) {
      parts.committer.begins(this.#commits);
      fate = await this.#writeOnce(task, index, pfns, from, count, nrLosses < LOSSES_MAX ? Stable.UNSTABLE : Stable.FILE_SYNC);
    }
    for (const ticket of tickets) ticket.end();
    return fate === 'stable' ? 0 : fate;
  }

  async #writeOnce(task: TaskContext, index: number, pfns: Uint32Array, from: number, count: number, stable: number): Promise<Fate> {
    const { committer } = this.parts;
    const lengthBytes = Math.min(count * PAGE_SIZE, this.inode.sizeBytes - index * PAGE_SIZE);
    const written = await writePages(this.parts, task, this.node, index, pfns, from, lengthBytes, stable);
    if (typeof written === 'object' && written.verifier !== null) return committer.unstable(this.#commits, written.verifier, count);
    committer.ends(this.#commits);
    return typeof written === 'object' ? 'stable' : written;
  }
}

/** A unit of the write node for each page, all of a run's or none: runs gather theirs one after the other. */
async function beginUnits(parts: NfsParts, task: TaskContext, units: UnitPool, count: number): Promise<WriteoutTicket[] | NegErrno> {
  const turn = await parts.unitTurn.acquire(task);
  if (turn < 0) return turn;
  const tickets: WriteoutTicket[] = [];
  let status: NegErrno = 0;
  while (tickets.length < count && status === 0) {
    const ticket = await units.begin(task);
    if (typeof ticket === 'number') status = ticket;
    else tickets.push(ticket);
  }
  parts.unitTurn.release();
  if (status === 0) return tickets;
  for (const ticket of tickets) ticket.end();
  return status;
}

/**
 * Writes the first `lengthBytes` of consecutive pages from `index` on, in calls of at most wtmax; a short one is followed by one for the rest.
 */
export async function writePages(
  parts: NfsParts,
  task: TaskContext,
  node: NfsNode,
  index: number,
  pfns: Uint32Array,
  from: number,
  lengthBytes: number,
  stable: number,
  isPinned = false,
): Promise<Written> {
  let verifier: Uint8Array | null = null;
  for (let done = 0; done < lengthBytes; ) {
    const span = { pfns, from, skipBytes: done, lengthBytes: Math.min(lengthBytes - done, parts.writeBytes) };
    const reply = await parts.calls.write(task, node.handle, index * PAGE_SIZE + done, span, stable, isPinned);
    if (typeof reply === 'number') return reply;
    const { ok, failure, status, startedAt } = reply;
    parts.cache.absorbChange(node, ok === null ? failure.first : ok.wcc, startedAt);
    if (ok === null) return status;
    if (ok.countBytes === 0) return -Errno.EIO;
    done += ok.countBytes;
    if (ok.committed !== Stable.UNSTABLE) continue;
    if (verifier !== null && !isSameVerifier(verifier, ok.verifier)) return 'again';
    verifier = ok.verifier;
  }
  return { verifier };
}

/** Reads consecutive pages, in calls of at most rtmax, all at once. What lies behind the server's end of the file is zeroes. */
export async function readPages(
  parts: NfsParts,
  task: TaskContext,
  node: NfsNode,
  index: number,
  pfns: Uint32Array,
  from: number,
  count: number,
  isPinned: boolean,
): Promise<0 | NegErrno> {
  const perCall = Math.max(Math.floor(parts.readBytes / PAGE_SIZE), 1);
  if (count <= perCall) return readPiece(parts, task, node, index, pfns, from, count, isPinned);
  const pieces: Promise<0 | NegErrno>[] = [];
  for (let done = 0; done < count; done += perCall)
    pieces.push(readPiece(parts, task, node, index + done, pfns, from + done, Math.min(perCall, count - done), isPinned));
  const statuses = await Promise.all(pieces);
  return statuses.find((status) => status < 0) ?? 0;
}

async function readPiece(
  parts: NfsParts,
  task: TaskContext,
  node: NfsNode,
  index: number,
  pfns: Uint32Array,
  from: number,
  count: number,
  isPinned: boolean,
): Promise<0 | NegErrno> {
  for (let done = 0; done < count * PAGE_SIZE; ) {
    const span = { pfns, from, skipBytes: done, lengthBytes: Math.min(count * PAGE_SIZE - done, parts.readBytes) };
    const reply = await parts.calls.read(task, node.handle, index * PAGE_SIZE + done, span, isPinned);
    if (typeof reply === 'number') return reply;
    const { ok, failure, status, startedAt } = reply;
    parts.cache.absorb(node, ok === null ? failure.first.after : ok.attributes, startedAt);
    if (ok === null) return status;
    done += ok.countBytes;
    if (ok.isEnd) zeroTail(parts.arena, pfns, from, count, done);
    if (ok.isEnd) return 0;
    if (ok.countBytes === 0) return -Errno.EPROTO;
  }
  return 0;
}
