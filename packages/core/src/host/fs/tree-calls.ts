/** The calls of `node:fs` on directories and whole trees: `mkdir`, `rmdir`, `readdir`, `rm`, `cp`. In steps; arguments are Node's. */
import type { NegErrno } from '../../base/errno.js';
import { Errno } from '../../base/errno.js';
import { permission } from '../../vfs/credentials.js';
import type { Inode } from '../../vfs/inode.js';
import { Access, FileType, OpenFlag } from '../../vfs/mode.js';
import { BATCH_MAX, type DirectoryEntry } from '../../vfs/read-directory.js';
import { type Steps, settle } from '../../vfs/steps.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import { toMode, toOptions, toPath } from './arguments.js';
import { FsError, nodeError, wrongType } from './errors.js';
import type { FileCalls } from './file-calls.js';
import { check, encoded, flag, join, must } from './path-calls.js';
import { Dirent } from './stats.js';

export class TreeCalls {
  readonly #vfs: Vfs;
  readonly #files: FileCalls;

  constructor(vfs: Vfs, files: FileCalls) {
    this.#vfs = vfs;
    this.#files = files;
  }

  /** @returns with `recursive`, the first directory that was made. */
  *mkdir(who: Caller, path: unknown, options?: unknown): Steps<string | undefined> {
    const given = typeof options === 'number' || typeof options === 'string' ? { mode: options } : toOptions(options);
    const at = toPath(path);
    const isRecursive = flag(given, 'recursive');
    const mode = FileType.DIRECTORY | toMode(given.mode, 'mode', 0o777);
    if (isRecursive) return yield* this.#mkdirAll(who, at, mode);
    check(yield* this.#make(who, at, mode), 'mkdir', at);
    return undefined;
  }

  *#make(who: Caller, path: string, mode: number): Steps<NegErrno> {
    const made = yield* this.#vfs.directories.make(who, path, { mode });
    if (typeof made === 'number') return made;
    made.superblock.put(made);
    return 0;
  }

