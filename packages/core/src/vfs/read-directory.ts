/** Reading directories, a batch at a time; between two batches anybody may change them, and the cookies stay good. */
import { Errno, type NegErrno } from '../base/errno.js';
import type { TaskContext } from '../task/task-context.js';
import type { DirectorySink } from './file-system.js';
import type { Inode } from './inode.js';
import { type Steps, settle } from './steps.js';
import { patientOf } from './superblock.js';

/** One entry; `.` and `..` are not among them. */
export interface DirectoryEntry {
  readonly name: string;
  readonly ino: number;
  /** The type bits of its mode; 0 if the filesystem does not say. */
  readonly type: number;
  /** Reading goes on behind this entry from here. */
  readonly cookie: number;
}

/** Most entries of one batch. */
export const BATCH_MAX = 1024;

class Batch implements DirectorySink {
  readonly entries: DirectoryEntry[] = [];
  readonly #nrMost: number;

  constructor(nrMost: number) {
    this.#nrMost = nrMost;
  }

  add(name: string, ino: number, type: number, cookie: number): boolean {
    this.entries.push({ name, ino, type, cookie });
    return this.entries.length < this.#nrMost;
  }
}

/** Entries behind `cookie`, at most `nrMost` (1 to 1024); fewer mean the end. `-ENOTDIR`, `-EINVAL` for no cookie. */
export function* readDirectory(task: TaskContext, dir: Inode, cookie: number, nrMost: number): Steps<readonly DirectoryEntry[] | NegErrno> {
  if (!dir.isDirectory) return -Errno.ENOTDIR;
  if (!Number.isSafeInteger(cookie) || cookie < 0) return -Errno.EINVAL;
  const locked = yield* settle(dir.lock.shared(task));
  if (locked < 0) return locked;
  const batch = new Batch(Math.min(Math.max(nrMost, 1), BATCH_MAX));
  const status = dir.isDead ? 0 : yield* settle(dir.superblock.ops.readDirectory(patientOf(task), dir, cookie, batch));
  dir.lock.unlockShared();
  return status < 0 ? status : batch.entries;
}
