/**
 * The VFS: every filesystem of a kernel as one tree. The inner face: negative errnos, work in steps (steps.ts), a `Caller` first. The
 * face for programs, shaped like `node:fs`, stands on it (`host/fs`), and so do servers that export a tree.
 *
 * | part | knows |
 * |---|---|
 * | `names` | which inode a name stands for |
 * | `inodes` | the inodes nobody uses now |
 * | `walk` | how to get from a path to an inode |
 * | `mounts` | what is mounted where |
 * | `directories`, `attributes`, `data` | how to change entries, attributes, contents |
 */
import { Errno, KernelError, type NegErrno } from '../base/errno.js';
import type { MaybePromise } from '../base/maybe-promise.js';
import type { PageCacheParts } from '../cache/page-cache.js';
import { Gfp } from '../mm/gfp.js';
import type { Memory } from '../mm/memory.js';
import type { Shrinker } from '../mm/reclaimer.js';
import type { ReservePlanner } from '../mm/reserve-planner.js';
import { AbortSource } from '../task/abort.js';
import type { TaskContext } from '../task/task-context.js';
import { Attributes } from './attributes.js';
import { Changes } from './changes.js';
import { type Credentials, permission, SUPERUSER } from './credentials.js';
import { DirectoryOperations, mayUpdate } from './directory-operations.js';
import { FileData } from './file-data.js';
import { FileLocks, type LockRange } from './file-locks.js';
import type { FileSystemRoom, FileSystemType, MountOptions } from './file-system.js';
import type { FileHandle, Inode } from './inode.js';
import { InodeCache } from './inode-cache.js';
import { Access, FileType, OpenFlag } from './mode.js';
import { type MountInfo, Mounts } from './mounts.js';
import { NameCache } from './name-cache.js';
import { OpenFile } from './open-file.js';
import { type DirectoryEntry, readDirectory } from './read-directory.js';
import { run, type Steps, settle } from './steps.js';
import { type Caller, NOT_CACHED, type Parent, PathWalk, readLink } from './walk.js';

/** What a VFS is made of. */
export interface VfsParts {
  readonly memory: Memory;
  readonly reserves: ReservePlanner;
  /** The kernel's own task. */
  readonly task: TaskContext;
  /** Milliseconds since 1970, for the times of files. */
  nowMs(): number;
  pageCache(): PageCacheParts;
  fileSystems(): readonly FileSystemType[];
}

/** Who asks, for `Vfs.caller`. */
export interface CallerOptions {
  readonly task?: TaskContext;
  readonly credentials?: Credentials;
  /** Default 0o022. */
  readonly umask?: number;
  /** False: EAGAIN where it would have to wait. */
  readonly mayWait?: boolean;
}

const DEFAULT_UMASK = 0o022;
/** Most open files of a kernel. */
const OPEN_FILES_MAX = 65_536;

/** The signal of those who may not wait. */
const NO_WAITING = ((): AbortSource['signal'] => {
  const source = new AbortSource();
  source.abort(new KernelError('EAGAIN', 'this would have to wait'));
  return source.signal;
})();

export class Vfs {
  readonly names: NameCache;
  readonly inodes: InodeCache;
  readonly walk: PathWalk;
  readonly mounts: Mounts;
  readonly directories: DirectoryOperations;
  readonly attributes: Attributes;
  readonly data: FileData;
  readonly changes = new Changes();
  /** What reclaim may ask for memory. */
  readonly shrinkers: readonly Shrinker[];
  /** Every open file of the kernel. */
  readonly openFiles = new Set<OpenFile>();
  readonly #task: TaskContext;

  constructor(parts: VfsParts) {
    const { memory, task, reserves } = parts;
    this.#task = task;
    this.inodes = new InodeCache(memory);
    this.names = new NameCache(memory.frameSource(Gfp.SLAB), this.inodes);
    this.walk = new PathWalk(this.names);
    this.directories = new DirectoryOperations(this.walk, this.names, this.inodes, this.changes, parts.nowMs);
    this.data = new FileData(() => parts.pageCache(), this.inodes, this.changes, parts.nowMs);
    this.attributes = new Attributes(this.data, this.changes, parts.nowMs);
    const { names, inodes, walk, directories, data } = this;
    const superuser = (): Caller => this.caller();
    const fileSystems = (): readonly FileSystemType[] => parts.fileSystems();
    this.mounts = new Mounts({ task, names, inodes, walk, directories, data, reserves, superuser, fileSystems });
    this.shrinkers = [names, inodes];
  }

