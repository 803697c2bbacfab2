/**
 * What changes directories: make, link, remove, rename. Each is serialised by the locks of the directories it changes (inode-lock.ts has
 * the order), checked as POSIX and Linux have it, and noted in the name cache when the filesystem has done it.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { TaskContext } from '../task/task-context.js';
import type { Changes } from './changes.js';
import { inGroup, mayRemove, permission } from './credentials.js';
import type { Inode } from './inode.js';
import type { InodeCache } from './inode-cache.js';
import { Access, FileType, PATH_MAX, PERMISSION_BITS, RenameFlag, S_ISGID, S_ISUID } from './mode.js';
import { nameBytes } from './name.js';
import type { NameCache } from './name-cache.js';
import { type Steps, settle } from './steps.js';
import type { Superblock } from './superblock.js';
import type { Caller, Parent, PathWalk } from './walk.js';

/** Directories between a root and what is below it: more are a circle on a damaged disk. */
const DEPTH_MAX = 65_536;

/** What is to be made. */
export interface NewFile {
  /** Type and permission bits; the umask applies. */
  readonly mode: number;
  readonly linkTarget?: string;
  readonly rdev?: number;
  /** Whose it will be, if not the caller's: for a server whose client has checked what its users may do. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** 0 if the caller may change anything in a superblock now; `-EROFS`, `-EAGAIN` for one that may not wait where it would have to. */
export function mayUpdate(who: Caller, superblock: Superblock): 0 | NegErrno {
  if (superblock.isGone) return -Errno.EIO;
  if (superblock.readOnly) return -Errno.EROFS;
  return who.mayWait || superblock.updatesAtOnce ? 0 : -Errno.EAGAIN;
}

function isDotName(name: string): boolean {
  return name === '' || name === '.' || name === '..';
}

export class DirectoryOperations {
  readonly #walk: PathWalk;
  readonly #names: NameCache;
  readonly #inodes: InodeCache;
  readonly #changes: Changes;
  readonly #nowMs: () => number;

  constructor(walk: PathWalk, names: NameCache, inodes: InodeCache, changes: Changes, nowMs: () => number) {
    this.#walk = walk;
    this.#names = names;
    this.#inodes = inodes;
    this.#changes = changes;
    this.#nowMs = nowMs;
  }

  /** Makes a directory, link or node at a path. @returns it, with a reference. */
  *make(who: Caller, path: string, file: NewFile): Steps<Inode | NegErrno> {
    if (file.linkTarget !== undefined) {
      const bytes = nameBytes(file.linkTarget);
      if (bytes < 0) return bytes;
      if (bytes === 0) return -Errno.ENOENT;
      if (bytes >= PATH_MAX) return -Errno.ENAMETOOLONG;
    }
    const parent = yield* this.#walk.parent(who, path);
    if (typeof parent === 'number') return parent;
    const made = yield* this.makeIn(who, parent, file);
    parent.dir.superblock.put(parent.dir);
    return made;
  }

  /** As `make`, in a directory the caller has a reference to. */
  *makeIn(who: Caller, { dir, name, mustBeDirectory }: Parent, file: NewFile): Steps<Inode | NegErrno> {
    if (isDotName(name)) return -Errno.EEXIST;
    const isDirectory = (file.mode & FileType.MASK) === FileType.DIRECTORY;
    const { superblock } = dir;
    const inode = yield* this.#inodes.alloc(who.task); // memory first, then locks
    if (typeof inode === 'number') return inode;
    inode.superblock = superblock;
    let status: NegErrno = yield* settle(dir.lock.exclusive(who.task));
    if (status === 0) {
      status = yield* this.#mayMake(who, dir, name, mustBeDirectory && !isDirectory);
      if (status === 0 && isDirectory && dir.nlink >= superblock.maxLinks) status = -Errno.EMLINK;
      if (status === 0) {
        this.#fill(who, dir, inode, file);
        status = yield* this.#changing(dir, null, () => superblock.ops.create(who.task, dir, name, inode));
      }
      if (status === 0) {
        superblock.adopt(inode);
        this.#names.set(dir, name, inode);
        this.#changes.renamed(dir, name, inode);
      }
      dir.lock.unlockExclusive();
    }
    if (status === 0) return inode;
    this.#inodes.free(inode);
    return status;
  }

