/** A file as the log knows it, in memory as long as it exists; `inode.priv`. Paid for out of the room for metadata that mounting takes. */
import { Errno, FileType, type Inode, type NegErrno } from '@tidemark/core';

/** What objects take on the JS heap, in bytes; names come on top. */
export const NODE_BYTES = 400;
export const MAP_BYTES = 64;
export const entryBytes = (name: string): number => 96 + 2 * name.length;

/** Room for metadata: taken as a whole when it is mounted, so that nothing waits for memory afterwards. */
export class Room {
  nrUsed = 0;
  constructor(readonly nrBytes: number) {}

  /** @returns 0 or `-ENOSPC`; a negative number gives back. */
  take(nrBytes: number): 0 | NegErrno {
    if (nrBytes > 0 && this.nrUsed + nrBytes > this.nrBytes) return -Errno.ENOSPC;
    this.nrUsed += nrBytes;
    return 0;
  }
}

/** The attributes that core's inode and the log share, in the order of an INODE record. */
const SHARED = ['mode', 'uid', 'gid', 'nlink', 'rdev', 'sizeBytes', 'accessedMs', 'modifiedMs', 'changedMs', 'createdMs'] as const;
export const NR_SHARED = SHARED.length;

export class LogNode {
  attributes: number[] = [];
  /** The directory above a directory. */
  parent = 0;
  linkTarget = '';
  /** Entries of a directory. An entry's cookie is how many were made in it before, plus one. */
  readonly entries = new Map<string, { readonly ino: number; readonly cookie: number }>();
  nrCookies = 0;
  /** Block of each page that is on the device; pages that were promised one. */
  readonly map = new Map<number, number>();
  readonly promised = new Set<number>();
  nrPins = 0;
  /** Core's object, while the file is in memory. */
  inode: Inode | null = null;

  constructor(readonly ino: number) {}

  get type(): number {
    return this.attributes[0] & FileType.MASK;
  }

  /** Takes over what core has set in its inode. */
  takeFrom(inode: Inode): void {
    this.attributes = SHARED.map((name) => inode[name]);
  }

  /** Fills core's inode in. */
  giveTo(inode: Inode): void {
    for (const [i, name] of SHARED.entries()) inode[name] = this.attributes[i];
    inode.generation = 1; // numbers are never used again
    inode.blocksBytes = this.map.size * 4096;
    if (this.type === FileType.SYMLINK) inode.linkTarget = this.linkTarget;
    inode.priv = this;
    this.inode = inode;
  }

  /** Numbers and text of its INODE record. */
  get record(): [numbers: number[], text: string] {
    return [[this.ino, ...this.attributes, this.parent], this.linkTarget];
  }
}

export const nodeOf = (inode: Inode): LogNode => inode.priv as LogNode;