  /** One who asks. Default: the superuser. Relative paths begin at the root. */
  caller(options: CallerOptions = {}): Caller {
    const { mounts } = this;
    const mayWait = options.mayWait ?? true;
    const task = options.task ?? this.#task;
    return {
      task: mayWait ? task : task.withSignal(NO_WAITING),
      credentials: options.credentials ?? SUPERUSER,
      umask: options.umask ?? DEFAULT_UMASK,
      mayWait,
      get root() {
        return mounts.root;
      },
      get cwd() {
        return mounts.root;
      },
    };
  }

  /** @throws KernelError ENODEV for a source nobody understands; ENOENT, ENOTDIR for where; ENOMEM, EDEADLK from the plan. */
  mount(source: string, at: string, options: MountOptions = {}): Promise<MountInfo> {
    return this.mounts.mount(source, at, options);
  }

  /** @throws KernelError EINVAL, EBUSY, EIO. */
  unmount(at: string, options: { force?: boolean } = {}): Promise<void> {
    return this.mounts.unmount(at, options.force === true);
  }

  /** The inode of a path, with a reference. @param follow whether a symbolic link at the end is followed. */
  resolve(who: Caller, path: string, follow = true): Steps<Inode | NegErrno> {
    return this.walk.resolve(who, path, follow);
  }

  /** Does something with the inode of a path. */
  *at<T>(who: Caller, path: string, follow: boolean, work: (inode: Inode) => Steps<T>): Steps<T | NegErrno> {
    const inode = yield* this.walk.resolve(who, path, follow);
    if (typeof inode === 'number') return inode;
    const result = yield* work(inode);
    inode.superblock.put(inode);
    return result;
  }

  /**
   * The inode of a path with attributes that are true, for looking at until the next wait. From the caches nothing is allocated.
   */
  stat(who: Caller, path: string, follow = true): MaybePromise<Inode | NegErrno> {
    const cached = this.walk.cached(who, path, !follow);
    return cached === NOT_CACHED ? run(this.#statSlow(who, path, follow)) : cached;
  }

  /** As `stat`, in steps. */
  *statSteps(who: Caller, path: string, follow: boolean): Steps<Inode | NegErrno> {
    return yield* settle(this.stat(who, path, follow));
  }

  *#statSlow(who: Caller, path: string, follow: boolean): Steps<Inode | NegErrno> {
    const inode = yield* this.walk.resolve(who, path, follow);
    if (typeof inode === 'number') return inode;
    const status = yield* this.refresh(who.task, inode);
    inode.superblock.put(inode); // still there: nothing is forgotten before somebody wants memory
    return status < 0 ? status : inode;
  }

  /** Brings the attributes of an inode up to date where others change them. */
  *refresh(task: TaskContext, inode: Inode): Steps<0 | NegErrno> {
    return inode.superblock.isShared ? yield* settle(inode.superblock.ops.refresh(task, inode, null)) : 0;
  }

  /** The inode of a handle, with a reference, whether it is cached or not. `-ESTALE` if there is no such file any more. */
  *byHandle(task: TaskContext, handle: FileHandle): Steps<Inode | NegErrno> {
    const superblock = this.mounts.byFsid(handle.fsid);
    if (superblock === null || !Number.isSafeInteger(handle.ino) || handle.ino < 1) return -Errno.ESTALE;
    const inode = yield* superblock.get(task, handle.ino, null);
    if (typeof inode === 'number') return inode === -Errno.ENOENT ? -Errno.ESTALE : inode;
    if (inode.generation === handle.generation && inode.nlink > 0) return inode;
    superblock.put(inode);
    return -Errno.ESTALE;
  }

  /** May the caller do this with a file? @param wanted bits of `Access`; 0 asks whether it is there. */
  *access(who: Caller, path: string, wanted: number): Steps<0 | NegErrno> {
    const inode = yield* this.walk.resolve(who, path, true);
    if (typeof inode === 'number') return inode;
    const status = permission(who.credentials, inode, wanted);
    const isFile = inode.isRegular || inode.isDirectory;
    const isFixed = (wanted & Access.WRITE) !== 0 && inode.superblock.readOnly && isFile;
    inode.superblock.put(inode);
    return status === 0 && isFixed ? -Errno.EROFS : status;
  }

  /** Where the symbolic link at a path leads. `-EINVAL` if it is none. */
  *readLink(who: Caller, path: string): Steps<string | NegErrno> {
    const inode = yield* this.walk.resolve(who, path, false);
    if (typeof inode === 'number') return inode;
    const target = inode.isSymlink ? yield* readLink(who.task, inode) : -Errno.EINVAL;
    inode.superblock.put(inode);
    return target;
  }