  /** May a name be made in a directory that is locked? @param isSlashed a `/` followed the name of what is no directory. */
  *#mayMake(who: Caller, dir: Inode, name: string, isSlashed: boolean): Steps<NegErrno> {
    const existing = yield* this.#walk.lookupLocked(who.task, dir, name);
    if (typeof existing !== 'number') {
      existing.superblock.put(existing);
      return -Errno.EEXIST;
    }
    if (existing !== -Errno.ENOENT) return existing;
    if (isSlashed || dir.isDead) return -Errno.ENOENT;
    return mayUpdate(who, dir.superblock) || permission(who.credentials, dir, Access.WRITE | Access.EXECUTE);
  }

  #fill(who: Caller, dir: Inode, inode: Inode, { mode, linkTarget, rdev, owner }: NewFile): void {
    const type = mode & FileType.MASK;
    const inherits = (dir.mode & S_ISGID) !== 0;
    const { uid, gid } = owner ?? who.credentials;
    inode.uid = uid;
    inode.gid = inherits ? dir.gid : gid;
    const kept = type === FileType.DIRECTORY ? PERMISSION_BITS & ~(S_ISUID | S_ISGID) : PERMISSION_BITS;
    inode.mode = type | (type === FileType.SYMLINK ? 0o777 : mode & kept & ~who.umask);
    if (inherits && type === FileType.DIRECTORY) inode.mode |= S_ISGID;
    else if ((inode.mode & (S_ISGID | 0o010)) === (S_ISGID | 0o010) && who.credentials.uid !== 0 && !inGroup(who.credentials, inode.gid))
      inode.mode &= ~S_ISGID;
    inode.rdev = rdev ?? 0;
    inode.linkTarget = linkTarget ?? null;
    inode.accessedMs = inode.modifiedMs = inode.changedMs = inode.createdMs = this.#nowMs();
  }

  /** Sets the times that a change of a directory (and of a file's names) sets, has it done, and takes them back if it was not. */
  *#changing(dir: Inode, file: Inode | null, change: () => NegErrno | Promise<NegErrno>): Steps<NegErrno> {
    const { modifiedMs, changedMs } = dir;
    const fileChangedMs = file?.changedMs ?? 0;
    dir.modifiedMs = dir.changedMs = this.#nowMs();
    if (file !== null) file.changedMs = dir.changedMs;
    const status = yield* settle(change());
    if (status < 0) {
      dir.modifiedMs = modifiedMs;
      dir.changedMs = changedMs;
      if (file !== null) file.changedMs = fileChangedMs;
    }
    return status;
  }

  /** Gives a file, to which the caller has a reference, one more name. */
  *link(who: Caller, inode: Inode, path: string): Steps<NegErrno> {
    const parent = yield* this.#walk.parent(who, path);
    if (typeof parent === 'number') return parent;
    const status = yield* this.linkIn(who, inode, parent);
    parent.dir.superblock.put(parent.dir);
    return status;
  }

  /** As `link`, in a directory the caller has a reference to. */
  *linkIn(who: Caller, inode: Inode, { dir, name, mustBeDirectory }: Parent): Steps<NegErrno> {
    if (isDotName(name)) return -Errno.EEXIST;
    const locked = yield* settle(dir.lock.exclusive(who.task));
    if (locked < 0) return locked;
    let status = yield* this.#mayMake(who, dir, name, mustBeDirectory);
    if (status === 0 && inode.superblock !== dir.superblock) status = -Errno.EXDEV;
    if (status === 0 && inode.isDirectory) status = -Errno.EPERM;
    if (status === 0) status = yield* settle(inode.lock.exclusive(who.task));
    if (status === 0) {
      if (inode.nlink === 0) status = -Errno.ENOENT;
      else if (inode.nlink >= dir.superblock.maxLinks) status = -Errno.EMLINK;
      else status = yield* this.#changing(dir, inode, () => dir.superblock.ops.link(who.task, dir, name, inode));
      if (status === 0) {
        this.#names.set(dir, name, inode);
        this.#changes.renamed(dir, name, inode);
      }
      inode.lock.unlockExclusive();
    }
    dir.lock.unlockExclusive();
    return status;
  }

  /** Takes a name away: `unlink`, or `rmdir`. */
  *remove(who: Caller, path: string, isRmdir: boolean): Steps<NegErrno> {
    const parent = yield* this.#walk.parent(who, path);
    if (typeof parent === 'number') return parent;
    const status = yield* this.removeIn(who, parent, isRmdir);
    parent.dir.superblock.put(parent.dir);
    return status;
  }

  /** As `remove`, in a directory the caller has a reference to. */
  *removeIn(who: Caller, { dir, name, mustBeDirectory }: Parent, isRmdir: boolean): Steps<NegErrno> {
    if (isDotName(name)) return refusedDot(name, isRmdir);
    const refused = mayUpdate(who, dir.superblock);
    if (refused !== 0) return refused;
    const locked = yield* settle(dir.lock.exclusive(who.task));
    if (locked < 0) return locked;
    const inode = yield* this.#walk.lookupLocked(who.task, dir, name);
    let status = typeof inode === 'number' ? inode : 0;
    if (typeof inode !== 'number') {
      if (mustBeDirectory && !isRmdir) status = inode.isDirectory ? -Errno.EISDIR : -Errno.ENOTDIR;
      else status = yield* this.#removeInode(who, dir, name, inode, isRmdir);
      inode.superblock.put(inode);
    }
    dir.lock.unlockExclusive();
    return status;
  }

  *#removeInode(who: Caller, dir: Inode, name: string, inode: Inode, isRmdir: boolean): Steps<NegErrno> {
    const refused = mayRemove(who.credentials, dir, inode);
    if (refused !== 0) return refused;
    if (isRmdir !== inode.isDirectory) return isRmdir ? -Errno.ENOTDIR : -Errno.EISDIR;
    if (inode.mountedRoot !== null) return -Errno.EBUSY;
    let status = yield* settle(inode.lock.exclusive(who.task));
    if (status !== 0) return status;
    status = yield* this.#changing(dir, inode, () => dir.superblock.ops.remove(who.task, dir, name, inode));
    if (status === 0) {
      this.#names.set(dir, name, null);
      this.#lostName(inode);
      this.#changes.renamed(dir, name, inode);
    }
    inode.lock.unlockExclusive();
    return status;
  }

  /** What there is to forget of an inode that has lost a name. */
  #lostName(inode: Inode): void {
    if (!inode.isDirectory) return;
    inode.isDead = true;
    this.#names.dropIn(inode);
  }

  /** Moves a name. @param flags of `RenameFlag`. */
  *rename(who: Caller, fromPath: string, toPath: string, flags: number): Steps<NegErrno> {
    const from = yield* this.#walk.parent(who, fromPath);
    if (typeof from === 'number') return from;
    const to = yield* this.#walk.parent(who, toPath);
    const status = typeof to === 'number' ? to : yield* this.renameIn(who, from, to, flags);
    if (typeof to !== 'number') to.dir.superblock.put(to.dir);
    from.dir.superblock.put(from.dir);
    return status;
  }

  /** As `rename`, between directories the caller has references to. */
  *renameIn(who: Caller, from: Parent, to: Parent, flags: number): Steps<NegErrno> {
    if (from.dir.superblock !== to.dir.superblock) return -Errno.EXDEV;
    if (isDotName(from.name)) return -Errno.EBUSY;
    if (isDotName(to.name)) return (flags & RenameFlag.NO_REPLACE) !== 0 ? -Errno.EEXIST : -Errno.EBUSY;
    return mayUpdate(who, from.dir.superblock) || (yield* this.#renameLocking(who, from, to, flags));
  }

  *#renameLocking(who: Caller, from: Parent, to: Parent, flags: number): Steps<NegErrno> {
    const { task } = who;
    if (from.dir === to.dir) {
      const locked = yield* settle(from.dir.lock.exclusive(task));
      if (locked < 0) return locked;
      const status = yield* this.#renameIn(who, from, to, flags, NOBODY, NOBODY);
      from.dir.lock.unlockExclusive();
      return status;
    }
    const { renameLock } = from.dir.superblock;
    let status = yield* settle(renameLock.exclusive(task));
    if (status < 0) return status;
    const aboveFrom = yield* this.#ancestors(task, from.dir);
    const aboveTo = typeof aboveFrom === 'number' ? aboveFrom : yield* this.#ancestors(task, to.dir);
    if (typeof aboveFrom === 'number' || typeof aboveTo === 'number') status = aboveTo as NegErrno;
    else {
      const fromFirst = aboveTo.has(from.dir.ino) || (!aboveFrom.has(to.dir.ino) && from.dir.ino < to.dir.ino);
      const [first, second] = fromFirst ? [from.dir, to.dir] : [to.dir, from.dir];
      status = yield* settle(first.lock.exclusive(task));
      if (status === 0) {
        status = yield* settle(second.lock.exclusive(task));
        if (status === 0) {
          status = yield* this.#renameIn(who, from, to, flags, aboveFrom, aboveTo);
          second.lock.unlockExclusive();
        }
        first.lock.unlockExclusive();
      }
    }
    renameLock.unlockExclusive();
    return status;
  }

  /** Numbers of the directories above one, itself included. The tree stands still: the rename lock is held. */
  *#ancestors(task: TaskContext, dir: Inode): Steps<ReadonlySet<number> | NegErrno> {
    const numbers = new Set<number>();
    let at = dir;
    at.nrRefs++;
    let status = 0;
    while (!numbers.has(at.ino) && numbers.size < DEPTH_MAX) {
      numbers.add(at.ino);
      if (at === at.superblock.root) break;
      let parent: Inode | NegErrno;
      if (at.namedBy !== null) {
        parent = at.namedBy.dir;
        parent.nrRefs++;
      } else parent = yield* this.#walk.lookup(task, at, '..');
      at.superblock.put(at);
      if (typeof parent === 'number') return parent;
      at = parent;
    }
    if (at !== at.superblock.root) status = -Errno.EUCLEAN;
    at.superblock.put(at);
    return status < 0 ? status : numbers;
  }

  /** Both directories are locked. */
  *#renameIn(
    who: Caller,
    from: Parent,
    to: Parent,
    flags: number,
    aboveFrom: ReadonlySet<number>,
    aboveTo: ReadonlySet<number>,
  ): Steps<NegErrno> {
    const inode = yield* this.#walk.lookupLocked(who.task, from.dir, from.name);
    if (typeof inode === 'number') return inode;
    const target = yield* this.#walk.lookupLocked(who.task, to.dir, to.name);
    let status: NegErrno;
    if (typeof target === 'number' && target !== -Errno.ENOENT) status = target;
    else {
      const replaced = typeof target === 'number' ? null : target;
      status = checkRename(who, from, to, flags, inode, replaced, aboveFrom, aboveTo);
      if (status === 0) status = yield* this.#renameInode(who, from, to, flags, inode, replaced);
      else if (status === SAME_FILE) status = 0;
      replaced?.superblock.put(replaced);
    }
    inode.superblock.put(inode);
    return status;
  }

  *#renameInode(who: Caller, from: Parent, to: Parent, flags: number, inode: Inode, replaced: Inode | null): Steps<NegErrno> {
    const { task } = who;
    const isExchange = (flags & RenameFlag.EXCHANGE) !== 0;
    const isFirst = replaced === null || inode.ino < replaced.ino;
    const first = isFirst ? inode : (replaced as Inode);
    const second = isFirst ? replaced : inode;
    let status = yield* settle(first.lock.exclusive(task));
    if (status < 0) return status;
    if (second !== null) status = yield* settle(second.lock.exclusive(task));
    if (status === 0) {
      const { modifiedMs, changedMs } = to.dir;
      const replacedMs = replaced?.changedMs ?? 0;
      if (from.dir !== to.dir) to.dir.modifiedMs = to.dir.changedMs = this.#nowMs();
      if (replaced !== null) replaced.changedMs = this.#nowMs();
      const move = { fromDir: from.dir, fromName: from.name, inode, toDir: to.dir, toName: to.name, replaced, isExchange };
      status = yield* this.#changing(from.dir, inode, () => from.dir.superblock.ops.rename(task, move));
      if (status < 0) {
        if (from.dir !== to.dir) {
          to.dir.modifiedMs = modifiedMs;
          to.dir.changedMs = changedMs;
        }
        if (replaced !== null) replaced.changedMs = replacedMs;
      } else {
        this.#names.set(from.dir, from.name, isExchange ? replaced : null);
        this.#names.set(to.dir, to.name, inode);
        if (replaced !== null && !isExchange) this.#lostName(replaced);
        this.#changes.renamed(from.dir, from.name, inode);
        this.#changes.renamed(to.dir, to.name, inode);
      }
      second?.lock.unlockExclusive();
    }
    first.lock.unlockExclusive();
    return status;
  }
}

