/**
 * The calls of `node:fs` that name files by path and do one thing. Each is written once, in steps (vfs/steps.ts); the three faces
 * (promises, synchronous, callbacks) run it. Arguments after the caller are Node's.
 */
import type { NegErrno } from '../../base/errno.js';
import type { FileSystemRoom } from '../../vfs/file-system.js';
import type { Inode } from '../../vfs/inode.js';
import { FileType, OpenFlag } from '../../vfs/mode.js';
import { decodeName, encodeName } from '../../vfs/name.js';
import { type Steps } from '../../vfs/steps.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import { type Options, toId, toInteger, toMode, toOptions, toPath, toTimeMs } from './arguments.js';
import { FsError, wrongType, wrongValue } from './errors.js';
import { BigIntStats, type StatFs, Stats } from './stats.js';

/** @throws FsError for a negative errno. */
export function check(status: NegErrno, syscall: string, path?: string, dest?: string): void {
  if (status < 0) throw new FsError(status, syscall, path, dest);
}

/** The value, unless it is a negative errno. @throws FsError. */
export function must<T>(value: T | NegErrno, syscall: string, path?: string, dest?: string): Exclude<T, number> {
  if (typeof value === 'number') throw new FsError(value, syscall, path, dest);
  return value as Exclude<T, number>;
}

/** A name or path in the encoding asked for: a string by default. */
export function encoded(name: string, encoding: unknown): string | Buffer {
  if (encoding === undefined || encoding === null || encoding === 'utf8' || encoding === 'utf-8') return name;
  const bytes = Buffer.from(encodeName(name));
  return encoding === 'buffer' ? bytes : bytes.toString(encoding as BufferEncoding);
}

/** Parts of a path joined as Node joins them. */
export function join(above: string, name: string): string {
  return above === '' || above === '.' ? name : above.endsWith('/') ? above + name : `${above}/${name}`;
}

export class PathCalls {
  constructor(protected readonly vfs: Vfs) {}

  *access(who: Caller, path: unknown, mode: unknown = 0): Steps<void> {
    const at = toPath(path);
    check(yield* this.vfs.access(who, at, toInteger(mode, 'mode', 0, 7)), 'access', at);
  }

  *stat(who: Caller, path: unknown, options?: unknown): Steps<Stats | BigIntStats | undefined> {
    return yield* this.#stat(who, path, options, true, 'stat');
  }

  *lstat(who: Caller, path: unknown, options?: unknown): Steps<Stats | BigIntStats | undefined> {
    return yield* this.#stat(who, path, options, false, 'lstat');
  }

  /** `throwIfNoEntry` means something to every caller, as with newer Nodes; to Node 20 only in synchronous forms. */
  *#stat(who: Caller, path: unknown, options: unknown, follow: boolean, syscall: string): Steps<Stats | BigIntStats | undefined> {
    const at = toPath(path);
    const { bigint, throwIfNoEntry } = toOptions(options);
    const inode = yield* this.vfs.statSteps(who, at, follow);
    if (typeof inode !== 'number') return bigint === true ? new BigIntStats(inode) : new Stats(inode);
    const error = new FsError(inode, syscall, at);
    if (throwIfNoEntry === false && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
    throw error;
  }

  *statfs(who: Caller, path: unknown, options?: unknown): Steps<StatFs<number> | StatFs<bigint>> {
    const at = toPath(path);
    const { bigint } = toOptions(options);
    const answer = must(yield* this.vfs.room(who, at), 'statfs', at);
    const stats = statFsOf(answer.room, answer.blockSizeBytes);
    if (bigint !== true) return stats;
    return Object.fromEntries(Object.entries(stats).map(([key, value]) => [key, BigInt(value as number)])) as unknown as StatFs<bigint>;
  }

  *chmod(who: Caller, path: unknown, mode: unknown): Steps<void> {
    const at = toPath(path);
    const bits = toMode(mode, 'mode');
    yield* this.#change(who, at, true, 'chmod', (inode) => this.vfs.attributes.changeMode(who, inode, bits));
  }

  *chown(who: Caller, path: unknown, uid: unknown, gid: unknown): Steps<void> {
    const at = toPath(path);
    const [user, group] = [toId(uid, 'uid'), toId(gid, 'gid')];
    yield* this.#change(who, at, true, 'chown', (inode) => this.vfs.attributes.changeOwner(who, inode, user, group));
  }

  *lchown(who: Caller, path: unknown, uid: unknown, gid: unknown): Steps<void> {
    const at = toPath(path);
    const [user, group] = [toId(uid, 'uid'), toId(gid, 'gid')];
    yield* this.#change(who, at, false, 'lchown', (inode) => this.vfs.attributes.changeOwner(who, inode, user, group));
  }