  /** The path of an inode from the caller's root, without symbolic links, `.` and `..`. `-ENOENT` for a directory nobody can name. */
  *realPath(who: Caller, path: string): Steps<string | NegErrno> {
    let parent: Parent | NegErrno = yield* this.walk.parent(who, path);
    for (;;) {
      if (typeof parent === 'number') return parent;
      const { dir, name } = parent;
      dir.nrRefs++;
      const inode: Inode | NegErrno = yield* this.walk.step(who, parent);
      if (typeof inode !== 'number' && inode.isSymlink) {
        dir.superblock.put(dir);
        parent = yield* this.walk.follow(who, parent, inode);
        continue;
      }
      let real: string | NegErrno;
      if (typeof inode === 'number') real = inode;
      else if (inode.isDirectory) real = pathOf(who, inode);
      else if (parent.mustBeDirectory) real = -Errno.ENOTDIR;
      else {
        const above = pathOf(who, dir);
        real = typeof above === 'number' ? above : `${above === '/' ? '' : above}/${name}`;
      }
      if (typeof inode !== 'number') inode.superblock.put(inode);
      dir.superblock.put(dir);
      return real;
    }
  }

  /** Opens a file. @param flags of `OpenFlag`. @param mode permission bits of a file that is made. */
  *open(who: Caller, path: string, flags: number, mode: number): Steps<OpenFile | NegErrno> {
    const follow = (flags & OpenFlag.NO_FOLLOW) === 0;
    if ((flags & OpenFlag.CREATE) === 0) {
      const inode = yield* this.walk.resolve(who, path, follow);
      return typeof inode === 'number' ? inode : yield* this.openInode(who, inode, flags);
    }
    let parent: Parent | NegErrno = yield* this.walk.parent(who, path);
    for (let mayBeNew = true; ; ) {
      if (typeof parent === 'number') return parent;
      const { dir } = parent;
      if (parent.mustBeDirectory && parent.name !== '') {
        dir.superblock.put(dir);
        return -Errno.EISDIR;
      }
      let inode: Inode | NegErrno = -Errno.ENOENT; // what nobody has asked for is most likely not there; whoever makes it looks first
      if (!mayBeNew || !this.walk.isUnknown(parent)) {
        dir.nrRefs++;
        inode = yield* this.walk.step(who, parent);
      }
      const isLink = typeof inode !== 'number' && inode.isSymlink;
      if (isLink) dir.superblock.put(dir); // `step` kept one for `follow`
      if (typeof inode !== 'number' && (flags & OpenFlag.EXCLUSIVE) !== 0) {
        inode.superblock.put(inode);
        dir.superblock.put(dir);
        return -Errno.EEXIST;
      }
      if (isLink && follow) {
        parent = yield* this.walk.follow(who, parent, inode as Inode);
        continue;
      }
      if (inode !== -Errno.ENOENT) {
        dir.superblock.put(dir);
        return typeof inode === 'number' ? inode : yield* this.openInode(who, inode, flags);
      }
      const made: Inode | NegErrno =
        this.openFiles.size >= OPEN_FILES_MAX
          ? -Errno.ENFILE
          : yield* this.directories.makeIn(who, parent, { mode: FileType.REGULAR | mode });
      if (made === -Errno.EEXIST && (flags & OpenFlag.EXCLUSIVE) === 0) {
        mayBeNew = false; // it was there, or somebody else made it
        continue;
      }
      dir.superblock.put(dir);
      return typeof made === 'number' ? made : yield* this.#agreed(who.task, new OpenFile(made, flags, this.openFiles), true);
    }
  }