const NOBODY: ReadonlySet<number> = new Set();
/** Both names are of one file: nothing is to be done. */
const SAME_FILE = 1;

/** The rules of rename, in the order in which Linux tests them. */
function checkRename(
  who: Caller,
  from: Parent,
  to: Parent,
  flags: number,
  inode: Inode,
  replaced: Inode | null,
  aboveFrom: ReadonlySet<number>,
  aboveTo: ReadonlySet<number>,
): NegErrno | typeof SAME_FILE {
  const isExchange = (flags & RenameFlag.EXCHANGE) !== 0;
  if ((flags & RenameFlag.NO_REPLACE) !== 0 && replaced !== null) return -Errno.EEXIST;
  if (isExchange && replaced === null) return -Errno.ENOENT;
  if (isExchange && to.mustBeDirectory && !(replaced as Inode).isDirectory) return -Errno.ENOTDIR;
  if (!inode.isDirectory && (from.mustBeDirectory || (!isExchange && to.mustBeDirectory))) return -Errno.ENOTDIR;
  if (aboveTo.has(inode.ino)) return -Errno.EINVAL;
  if (replaced !== null && aboveFrom.has(replaced.ino)) return isExchange ? -Errno.EINVAL : -Errno.ENOTEMPTY;
  if (inode === replaced) return SAME_FILE;
  const { credentials } = who;
  let status = mayRemove(credentials, from.dir, inode);
  if (status !== 0) return status;
  status = replaced === null ? permission(credentials, to.dir, Access.WRITE | Access.EXECUTE) : mayRemove(credentials, to.dir, replaced);
  if (status !== 0) return status;
  if (replaced === null && to.dir.isDead) return -Errno.ENOENT;
  if (replaced !== null && !isExchange && inode.isDirectory !== replaced.isDirectory)
    return inode.isDirectory ? -Errno.ENOTDIR : -Errno.EISDIR;
  if (from.dir !== to.dir) {
    for (const moved of isExchange ? [inode, replaced as Inode] : [inode])
      if (moved.isDirectory && permission(credentials, moved, Access.WRITE) !== 0) return -Errno.EACCES;
  }
  if (inode.mountedRoot !== null || (replaced !== null && replaced.mountedRoot !== null)) return -Errno.EBUSY;
  const addsToNew = inode.isDirectory && from.dir !== to.dir && !replaced?.isDirectory;
  return addsToNew && to.dir.nlink >= to.dir.superblock.maxLinks ? -Errno.EMLINK : 0;
}

/** What removing `.`, `..` or the root fails with. */
function refusedDot(name: string, isRmdir: boolean): NegErrno {
  if (!isRmdir) return -Errno.EISDIR;
  return name === '.' ? -Errno.EINVAL : name === '..' ? -Errno.ENOTEMPTY : -Errno.EBUSY;
}
