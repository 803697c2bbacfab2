/**
 * What a filesystem plugin implements. It registers a `FileSystemType` under `FILE_SYSTEM`; mounting gives core a `SuperblockOps`, one
 * flat record that core copies into a class of its own, so that hot call sites see one shape.
 *
 *     export const myfs = definePlugin({
 *       name: 'myfs',
 *       register(container) {
 *         container.register(FILE_SYSTEM, { useFactory: (c) => ({ schemes: ['myfs'], mount: (task, source) => new MyVolume(…) }) });
 *       },
 *     });
 *
 * Rules that hold for every operation:
 *
 * - It answers 0 (or the value it promises) or a negative errno, at once if it can (`T | Promise<T>`). It throws only for bugs.
 * - Core has checked the arguments: names are legal (name.ts) and not `.` or `..`, `dir` is a directory, permissions allow it, the mount
 *   is writable, the file that `create` makes does not exist and the one that `remove` takes away does.
 * - Core serialises: `lookup` and `readDirectory` hold the directory's lock shared, whatever changes entries holds it exclusively, and
 *   the inodes whose names change are locked too. Two operations on one directory never overlap, so a plugin cannot lose entries.
 * - Core has set attributes that POSIX wants changed (times of a directory an entry is made in, mode and owner of a new file) in the
 *   inodes before the call; the plugin makes them last together with the change, or fails, and core takes them back.
 * - Memory: JS objects of the plugin that stand for files are charged to a `SlabCache` of its own, or live in `inode.priv`.
 */