  /** An open file that its filesystem agrees to. */
  *#agreed(task: TaskContext, file: OpenFile, isNew: boolean): Steps<OpenFile | NegErrno> {
    const status = yield* file.agree(task, wantedBy(file), isNew);
    if (status === 0) return file;
    file.release();
    return status;
  }

  /**
   * Closes a file, whatever happens. Where others look at it then, what was written is written out first, if the caller may wait.
   * @returns 0, or the latest failure to write it back that its opener has not heard of.
   */
  *close(who: Caller, file: OpenFile): Steps<0 | NegErrno> {
    const { superblock, pages } = file.inode;
    const flushes = superblock.flushesOnClose && file.isOpen && file.mayWrite && who.mayWait && !superblock.isGone;
    const flushed = flushes && pages !== null ? yield* this.data.sync(who.task, file, true) : 0;
    const failed = flushed || file.takeError();
    file.release();
    return failed;
  }

  /** Opens an inode whose reference the caller hands over. */
  *openInode(who: Caller, inode: Inode, flags: number): Steps<OpenFile | NegErrno> {
    const file = new OpenFile(inode, flags, this.openFiles);
    let status = this.openFiles.size > OPEN_FILES_MAX ? -Errno.ENFILE : mayOpen(who, file);
    if (status === 0) status = yield* file.agree(who.task, wantedBy(file), false);
    if (status === 0 && (flags & OpenFlag.TRUNCATE) !== 0 && inode.isRegular) status = yield* this.attributes.changeSize(who, inode, 0);
    if (status === 0) return file;
    file.release();
    return status;
  }

  /** Entries of an open directory behind `cookie`, at most `nrMost`; fewer mean the end. */
  readDirectory(who: Caller, dir: Inode, cookie: number, nrMost: number): Steps<readonly DirectoryEntry[] | NegErrno> {
    return readDirectory(who.task, dir, cookie, nrMost);
  }

  /** Room of the filesystem that holds a path. */
  *room(who: Caller, path: string): Steps<{ readonly room: FileSystemRoom; readonly blockSizeBytes: number } | NegErrno> {
    return yield* this.at(who, path, true, function* ({ superblock }) {
      const room = yield* settle(superblock.ops.room(who.task));
      return typeof room === 'number' ? room : { room, blockSizeBytes: superblock.blockSizeBytes };
    });
  }

  /**
   * Takes an advisory lock on a range of an open file, for that open file; given back by `unlock`, or when it is closed.
   * @returns 0; `-EAGAIN` if somebody has it and `waits` is false; `-EBADF` (reading for a shared one, writing for an exclusive one).
   */
  lock(who: Caller, file: OpenFile, range: LockRange, isExclusive: boolean, waits: boolean): MaybePromise<0 | NegErrno> {
    if (!file.isOpen || !(isExclusive ? file.mayWrite : file.mayRead)) return -Errno.EBADF;
    if (!(range.from >= 0 && range.to > range.from)) return -Errno.EINVAL;
    const { inode } = file;
    inode.fileLocks ??= new FileLocks(inode.name);
    return inode.fileLocks.lock(who.task, file, range, isExclusive, waits && who.mayWait);
  }

  /** Gives a range back. */
  unlock(file: OpenFile, range: LockRange): void {
    file.inode.fileLocks?.unlock(file, range);
  }

  /**
   * Closes every file and unmounts everything but what has pinned files, and what that is mounted on. May be called again when pins are gone.
   * @param isLast unmounts those, too, and gives every object back.
   * @returns what went wrong.
   */
  async shutdown(isLast = true): Promise<string[]> {
    this.changes.end();
    for (const file of [...this.openFiles]) file.release();
    const problems = await this.mounts.shutdown(isLast);
    if (!isLast) return problems;
    this.names.dispose();
    this.inodes.dispose();
    return problems;
  }
}

/** The path of a directory, from the names that lead to it. */
function pathOf(who: Caller, dir: Inode): string | NegErrno {
  const names: string[] = [];
  for (let at = dir; at !== who.root; ) {
    if (at === at.superblock.root) {
      if (at.superblock.mountpoint === null) break;
      at = at.superblock.mountpoint;
      continue;
    }
    if (at.namedBy === null) return -Errno.ENOENT;
    names.push(at.namedBy.name);
    at = at.namedBy.dir;
  }
  return `/${names.reverse().join('/')}`;
}

/** What a file is opened for, as bits of `Access`. */
function wantedBy({ flags, mayRead, mayWrite }: OpenFile): number {
  return (mayRead ? Access.READ : 0) | (mayWrite || (flags & OpenFlag.TRUNCATE) !== 0 ? Access.WRITE : 0);
}

/** May an inode be opened like this? */
function mayOpen(who: Caller, file: OpenFile): 0 | NegErrno {
  const { inode, flags, mayWrite } = file;
  if (inode.isSymlink) return -Errno.ELOOP;
  if (inode.isDirectory && (mayWrite || (flags & OpenFlag.CREATE) !== 0)) return -Errno.EISDIR;
  if (!inode.isDirectory && (flags & OpenFlag.DIRECTORY) !== 0) return -Errno.ENOTDIR;
  const wanted = wantedBy(file);
  const status = permission(who.credentials, inode, wanted);
  if (status !== 0) return status;
  if (!inode.isDirectory && !inode.isRegular) return -Errno.ENXIO; // device nodes, FIFOs and sockets lead nowhere here
  return (wanted & Access.WRITE) === 0 ? 0 : inode.superblock.isGone || inode.superblock.readOnly ? mayUpdate(who, inode.superblock) : 0;
}