  /** Makes a directory and those above it that are missing, in Node's order. @returns the first that was made. */
  *#mkdirAll(who: Caller, path: string, mode: number): Steps<string | undefined> {
    const left = [path];
    let first: string | undefined;
    for (let at = left.pop(); at !== undefined; at = left.pop()) {
      const status = yield* this.#make(who, at, mode);
      if (status === 0) {
        first ??= at;
        continue;
      }
      const above = at.slice(0, Math.max(at.lastIndexOf('/'), 0));
      if (status === -Errno.ENOENT && above !== '') {
        left.push(at, above);
        continue;
      }
      if (status !== -Errno.EEXIST) throw new FsError(status, 'mkdir', at);
      const there = yield* this.#vfs.statSteps(who, at, true);
      if (typeof there !== 'number' && there.isDirectory) continue;
      throw new FsError(left.length > 0 ? -Errno.ENOTDIR : typeof there === 'number' ? there : status, 'mkdir', at);
    }
    return first;
  }

  *rmdir(who: Caller, path: unknown, options?: unknown): Steps<void> {
    const at = toPath(path);
    if (flag(toOptions(options), 'recursive')) return yield* this.rm(who, path, { recursive: true });
    check(yield* this.#vfs.directories.remove(who, at, true), 'rmdir', at);
  }

  /** Names in a directory, sorted by name as libuv sorts them. */
  *readdir(who: Caller, path: unknown, options?: unknown): Steps<(string | Buffer | Dirent)[]> {
    const given = toOptions(options);
    const at = toPath(path);
    const isRecursive = flag(given, 'recursive');
    const found: (string | Buffer | Dirent)[] = [];
    const below: { shown: string; path: string }[] = [{ shown: '', path: at }];
    for (const dir of below) {
      for (const { name, type } of yield* this.list(who, dir.path, 'scandir')) {
        const inside = join(dir.path, name);
        found.push(
          given.withFileTypes === true
            ? new Dirent(encoded(name, given.encoding), dir.path, type)
            : encoded(join(dir.shown, name), given.encoding),
        );
        if (isRecursive && type === FileType.DIRECTORY) below.push({ shown: join(dir.shown, name), path: inside });
      }
    }
    return found;
  }

  /** Every entry of a directory, sorted, each with its type. @throws FsError. */
  *list(who: Caller, path: string, syscall: string): Steps<DirectoryEntry[]> {
    const dir = must(yield* this.#vfs.resolve(who, path), syscall, path) as Inode;
    try {
      if (!dir.isDirectory) throw new FsError(-Errno.ENOTDIR, syscall, path);
      check(permission(who.credentials, dir, Access.READ), syscall, path);
      const entries: DirectoryEntry[] = [];
      for (let cookie = 0; ; ) {
        const batch = yield* this.#vfs.readDirectory(who, dir, cookie, BATCH_MAX);
        if (typeof batch === 'number') throw new FsError(batch, syscall, path);
        entries.push(...batch);
        if (batch.length < BATCH_MAX) break;
        cookie = batch[batch.length - 1].cookie;
      }
      for (let i = 0; i < entries.length; i++) if (entries[i].type === 0) entries[i] = yield* this.#typed(who, path, entries[i]);
      return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    } finally {
      dir.superblock.put(dir);
    }
  }

  *#typed(who: Caller, path: string, entry: DirectoryEntry): Steps<DirectoryEntry> {
    const inode = yield* this.#vfs.statSteps(who, join(path, entry.name), false);
    return typeof inode === 'number' ? entry : { ...entry, type: inode.mode & FileType.MASK };
  }

  *rm(who: Caller, path: unknown, options?: unknown): Steps<void> {
    const given = toOptions(options);
    const at = toPath(path);
    const isForced = flag(given, 'force');
    const isRecursive = flag(given, 'recursive');
    const inode = yield* this.#vfs.statSteps(who, at, false);
    if (typeof inode === 'number') {
      if (isForced && inode === -Errno.ENOENT) return;
      throw new FsError(inode, 'lstat', at);
    }
    if (inode.isDirectory && !isRecursive)
      throw nodeError('ERR_FS_EISDIR', `Path is a directory: rm returned EISDIR (is a directory) ${at}`, SystemError);
    if (inode.isDirectory) yield* this.#removeTree(who, at);
    else check(yield* this.#vfs.directories.remove(who, at, false), 'unlink', at);
  }

  /** Directories deepest first; what somebody else removes meanwhile is as good as removed. */
  *#removeTree(who: Caller, top: string): Steps<void> {
    const first = yield* this.#vfs.directories.remove(who, top, true);
    if (first === 0 || first === -Errno.ENOENT) return;
    if (first !== -Errno.ENOTEMPTY) throw new FsError(first, 'rmdir', top);
    const dirs = [top];
    for (const dir of dirs) {
      for (const { name, type } of yield* this.list(who, dir, 'scandir')) {
        const inside = join(dir, name);
        if (type === FileType.DIRECTORY) dirs.push(inside);
        else {
          const status = yield* this.#vfs.directories.remove(who, inside, false);
          if (status !== -Errno.ENOENT) check(status, 'unlink', inside);
        }
      }
    }
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      const status = yield* this.#vfs.directories.remove(who, dir, true);
      if (status !== -Errno.ENOENT) check(status, 'rmdir', dir);
    }
  }

  *cp(who: Caller, source: unknown, destination: unknown, options?: unknown): Steps<void> {
    const given = toOptions(options);
    const from = toPath(source, 'src');
    const to = toPath(destination, 'dest');
    const how: CopyOptions = {
      isRecursive: flag(given, 'recursive'),
      isForced: flag(given, 'force', true),
      isErrorOnExist: flag(given, 'errorOnExist'),
      dereference: flag(given, 'dereference'),
      keepsTimes: flag(given, 'preserveTimestamps'),
      keepsLinks: flag(given, 'verbatimSymlinks'),
      filter: given.filter as CopyOptions['filter'],
      mode: toMode(given.mode, 'mode', 0),
    };
    if (how.filter !== undefined && typeof how.filter !== 'function') throw wrongType('options.filter', 'of type function', how.filter);
    const inode = must(yield* this.#vfs.statSteps(who, from, how.dereference), 'lstat', from);
    if (inode.isDirectory && !how.isRecursive)
      throw nodeError(
        'ERR_FS_EISDIR',
        `Recursive option not enabled, cannot copy a directory: cp returned EISDIR (${from} is a directory (not copied)) ${from}`,
        SystemError,
      );
    const target = yield* this.#vfs.statSteps(who, to, how.dereference);
    if (typeof target !== 'number') {
      if (target === inode)
        throw nodeError('ERR_FS_CP_EINVAL', `Invalid src or dest: cp returned EINVAL (src and dest cannot be the same) ${to}`, SystemError);
      if (inode.isDirectory && !target.isDirectory)
        throw nodeError(
          'ERR_FS_CP_DIR_TO_NON_DIR',
          `Cannot overwrite non-directory with directory: cp returned EISDIR (cannot overwrite directory ${from} with non-directory ${to}) ${to}`,
          SystemError,
        );
      if (!inode.isDirectory && target.isDirectory)
        throw nodeError(
          'ERR_FS_CP_NON_DIR_TO_DIR',
          `Cannot overwrite directory with non-directory: cp returned ENOTDIR (cannot overwrite non-directory ${from} with directory ${to}) ${to}`,
          SystemError,
        );
    }
    const realFrom = yield* this.#vfs.realPath(who, from);
    const parent = to.replace(/\/*[^/]*\/*$/, '');
    if (parent !== '') yield* this.#mkdirAll(who, parent, FileType.DIRECTORY | 0o777);
    const realTo = yield* this.#vfs.realPath(who, parent === '' ? '/' : parent);
    if (inode.isDirectory && typeof realFrom === 'string' && typeof realTo === 'string' && `${realTo}/`.startsWith(`${realFrom}/`))
      throw nodeError(
        'ERR_FS_CP_EINVAL',
        `Invalid src or dest: cp returned EINVAL (cannot copy ${from} to a subdirectory of self ${to}) ${to}`,
        SystemError,
      );
    yield* this.#copy(who, from, to, how);
  }

  *#copy(who: Caller, from: string, to: string, how: CopyOptions): Steps<void> {
    if (how.filter !== undefined && !(yield* settle(how.filter(from, to)))) return;
    const inode = must(yield* this.#vfs.statSteps(who, from, how.dereference), 'lstat', from);
    const { mode, accessedMs, modifiedMs } = inode;
    if (inode.isDirectory) {
      const status = yield* this.#make(who, to, FileType.DIRECTORY | (mode & 0o777));
      if (status !== -Errno.EEXIST) check(status, 'mkdir', to);
      for (const { name } of yield* this.list(who, from, 'scandir')) yield* this.#copy(who, join(from, name), join(to, name), how);
    } else {
      const there = yield* this.#vfs.statSteps(who, to, false);
      if (typeof there !== 'number') {
        if (!how.isForced) {
          if (how.isErrorOnExist)
            throw nodeError('ERR_FS_CP_EEXIST', `Target already exists: cp returned EEXIST (${to} already exists) ${to}`, SystemError);
          return;
        }
        if (inode.isSymlink || there.isSymlink) check(yield* this.#vfs.directories.remove(who, to, false), 'unlink', to);
      }
      if (inode.isSymlink) yield* this.#copyLink(who, from, to, how);
      else if (inode.isRegular) yield* this.#files.copyFile(who, from, to, how.mode);
      else throw nodeError('ERR_FS_CP_UNKNOWN', `Cannot copy an unknown file type: cp returned EINVAL (${from}) ${from}`, SystemError);
    }
    if (!how.keepsTimes || inode.isSymlink) return;
    const { attributes } = this.#vfs;
    const times = { accessed: accessedMs, modified: modifiedMs };
    check(yield* this.#vfs.at(who, to, true, (made) => attributes.changeTimes(who, made, times)), 'utime', to);
  }

  /** A link leads where it led: as it stands, or from the root. */
  *#copyLink(who: Caller, from: string, to: string, how: CopyOptions): Steps<void> {
    const target = must(yield* this.#vfs.readLink(who, from), 'readlink', from);
    const above = yield* this.#vfs.realPath(who, from.replace(/\/*[^/]*$/, '') || '/');
    const linkTarget = how.keepsLinks || target.startsWith('/') || typeof above === 'number' ? target : join(above, target);
    const made = must(yield* this.#vfs.directories.make(who, to, { mode: FileType.SYMLINK, linkTarget }), 'symlink', linkTarget, to);
    made.superblock.put(made);
  }

  /** Opens a directory, to be read bit by bit. */
  *openDirectory(who: Caller, path: string): Steps<import('../../vfs/open-file.js').OpenFile> {
    return must(yield* this.#vfs.open(who, path, OpenFlag.READ_ONLY | OpenFlag.DIRECTORY, 0), 'opendir', path);
  }
}

interface CopyOptions {
  readonly isRecursive: boolean;
  readonly isForced: boolean;
  readonly isErrorOnExist: boolean;
  readonly dereference: boolean;
  readonly keepsTimes: boolean;
  readonly keepsLinks: boolean;
  readonly filter?: (from: string, to: string) => boolean | Promise<boolean>;
  readonly mode: number;
}

/** The name Node gives to errors about whole trees. */
class SystemError extends Error {
  override name = 'SystemError';
}