import type { NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { AddressSpaceOperations } from '../cache/address-space-operations.js';
import type { PinnedFile, PinSpec } from '../cache/pinned-file.js';
import type { WriteoutEdge, WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';
import type { Inode } from './inode.js';

/** A kind of filesystem. */
export interface FileSystemType {
  /** What stands before the first colon of a source: `memfs`, `ext3`, `nfs`. */
  readonly schemes: readonly string[];
  /**
   * Makes a filesystem ready. What it takes (a device, a connection) is its own until `unmount`.
   * @param source the whole text: `memfs:64MiB`, `ext3:disk.img`.
   * @throws KernelError naming the source and what is wrong with it.
   */
  mount(task: TaskContext, source: string, options: MountOptions): MaybePromise<SuperblockOps>;
}

/** Options of `kernel.mount`. A filesystem may know more. */
export interface MountOptions {
  /** Nothing may be changed: EROFS. */
  readonly readOnly?: boolean;
  /** Mode, uid and gid of the root of a filesystem that is made by mounting it. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly [option: string]: unknown;
}

/** Room of a filesystem. Bytes and inodes; `Infinity` is none of them: give 0 for what is not known. */
export interface FileSystemRoom {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What others than the superuser may take. */
  readonly availableBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** What a lookup has found. One object, used again for the next lookup. */
export interface FoundEntry {
  ino: number;
  /** Handed to `readInode` with nothing in between: what the plugin learnt on the way (a file handle, attributes). */
  hint: unknown;
}

/** Takes the entries of a directory. */
export interface DirectorySink {
  /**
   * @param cookie where the next `readDirectory` goes on to continue behind this entry: positive, and good as long as the directory
   * exists, whatever is removed or made meanwhile. An entry that exists throughout is met exactly once.
   * @param type the type bits of its mode, 0 if not known.
   * @returns false if this was the last that fits: stop.
   */
  add(name: string, ino: number, type: number, cookie: number): boolean;
}

/** Attributes to set; what is absent stays. Core has set them in the inode already, all but the size. */
export interface AttributeChange {
  mode?: number;
  uid?: number;
  gid?: number;
  /** Of a regular file. The page cache has let go of what is behind it. */
  sizeBytes?: number;
  accessedMs?: number;
  modifiedMs?: number;
}

/** A mounted filesystem. Later fields are optional and come last. */
export interface SuperblockOps {
  readonly apiVersion: 1;
  /** For people and for the writeout graph: `ext3:disk.img`. */
  readonly name: string;
  readonly rootIno: number;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly maxFileSizeBytes: number;
  /** Most names of a file; beyond it EMLINK. */
  readonly maxLinks: number;
  /**
   * True if every operation that changes something answers at once, memory permitting: then the synchronous forms of `kernel.fs` can
   * use them. Reading from a cache is always possible.
   */
  readonly updatesAtOnce: boolean;
  /** Its nodes of the writeout graph, the top one first, and what they need; admitted before the mount succeeds. Absent: it writes to nothing. */
  readonly writeout?: { readonly nodes: readonly WriteoutNode[]; readonly edges: readonly WriteoutEdge[] };

  /**
   * Fills in an inode whose `ino` is set: every attribute, and `generation`.
   * @param hint of the `lookup` just before; null if the inode is looked for by its number alone.
   * @returns 0; `-ESTALE` if there is no such inode.
   */
  readInode(task: TaskContext, inode: Inode, hint: unknown): MaybePromise<0 | NegErrno>;
  /** Brings the attributes of a cached inode up to date: for filesystems that others change. `hint` as above. Absent: they are true. */
  refresh?(task: TaskContext, inode: Inode, hint: unknown): MaybePromise<0 | NegErrno>;
  /**
   * A file is about to be opened: in place of `refresh`, and with the filesystem's own say in who may. Whoever it answers 0 to is told of the end
   * by `close`.
   * @param wanted bits of `Access`. @param isNew the opener has just made it.
   */
  open?(task: TaskContext, inode: Inode, wanted: number, isNew: boolean): MaybePromise<0 | NegErrno>;
  /** An opener is gone. Not called for those that are there when the filesystem is taken off by force. */
  close?(inode: Inode): void;
  /** True if what an opener wrote is written out before it is gone, as far as it can wait: for filesystems that others look at then. */
  readonly flushesOnClose?: boolean;
  /** The inode leaves memory. `priv` is the plugin's to let go of. */
  forget?(inode: Inode): void;
  /** Nobody has the inode and it has no name (nlink 0): frees what it holds. In a task of the filesystem; nobody waits for it. */
  deleteInode(task: TaskContext, inode: Inode): MaybePromise<0 | NegErrno>;

  /** @returns 0 with `found` filled in, or `-ENOENT`. `..` is asked for of a directory that was found by handle. */
  lookup(task: TaskContext, dir: Inode, name: string, found: FoundEntry): MaybePromise<0 | NegErrno>;
  /** Gives `sink` the entries behind `cookie` (0: all), without `.` and `..`. */
  readDirectory(task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): MaybePromise<0 | NegErrno>;
  /**
   * Makes a file of `inode.mode`'s type: directory, regular file, symbolic link (to `inode.linkTarget`), device node (`inode.rdev`),
   * FIFO, socket. Sets `ino`, `generation`, `nlink` (and the directory's).
   */
  create(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno>;
  /** Gives a file one more name. */
  link(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno>;
  /** Takes a name away. A directory that is not empty: `-ENOTEMPTY`; else both `nlink` fall. At 0 the inode stays until `deleteInode`. */
  remove(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno>;
  /** Moves a name, in one step that a crash does not divide. */
  rename(task: TaskContext, move: Move): MaybePromise<0 | NegErrno>;

  /** Makes attributes last. */
  setAttributes(task: TaskContext, inode: Inode, change: AttributeChange): MaybePromise<0 | NegErrno>;
  /** Where a symbolic link leads. Asked for once; core keeps it. */
  readLink(task: TaskContext, inode: Inode): MaybePromise<string | NegErrno>;

  /** What is behind the pages of a regular file. Asked for once for each inode in memory. */
  addressSpace(inode: Inode): AddressSpaceOperations;
  /** One of `AllocateMode`, on whole bytes; pages of the range have been let go of for the modes that make zeroes. */
  allocate?(task: TaskContext, inode: Inode, mode: number, offsetBytes: number, lengthBytes: number): MaybePromise<0 | NegErrno>;
  /** The first offset from `offsetBytes` on that holds data (or a hole). `-ENXIO` if there is no data behind it. Absent: it is all data. */
  seekData?(task: TaskContext, inode: Inode, offsetBytes: number): MaybePromise<number | NegErrno>;
  seekHole?(task: TaskContext, inode: Inode, offsetBytes: number): MaybePromise<number | NegErrno>;

  /** An extended attribute: its value; `-ENODATA`. All four absent: EOPNOTSUPP. */
  getXattr?(task: TaskContext, inode: Inode, name: string): MaybePromise<Uint8Array | NegErrno>;
  listXattrs?(task: TaskContext, inode: Inode): MaybePromise<readonly string[] | NegErrno>;
  setXattr?(task: TaskContext, inode: Inode, name: string, value: Uint8Array, mode: XattrMode): MaybePromise<0 | NegErrno>;
  removeXattr?(task: TaskContext, inode: Inode, name: string): MaybePromise<0 | NegErrno>;

  room(task: TaskContext): MaybePromise<FileSystemRoom | NegErrno>;
  /** Makes everything changed so far durable; the pages have been written. */
  sync(task: TaskContext): MaybePromise<0 | NegErrno>;
  /** Makes one file durable; its pages have been written. Absent: `sync`. */
  syncInode?(task: TaskContext, inode: Inode, dataOnly: boolean): MaybePromise<0 | NegErrno>;
  /** The last call: everything is synced and every inode forgotten. With `isForced` it may not wait, and nothing may be in flight after it. */
  unmount(task: TaskContext, isForced: boolean): MaybePromise<0 | NegErrno>;
  /** Its nodes have left the writeout graph: what they needed, such as a device of its own, may be closed. */
  released?(): MaybePromise<void>;

  /** The node that pinned files of it are written through, one of `writeout`. Absent: its files cannot be pinned, because it does not write in place. */
  readonly pinsThrough?: WriteoutNode;
  /**
   * Pins a regular file (M14): its map in memory, what its I/O takes set aside, the device below pinned as held. Core has made the file durable as it
   * is, taken its pages out of memory, and lets nobody change it until `release`.
   * @throws KernelError EINVAL naming the offset of a hole, EPERM, ENOMEM, EUCLEAN, EIO.
   */
  pin?(task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile>;
}

/** A rename. Everything is locked and allowed. */
export interface Move {
  readonly fromDir: Inode;
  readonly fromName: string;
  readonly inode: Inode;
  readonly toDir: Inode;
  readonly toName: string;
  /** What the new name stands for until now, or null. Replaced as by `remove` (a directory is empty, or `-ENOTEMPTY`) or exchanged. */
  readonly replaced: Inode | null;
  readonly isExchange: boolean;
}

/** What `setXattr` does with a value that is (not) there already. */
export type XattrMode = 'either' | 'create' | 'replace';
