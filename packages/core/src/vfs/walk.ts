/**
 * From a path to an inode.
 *
 * | rule | |
 * |---|---|
 * | a path is | at most 4095 bytes; each name in it at most 255 (ENAMETOOLONG); not empty (ENOENT); without NUL (EINVAL) |
 * | each directory on the way | must be one (ENOTDIR), and may be searched (EACCES) |
 * | a symbolic link | is followed within the path, at its end if asked for or if `/` follows; 40 at most (ELOOP) |
 * | `..` | of a root is that root; of the root of a mount, the parent of what it is mounted on |
 * | a `/` at the end | wants a directory |
 * | a directory that is mounted on | stands for the root of what was mounted last |
 *
 * `cached` answers from the name cache or not at all, and allocates nothing; `resolve` goes wherever it must.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import type { TaskContext } from '../task/task-context.js';
import { type Credentials, permission } from './credentials.js';
import type { FoundEntry } from './file-system.js';
import type { Inode } from './inode.js';
import { Access, NAME_MAX, PATH_MAX, SYMLINKS_MAX } from './mode.js';
import { nameBytes, unitBytes } from './name.js';
import { hashSeed, hashUnit, type NameCache } from './name-cache.js';
import { ready, type Steps, settle } from './steps.js';
import { patientOf } from './superblock.js';

/** Who walks, and from where. */
export interface Caller {
  readonly task: TaskContext;
  readonly credentials: Credentials;
  /** Permission bits that new files do not get. */
  readonly umask: number;
  readonly root: Inode;
  readonly cwd: Inode;
  /** False for a caller that is to get EAGAIN where it would have to wait. Its task's signal has aborted with that. */
  readonly mayWait: boolean;
}

/** `cached` does not know. */
export const NOT_CACHED: NegErrno = -0x10000;

/** A directory, with a reference, and a name in it. */
export interface Parent {
  readonly dir: Inode;
  /** May be `.`, `..`, or '' for the root itself. */
  readonly name: string;
  /** A `/` followed the name. */
  readonly mustBeDirectory: boolean;
  /** Symbolic links followed so far. */
  readonly nrLinks: number;
}

const SLASH = 47;
const DOT = 46;

export class PathWalk {
  readonly #names: NameCache;
  /** Lookups under way have one each; most are at once. */
  readonly #spareFound: FoundEntry[] = [];

  constructor(names: NameCache) {
    this.#names = names;
  }

  /**
   * The inode of a path, if every name on the way is cached and none is a symbolic link. Without a reference: it is good until the next
   * wait.
   * @returns it, a negative errno, or `NOT_CACHED`. Allocates nothing.
   */
  cached(who: Caller, path: string, mayEndInLink: boolean): Inode | NegErrno {
    const { length } = path;
    if (length === 0 || length * 3 >= PATH_MAX) return NOT_CACHED;
    let at = 0;
    let dir = path.charCodeAt(0) === SLASH ? who.root : who.cwd;
    for (;;) {
      while (at < length && path.charCodeAt(at) === SLASH) at++;
      if (at === length) return dir.superblock.isShared ? NOT_CACHED : dir;
      if (!dir.isDirectory || dir.superblock.isShared) return NOT_CACHED;
      const status = permission(who.credentials, dir, Access.EXECUTE);
      if (status !== 0) return status;
      const from = at;
      let hash = hashSeed(dir);
      for (let unit = path.charCodeAt(at); at < length && unit !== SLASH; unit = path.charCodeAt(++at)) hash = hashUnit(hash, unit);
      if (path.charCodeAt(from) === DOT && at - from <= 2) {
        if (at - from === 1) continue;
        if (path.charCodeAt(from + 1) === DOT) return NOT_CACHED;
      }
      const entry = this.#names.findHashed(dir, path, from, at, hash);
      if (entry === null) return NOT_CACHED;
      const { inode } = entry;
      if (inode === null) return -Errno.ENOENT;
      dir = inode;
      while (dir.mountedRoot !== null) dir = dir.mountedRoot;
      if (dir.isSymlink && (!mayEndInLink || at < length)) return NOT_CACHED;
      if (at < length && !dir.isDirectory) return -Errno.ENOTDIR;
    }
  }