  *utimes(who: Caller, path: unknown, atime: unknown, mtime: unknown): Steps<void> {
    yield* this.#times(who, path, atime, mtime, true, 'utime');
  }

  *lutimes(who: Caller, path: unknown, atime: unknown, mtime: unknown): Steps<void> {
    yield* this.#times(who, path, atime, mtime, false, 'lutime');
  }

  *#times(who: Caller, path: unknown, atime: unknown, mtime: unknown, follow: boolean, syscall: string): Steps<void> {
    const at = toPath(path);
    const times = { accessed: toTimeMs(atime, 'time'), modified: toTimeMs(mtime, 'time') };
    yield* this.#change(who, at, follow, syscall, (inode) => this.vfs.attributes.changeTimes(who, inode, times));
  }

  *#change(who: Caller, path: string, follow: boolean, syscall: string, change: (inode: Inode) => Steps<NegErrno>): Steps<void> {
    check(yield* this.vfs.at(who, path, follow, change), syscall, path);
  }

  *truncate(who: Caller, path: unknown, length: unknown = 0): Steps<void> {
    const at = toPath(path);
    const file = must(yield* this.vfs.open(who, at, OpenFlag.READ_WRITE, 0), 'open', at);
    try {
      const size = Math.max(0, toInteger(length ?? 0, 'len'));
      check(yield* this.vfs.attributes.changeSize(who, file.inode, size), 'ftruncate');
    } finally {
      file.release();
    }
  }

  *link(who: Caller, existingPath: unknown, newPath: unknown): Steps<void> {
    const from = toPath(existingPath, 'existingPath');
    const to = toPath(newPath, 'newPath');
    const status = yield* this.vfs.at(who, from, false, (inode) => this.vfs.directories.link(who, inode, to));
    check(status, 'link', from, to);
  }

  *symlink(who: Caller, target: unknown, path: unknown, type?: unknown): Steps<void> {
    if (type !== undefined && type !== null && !['dir', 'file', 'junction'].includes(type as string)) throw wrongValue('type', type);
    const linkTarget = toPath(target, 'target');
    const at = toPath(path);
    const made = yield* this.vfs.directories.make(who, at, { mode: FileType.SYMLINK, linkTarget });
    const link = must(made, 'symlink', linkTarget, at);
    link.superblock.put(link);
  }

  *readlink(who: Caller, path: unknown, options?: unknown): Steps<string | Buffer> {
    const { encoding } = toOptions(options);
    const at = toPath(path, 'oldPath');
    return encoded(must(yield* this.vfs.readLink(who, at), 'readlink', at), encoding);
  }

  *rename(who: Caller, oldPath: unknown, newPath: unknown): Steps<void> {
    const from = toPath(oldPath, 'oldPath');
    const to = toPath(newPath, 'newPath');
    check(yield* this.vfs.directories.rename(who, from, to, 0), 'rename', from, to);
  }

  *unlink(who: Caller, path: unknown): Steps<void> {
    const at = toPath(path);
    check(yield* this.vfs.directories.remove(who, at, false), 'unlink', at);
  }

  *realpath(who: Caller, path: unknown, options?: unknown): Steps<string | Buffer> {
    const { encoding } = toOptions(options);
    const at = toPath(path);
    return encoded(must(yield* this.vfs.realPath(who, at), 'realpath', at), encoding);
  }

  *mkdtemp(who: Caller, prefix: unknown, options: unknown, draw: () => string): Steps<string | Buffer> {
    const { encoding } = toOptions(options);
    const begin =
      typeof prefix === 'string' ? toPath(prefix, 'prefix') : prefix instanceof Uint8Array ? decodeName(prefix) : toPath(prefix, 'prefix');
    for (let attempt = 0; ; attempt++) {
      const at = begin + draw();
      const made = yield* this.vfs.directories.make(who, at, { mode: FileType.DIRECTORY | 0o700 });
      if (typeof made === 'number') {
        const error = new FsError(made, 'mkdtemp', `${begin}XXXXXX`);
        if (error.code === 'EEXIST' && attempt < 100) continue;
        throw error;
      }
      made.superblock.put(made);
      return encoded(at, encoding);
    }
  }
}

/** Room as `statfs` tells it. */
function statFsOf(room: FileSystemRoom, blockSizeBytes: number): StatFs<number> {
  const blocks = (bytes: number): number => Math.floor(bytes / blockSizeBytes);
  return {
    type: 0,
    bsize: blockSizeBytes,
    blocks: blocks(room.totalBytes),
    bfree: blocks(room.freeBytes),
    bavail: blocks(room.availableBytes),
    files: room.totalInodes,
    ffree: room.freeInodes,
  };
}

/** An option that is a boolean if it is there. @throws TypeError as Node. */
export function flag(options: Options, name: string, fallback = false): boolean {
  const value = options[name];
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw wrongType(`options.${name}`, 'of type boolean', value);
  return value;
}
