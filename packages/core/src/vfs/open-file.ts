/** A file as somebody has opened it: which inode, what for, and where the next read or write without an offset goes. */
import type { ErrorCursor } from '../cache/error-sequence.js';
import { ReadaheadWindow } from '../cache/readahead-window.js';
import type { NegErrno } from '../base/errno.js';
import type { Inode } from './inode.js';
import type { TaskContext } from '../task/task-context.js';
import { OpenFlag } from './mode.js';
import { type Steps, settle } from './steps.js';

/** What is more than an open file has it under this key: a file handle of the face for programs. */
export const OPEN_FILE = Symbol('open file');

/** A file handle, as programs have it: of this kernel's face, or it is refused. */
export interface HandleOfFile {
  readonly fd: number;
  close(): Promise<void>;
}

export class OpenFile {
  /** Where reads and writes without an offset go on, in bytes. */
  positionBytes = 0;
  #window: ReadaheadWindow | null = null;
  /** What it has been told of failures to write the file back; null as long as the file has no pages in memory. */
  errors: ErrorCursor | null;
  #isOpen = true;
  #isTold = false;

  readonly #open: Set<OpenFile>;

  /** Takes the caller's reference to the inode over. @param flags of `OpenFlag`. @param open the table of open files it is in until it is closed. */
  constructor(
    readonly inode: Inode,
    readonly flags: number,
    open: Set<OpenFile>,
  ) {
    this.#open = open;
    this.errors = inode.pages?.errorCursor() ?? null;
    open.add(this);
  }

  /** Which part of the file its reader wants next. */
  get window(): ReadaheadWindow {
    this.#window ??= new ReadaheadWindow();
    return this.#window;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get mayRead(): boolean {
    return (this.flags & OpenFlag.ACCESS_MODE) !== OpenFlag.WRITE_ONLY;
  }

  get mayWrite(): boolean {
    return (this.flags & OpenFlag.ACCESS_MODE) !== OpenFlag.READ_ONLY;
  }

  /** Every write goes to the end. */
  get isAppend(): boolean {
    return (this.flags & OpenFlag.APPEND) !== 0;
  }

  /** A write is durable when it has ended. */
  get isSynchronous(): boolean {
    return (this.flags & (OpenFlag.DATA_SYNC | OpenFlag.SYNC)) !== 0;
  }

  /** Has the filesystem agree to it. @param wanted bits of `Access`. @returns 0, or why it may not be opened. */
  *agree(task: TaskContext, wanted: number, isNew: boolean): Steps<0 | NegErrno> {
    const { inode } = this;
    const status = yield* settle(inode.superblock.ops.open(task, inode, wanted, isNew));
    this.#isTold = status === 0;
    return status;
  }

  /** 0, or the latest failure to write the file back that this opener has not heard of. */
  takeError(): 0 | NegErrno {
    return this.errors?.check() ?? 0;
  }

  /** Lets go of the inode, and of its advisory locks; an unlinked file is deleted with its last opener. Twice is fine. */
  release(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#open.delete(this);
    this.inode.fileLocks?.unlock(this, { from: 0, to: Infinity });
    if (this.#isTold && !this.inode.superblock.isGone) this.inode.superblock.ops.close(this.inode);
    this.inode.superblock.put(this.inode);
  }
}
