/**
 * What a mount keeps of a file beside core's inode: its handle, the state of it that the server told last, and what is under way.
 */
import type { Inode } from '@tidemark/core';
import type { NfsTime, WeakAttributes } from '../protocol/attributes.js';

/** What it takes on the JS heap, its handle among it. */
export const NODE_BYTES = 640;

/** A removed file that is still open, under the name it has meanwhile. */
export interface SillyName {
  readonly directory: Uint8Array;
  readonly name: string;
  /** What hides it in its directory. */
  readonly key: string;
}

const NO_BYTES = new Uint8Array(0);
const NEVER: NfsTime = { seconds: 0, nanoseconds: 0 };

export class NfsNode {
  inode: Inode | null = null;
  handle: Uint8Array = NO_BYTES;
  fileid = 0;
  /** Core's number of it: the fileid, unless another file has that. */
  ino = 0;
  /** The state that the server told last; null if it told none. */
  known: WeakAttributes | null = null;
  /** When, on the kernel's clock, and for how long it is believed. */
  checkedAtMs = -Infinity;
  validForMs = 0;
  /** Which call was the latest when the last change of our own ended: what began earlier may tell of before it. */
  changedAt = 0;
  /** Others may have changed what is cached of the contents. */
  isDataSuspect = false;
  /** Openers, and pins. */
  nrOpen = 0;
  nrPins = 0;
  /** Writes on their way: sizes the server tells meanwhile may be of before them. */
  nrWriting = 0;
  /** It is being made shorter: likewise. */
  isResizing = false;
  /** States that changes of our own have made, and states before them that nobody knows: what is left of these when all is quiet, others made. */
  readonly made: WeakAttributes[] = [];
  readonly unexplained: WeakAttributes[] = [];
  silly: SillyName | null = null;
  /** The server does not know it any more, as it said last: it is asked each time. */
  isStale = false;
  /** Of a directory: the cookie verifier, and cookies that are no numbers, by the number they go by. */
  cookieVerifier: Uint8Array = NO_BYTES;
  cookies: Map<number, Uint8Array> | null = null;

  /** Makes a used object as new. */
  reset(): void {
    this.inode = this.known = this.silly = this.cookies = null;
    this.handle = this.cookieVerifier = NO_BYTES;
    this.fileid = this.ino = this.validForMs = this.changedAt = this.nrOpen = this.nrPins = this.nrWriting = 0;
    this.checkedAtMs = -Infinity;
    this.isDataSuspect = this.isResizing = this.isStale = false;
    this.made.length = this.unexplained.length = 0;
  }

  get mtime(): NfsTime {
    return this.known?.mtime ?? NEVER;
  }

  get ctime(): NfsTime {
    return this.known?.ctime ?? NEVER;
  }
}

/** The node of an inode of a mount. */
export function nodeOf(inode: Inode): NfsNode {
  return inode.priv as NfsNode;
}

export function isSameHandle(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