  /**
   * As `parent`, if every directory on the way is cached and none is reached by way of a symbolic link. Null if it does not know. The last
   * name is plain ASCII then, and neither `.` nor `..`.
   */
  #parentCached(who: Caller, path: string): Parent | NegErrno | null {
    const { length } = path;
    if (length === 0 || length >= PATH_MAX) return null;
    let at = 0;
    let dir = path.charCodeAt(0) === SLASH ? who.root : who.cwd;
    for (;;) {
      while (at < length && path.charCodeAt(at) === SLASH) at++;
      if (!dir.isDirectory || dir.superblock.isShared) return null;
      const from = at;
      let hash = hashSeed(dir);
      for (let unit = path.charCodeAt(at); at < length && unit !== SLASH; unit = path.charCodeAt(++at)) {
        if (unit === 0 || unit >= 0x80) return null;
        hash = hashUnit(hash, unit);
      }
      if (at - from <= 2 && (at === from || path.charCodeAt(from) === DOT)) return null;
      const status = permission(who.credentials, dir, Access.EXECUTE);
      if (at === length) {
        if (status !== 0) return status;
        dir.nrRefs++;
        return { dir, name: path.slice(from), mustBeDirectory: false, nrLinks: 0 };
      }
      if (status !== 0) return null; // something else may be wrong with the path behind
      const inode = this.#names.findHashed(dir, path, from, at, hash)?.inode ?? null;
      if (inode === null || inode.isSymlink) return null;
      dir = inode;
      while (dir.mountedRoot !== null) dir = dir.mountedRoot;
    }
  }

  /** The inode of a path, with a reference. @param follow whether a symbolic link at the end is followed. */
  *resolve(who: Caller, path: string, follow: boolean): Steps<Inode | NegErrno> {
    const parent = yield* this.parent(who, path);
    return typeof parent === 'number' ? parent : yield* this.finish(who, parent, follow);
  }

  /** The inode of the name a walk has stopped before, with a reference; takes the parent's over. */
  *finish(who: Caller, parent: Parent, follow: boolean): Steps<Inode | NegErrno> {
    for (let at = parent; ; ) {
      const inode = yield* this.step(who, at);
      if (typeof inode === 'number') return inode;
      if (!inode.isSymlink || (!follow && !at.mustBeDirectory)) {
        if (inode.isSymlink) at.dir.superblock.put(at.dir);
        if (!at.mustBeDirectory || inode.isDirectory) return inode;
        inode.superblock.put(inode);
        return -Errno.ENOTDIR;
      }
      const next = yield* this.follow(who, at, inode);
      if (typeof next === 'number') return next;
      at = next;
    }
  }

  /** As `finish`, for one name: a link is not followed. The parent's reference is kept if the result is a symbolic link, else given back. */
  step(who: Caller, parent: Parent): Steps<Inode | NegErrno> {
    const { dir, name } = parent;
    const inode = isPlain(name) ? this.#known(dir, name) : null;
    if (inode === null) return this.#stepSlow(who, parent);
    if (typeof inode === 'number' || !inode.isSymlink) dir.superblock.put(dir);
    return ready(inode);
  }

  *#stepSlow(who: Caller, { dir, name }: Parent): Steps<Inode | NegErrno> {
    const inode =
      name === '' || name === '.' ? ref(dir) : name === '..' ? yield* this.#up(who, dir) : yield* this.lookup(who.task, dir, name);
    if (typeof inode === 'number' || !inode.isSymlink) dir.superblock.put(dir);
    return inode;
  }

  /** Goes on where a symbolic link leads, up to its last name. Gives both references back. */
  *follow(who: Caller, { dir, mustBeDirectory, nrLinks }: Parent, link: Inode): Steps<Parent | NegErrno> {
    const target = nrLinks < SYMLINKS_MAX ? yield* readLink(who.task, link) : -Errno.ELOOP;
    link.superblock.put(link);
    const path = typeof target === 'string' && mustBeDirectory ? `${target}/` : target;
    const next = typeof path === 'number' ? path : yield* this.#parentFrom(who, dir, path, nrLinks + 1);
    dir.superblock.put(dir);
    return next;
  }

  /** The directory of the last name of a path, and that name. */
  parent(who: Caller, path: string): Steps<Parent | NegErrno> {
    const cached = this.#parentCached(who, path);
    return cached === null ? this.#parentFrom(who, who.cwd, path, 0) : ready(cached);
  }

  *#parentFrom(who: Caller, start: Inode, path: string, linksBefore: number): Steps<Parent | NegErrno> {
    const bytes = nameBytes(path);
    if (bytes < 0) return bytes;
    if (bytes >= PATH_MAX) return -Errno.ENAMETOOLONG;
    if (path === '') return -Errno.ENOENT;
    if (path.includes('\0')) return -Errno.EINVAL;
    let nrLinks = linksBefore;
    let rest = path;
    let dir = ref(path.charCodeAt(0) === SLASH ? who.root : start);
    for (;;) {
      rest = rest.replace(/^\/+/, '');
      const end = rest.indexOf('/');
      const name = end < 0 ? rest : rest.slice(0, end);
      const after = end < 0 ? '' : rest.slice(end).replace(/^\/+/, '');
      const status = dir.isDirectory ? permission(who.credentials, dir, Access.EXECUTE) : -Errno.ENOTDIR;
      if (status !== 0) {
        dir.superblock.put(dir);
        return status;
      }
      if (after === '') return { dir, name, mustBeDirectory: end >= 0 || name === '', nrLinks };
      const next = yield* this.step(who, { dir, name, mustBeDirectory: true, nrLinks });
      if (typeof next === 'number') return next;
      rest = after;
      if (next.isSymlink) {
        const target = nrLinks++ < SYMLINKS_MAX ? yield* readLink(who.task, next) : -Errno.ELOOP;
        next.superblock.put(next);
        if (typeof target === 'number') {
          dir.superblock.put(dir);
          return target;
        }
        rest = `${target}/${rest}`;
        if (target.startsWith('/')) {
          dir.superblock.put(dir);
          dir = ref(who.root);
        }
      } else dir = next;
    }
  }

  *#up(who: Caller, dir: Inode): Steps<Inode | NegErrno> {
    let at = dir;
    if (at === who.root) return ref(at);
    while (at.superblock.root === at && at.superblock.mountpoint !== null) {
      at = at.superblock.mountpoint;
      if (at === who.root) return ref(at);
    }
    if (at.superblock.root === at) return ref(at);
    const parent = at.namedBy === null ? yield* this.lookup(who.task, at, '..') : ref(at.namedBy.dir);
    return typeof parent === 'number' ? parent : mountedOn(parent);
  }

  /** What a name in a directory stands for, with a reference; mounts are entered. Takes the directory's lock if it must ask. */
  lookup(task: TaskContext, dir: Inode, name: string): Steps<Inode | NegErrno> {
    const cached = this.#known(dir, name);
    return cached === null ? this.#lookupSlow(task, dir, name) : ready(cached);
  }

  /** True if only the filesystem can say what a name stands for. */
  isUnknown({ dir, name }: Parent): boolean {
    return isPlain(name) && !dir.superblock.isShared && this.#names.find(dir, name, 0, name.length) === null;
  }

  /** As `lookup`, from the name cache; null if that does not know. */
  #known(dir: Inode, name: string): Inode | NegErrno | null {
    if (dir.superblock.isShared) return null;
    const entry = this.#names.find(dir, name, 0, name.length);
    if (entry === null) return null;
    return entry.inode === null ? -Errno.ENOENT : mountedOn(ref(entry.inode));
  }

  *#lookupSlow(task: TaskContext, dir: Inode, name: string): Steps<Inode | NegErrno> {
    if (dir.superblock.isShared) {
      const status = yield* settle(dir.superblock.ops.refresh(task, dir, null));
      if (status < 0) return status;
      const entry = this.#names.find(dir, name, 0, name.length);
      if (entry !== null) return entry.inode === null ? -Errno.ENOENT : mountedOn(ref(entry.inode));
    }
    const locked = yield* settle(dir.lock.shared(task));
    if (locked < 0) return locked;
    const inode = yield* this.lookupLocked(task, dir, name);
    dir.lock.unlockShared();
    return typeof inode === 'number' ? inode : mountedOn(inode);
  }

  /** As `lookup`, for who holds the directory's lock; mounts are not entered. */
  lookupLocked(task: TaskContext, dir: Inode, name: string): Steps<Inode | NegErrno> {
    const entry = this.#names.find(dir, name, 0, name.length);
    if (entry !== null) return ready(entry.inode === null ? -Errno.ENOENT : ref(entry.inode));
    return isTooLong(name) ? ready(-Errno.ENAMETOOLONG) : this.#ask(task, dir, name);
  }

  *#ask(task: TaskContext, dir: Inode, name: string): Steps<Inode | NegErrno> {
    const { superblock } = dir;
    const found = this.#spareFound.pop() ?? { ino: 0, hint: null };
    const status = dir.isDead ? -Errno.ENOENT : yield* settle(superblock.ops.lookup(patientOf(task), dir, name, found));
    const { ino, hint } = found;
    found.hint = null;
    this.#spareFound.push(found);
    if (status < 0) {
      if (status === -Errno.ENOENT && name !== '..' && !dir.isDead) this.#names.set(dir, name, null);
      return status;
    }
    const inode = yield* superblock.get(task, ino, hint);
    if (typeof inode === 'number') return inode === -Errno.ESTALE ? -Errno.ENOENT : inode;
    if (name !== '..') this.#names.set(dir, name, inode);
    return inode;
  }
}

/** Where a symbolic link leads; read once. */
export function* readLink(task: TaskContext, inode: Inode): Steps<string | NegErrno> {
  if (inode.linkTarget === null) {
    const target = yield* settle(inode.superblock.ops.readLink(patientOf(task), inode));
    if (typeof target === 'number') return target;
    inode.linkTarget = target;
  }
  return inode.linkTarget === '' ? -Errno.ENOENT : inode.linkTarget;
}

function isPlain(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..';
}

function ref(inode: Inode): Inode {
  inode.nrRefs++;
  return inode;
}

/** The root of what is mounted on an inode, however deep, in exchange for the reference. */
export function mountedOn(inode: Inode): Inode {
  let at = inode;
  while (at.mountedRoot !== null) at = at.mountedRoot;
  if (at !== inode) {
    at.nrRefs++;
    inode.superblock.put(inode);
  }
  return at;
}

function isTooLong(name: string): boolean {
  if (name.length * 3 <= NAME_MAX) return false;
  let bytes = 0;
  for (let i = 0; i < name.length; i++) bytes += unitBytes(name, i);
  return bytes > NAME_MAX;
}
