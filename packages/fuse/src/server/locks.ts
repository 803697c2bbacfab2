/**
 * Advisory locks of programs: `fcntl` locks bind everybody who locks in the tree, over whatever way he comes; `flock` locks bind among the
 * programs of this mount, as the two kinds know nothing of each other.
 *
 * An owner is what the kernel says it is: a number of 64 bits for each process, or for each open file. It is forgotten when the kernel says that
 * it has closed its file.
 */
import {
  Errno,
  FileLocks,
  type HeldFileLock,
  type Inode,
  type LockRange,
  type NegErrno,
  type Steps,
  settle,
  type TaskContext,
} from '@tidemark/core';
import { LockType } from '../protocol/constants.js';
import type { Node } from './nodes.js';

/** Most owners of locks of one file. */
const OWNERS_MAX = 4096;
/** Offsets from here on are the end of every file. */
const END = Number.MAX_SAFE_INTEGER;

/** Who has locks. */
export interface LockOwner {
  readonly key: string;
  pid: number;
}

/** What is asked for. */
export interface LockRequest {
  readonly owner: string;
  /** First and last byte. */
  readonly first: number;
  readonly last: number;
  readonly type: number;
  readonly pid: number;
  readonly isWhole: boolean;
}

function rangeOf({ first, last }: LockRequest): LockRange {
  return { from: first, to: last >= END ? Number.POSITIVE_INFINITY : last + 1 };
}

function tableOf(node: Node, inode: Inode, isWhole: boolean): FileLocks {
  if (isWhole) {
    node.wholeLocks ??= new FileLocks(`node ${node.id}, as wholes,`);
    return node.wholeLocks;
  }
  inode.fileLocks ??= new FileLocks(`inode ${inode.ino} of ${inode.superblock.name}`);
  return inode.fileLocks;
}

function ownerOf(node: Node, { owner, pid }: LockRequest): LockOwner | null {
  node.lockOwners ??= new Map();
  let found = node.lockOwners.get(owner);
  if (found === undefined) {
    if (node.lockOwners.size >= OWNERS_MAX) return null;
    found = { key: owner, pid };
    node.lockOwners.set(owner, found);
  }
  found.pid = pid;
  return found;
}

/** The lock that stands in the way of one, or null. */
export function conflictOf(node: Node, inode: Inode, wanted: LockRequest): HeldFileLock | null {
  const table = tableOf(node, inode, wanted.isWhole);
  const owner = node.lockOwners?.get(wanted.owner) ?? wanted;
  return table.conflict(owner, rangeOf(wanted), wanted.type === LockType.WRITE);
}

/** Process that has a lock; 0 if it was not taken over this mount. */
export function holderOf(node: Node, { owner }: HeldFileLock): number {
  for (const each of node.lockOwners?.values() ?? []) if (each === owner) return each.pid;
  return 0;
}

/** Takes a lock or gives it back. `-EAGAIN` if it is held and `waits` is false; `-EINVAL`; `-ENOLCK`; the errno of the task's signal. */
export function* lock(task: TaskContext, node: Node, inode: Inode, wanted: LockRequest, waits: boolean): Steps<NegErrno> {
  const { type, first, last } = wanted;
  if (type !== LockType.READ && type !== LockType.WRITE && type !== LockType.NONE) return -Errno.EINVAL;
  if (last < first) return -Errno.EINVAL;
  const table = tableOf(node, inode, wanted.isWhole);
  const owner = ownerOf(node, wanted);
  if (owner === null) return -Errno.ENOLCK;
  if (type !== LockType.NONE) return yield* settle(table.lock(task, owner, rangeOf(wanted), type === LockType.WRITE, waits));
  table.unlock(owner, rangeOf(wanted));
  return 0;
}

/** An owner has closed its file: its locks of one kind go. */
export function dropOwner(node: Node, inode: Inode, key: string, isWhole: boolean): void {
  const owner = node.lockOwners?.get(key);
  if (owner === undefined) return;
  const everything = { from: 0, to: Number.POSITIVE_INFINITY };
  if (isWhole) node.wholeLocks?.unlock(owner, everything);
  else inode.fileLocks?.unlock(owner, everything);
  node.lockOwners?.delete(key);
}

/** The node goes: all its owners do. */
export function dropAllOwners(node: Node, inode: Inode): void {
  for (const key of [...(node.lockOwners?.keys() ?? [])]) {
    const owner = node.lockOwners?.get(key) as LockOwner;
    node.wholeLocks?.unlock(owner, { from: 0, to: Number.POSITIVE_INFINITY });
    inode.fileLocks?.unlock(owner, { from: 0, to: Number.POSITIVE_INFINITY });
  }
  node.lockOwners = null;
}
