/**
 * COMMIT (M15): what has been written UNSTABLE waits here for the COMMIT that covers it, and hears whether the server that has it is the one
 * that was given it.
 *
 *     WRITE answered UNSTABLE, verifier v ──▶ waits ──COMMIT answered, verifier v──▶ stable
 *                                                  └──another verifier──▶ again: the server has restarted, or lost it
 *
 * One COMMIT of a mount at a time, with a unit of the commit node and a call of its own. A file's begins when no WRITE of it is on its way any
 * more, or when half of what may be is waiting: then the rest goes on meanwhile.
 */
import { Errno, type NegErrno, TaskContext, type UnitPool } from '@tidemark/core';
import type { AttributeCache } from './attribute-cache.js';
import type { NfsCalls } from './nfs-calls.js';
import type { NfsNode } from './nfs-node.js';

/** What became of something unstable: it is stable, is to be written again, or a negative errno. */
export type Fate = 'stable' | 'again' | NegErrno;

interface Unstable {
  readonly verifier: Uint8Array;
  readonly nrPages: number;
  readonly settle: (fate: Fate) => void;
}

export interface CommitterParts {
  readonly calls: NfsCalls;
  readonly cache: AttributeCache;
  /** Pages on their way at once. */
  readonly units: number;
  /** The units of the commit node, once it is admitted. */
  commitUnits(): UnitPool | null;
}

/** The unstable writes of one file. */
export class FileCommits {
  readonly waiting: Unstable[] = [];
  nrPages = 0;
  nrInFlight = 0;
  isQueued = false;

  constructor(readonly node: NfsNode) {}
}

export class Committer {
  readonly #parts: CommitterParts;
  readonly #queue: FileCommits[] = [];
  #isRunning = false;
  #isClosed = false;
  readonly #task: TaskContext;
  /** COMMITs made; and those that said that something has to be written again. */
  nrCommits = 0;
  nrLosses = 0;
  /** Pages that are unstable now. */
  nrUnstablePages = 0;

  constructor(name: string, parts: CommitterParts) {
    this.#parts = parts;
    this.#task = TaskContext.root(`commits of ${name}`);
  }

  /** A WRITE of a file begins. */
  begins(file: FileCommits): void {
    file.nrInFlight++;
  }

  /** It has ended, and leaves nothing to commit. */
  ends(file: FileCommits): void {
    file.nrInFlight--;
    this.#look(file);
  }

  /** It has ended, and its pages are unstable. @returns what becomes of them. */
  unstable(file: FileCommits, verifier: Uint8Array, nrPages: number): Promise<Fate> {
    if (this.#isClosed) return Promise.resolve(-Errno.EIO);
    return new Promise((settle) => {
      file.waiting.push({ verifier, nrPages, settle });
      file.nrPages += nrPages;
      this.nrUnstablePages += nrPages;
      this.ends(file);
    });
  }

  #look(file: FileCommits): void {
    if (file.isQueued || file.waiting.length === 0) return;
    if (file.nrInFlight > 0 && file.nrPages * 2 < this.#parts.units) return;
    file.isQueued = true;
    this.#queue.push(file);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let file = this.#queue.shift(); file !== undefined; file = this.#queue.shift()) {
      const ticket = await this.#parts.commitUnits()?.begin(this.#task);
      const covered = file.waiting.splice(0);
      file.nrPages = 0;
      file.isQueued = false;
      const fates = await this.#commit(file.node, covered);
      if (typeof ticket === 'object') ticket.end();
      for (const { nrPages } of covered) this.nrUnstablePages -= nrPages;
      for (let i = 0; i < covered.length; i++) covered[i].settle(fates[i]);
      this.#look(file);
    }
    this.#isRunning = false;
  }

  async #commit(node: NfsNode, covered: readonly Unstable[]): Promise<Fate[]> {
    this.nrCommits++;
    const answer = await commitOf(this.#parts, this.#task, node, false);
    if (typeof answer === 'number') return covered.map(() => answer);
    const fates = covered.map(({ verifier }): Fate => (isSameVerifier(verifier, answer) ? 'stable' : 'again'));
    if (fates.includes('again')) this.nrLosses++;
    return fates;
  }

  /** The mount ends: nothing is committed any more. */
  close(): void {
    this.#isClosed = true;
  }
}

/** One COMMIT of a whole file. @returns the server's verifier, or a negative errno. */
export async function commitOf(
  parts: Pick<CommitterParts, 'calls' | 'cache'>,
  task: TaskContext,
  node: NfsNode,
  isPinned: boolean,
): Promise<Uint8Array | NegErrno> {
  const reply = await parts.calls.commit(task, node.handle, isPinned);
  if (typeof reply === 'number') return reply;
  const { ok, failure, startedAt, status } = reply;
  parts.cache.absorbChange(node, ok === null ? failure.first : ok.wcc, startedAt);
  return ok === null ? status : ok.verifier;
}

export function isSameVerifier(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
