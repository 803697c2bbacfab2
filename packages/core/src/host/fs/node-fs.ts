/**
 * `kernel.fs`: the tree of a kernel, shaped like `node:fs`. What has a promise form is under `fs.promises`, a callback form under its
 * name, a synchronous form under its name with `Sync`; how the three relate is in face.ts.
 */
import { constants } from 'node:fs';
import type { RandomSource } from '../../task/clock.js';
import type { Credentials } from '../../vfs/credentials.js';
import type { FsFace } from '../../vfs/fs-face.js';
import type { OpenFile } from '../../vfs/open-file.js';
import type { Steps } from '../../vfs/steps.js';
import type { Vfs } from '../../vfs/vfs.js';
import { type Options, toOptions, toPath } from './arguments.js';
import { DescriptorCalls, readArguments } from './descriptor-calls.js';
import { Dir } from './directory.js';
import { FsError } from './errors.js';
import { type Callers, callBack, now, soon, toCallback } from './face.js';
import { FileHandle, isPieces, openHandle } from './file-handle.js';
import { globSteps } from './glob.js';
import { PathCalls } from './path-calls.js';
import { BigIntStats, Dirent, Stats } from './stats.js';
import { type StreamCalls, streamsOver } from './streams.js';
import { TreeCalls } from './tree-calls.js';
import { watch, watchEvents } from './watch.js';
import { FileWatchers } from './watch-file.js';

/** Calls with all three forms. */
export const PATH_CALLS = [
  'access',
  'appendFile',
  'chmod',
  'chown',
  'copyFile',
  'cp',
  'lchown',
  'link',
  'lstat',
  'lutimes',
  'mkdir',
  'mkdtemp',
  'readdir',
  'readFile',
  'readlink',
  'realpath',
  'rename',
  'rm',
  'rmdir',
  'stat',
  'statfs',
  'symlink',
  'truncate',
  'unlink',
  'utimes',
  'writeFile',
] as const;

/** Calls on descriptors: callback and synchronous forms. */
export const DESCRIPTOR_CALLS = [
  'open',
  'close',
  'fchmod',
  'fchown',
  'fdatasync',
  'fstat',
  'fsync',
  'ftruncate',
  'futimes',
  'read',
  'readv',
  'write',
  'writev',
] as const;

/** Calls with a promise, a callback and a synchronous form. */
export type PathCall = (typeof PATH_CALLS)[number];
/** Calls with a callback and a synchronous form. */
export type DescriptorCall = (typeof DESCRIPTOR_CALLS)[number];
/** Calls of a form of their own. */
export type OtherCall =
  | 'exists'
  | 'existsSync'
  | 'opendir'
  | 'opendirSync'
  | 'createReadStream'
  | 'createWriteStream'
  | 'ReadStream'
  | 'WriteStream'
  | 'watch'
  | 'watchFile'
  | 'unwatchFile'
  | 'constants';

/** The promise form; Node's own types. */
export type FsPromises = Pick<typeof import('node:fs/promises'), PathCall | 'open' | 'opendir' | 'watch' | 'constants'> & {
  glob(pattern: string | readonly string[], options?: GlobOptions): AsyncIterable<string>;
  /** As newer Nodes: a folder that is removed, with all in it, by `remove`, or where `await using` ends. */
  mkdtempDisposable(prefix: string): Promise<{ readonly path: string; remove(): Promise<void>; [Symbol.asyncDispose](): Promise<void> }>;
};

/** Options of `glob`. */
export interface GlobOptions {
  readonly cwd?: string;
  /** Paths for which it says true are left out, and what is below them. */
  readonly exclude?: (path: string) => boolean;
}

/** What `kernel.fs` has; Node's own types. */
export type NodeFs = Pick<typeof import('node:fs'), PathCall | DescriptorCall | `${PathCall | DescriptorCall}Sync` | OtherCall> & {
  readonly promises: FsPromises;
  glob(pattern: string | readonly string[], callback: (error: Error | null, paths: string[]) => void): void;
  glob(pattern: string | readonly string[], options: GlobOptions, callback: (error: Error | null, paths: string[]) => void): void;
  globSync(pattern: string | readonly string[], options?: GlobOptions): string[];
  /** As `promises.mkdtempDisposable`, with `using`. */
  mkdtempDisposableSync(prefix: string): { readonly path: string; remove(): void; [Symbol.dispose](): void };
  /** The same tree as somebody else sees it. Descriptors are shared. */
  as(who: Partial<Credentials> & { readonly umask?: number }): NodeFs;
};

declare module '../../vfs/fs-face.js' {
  interface FsFace extends NodeFs {}
}

type Call = (who: Callers['waiting'], ...args: unknown[]) => Steps<unknown>;

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Makes the face of a kernel. */
export function createNodeFs(vfs: Vfs, random: RandomSource): FsFace {
  return faceFor(vfs, random, new DescriptorCalls(vfs), {});
}

function faceFor(
  vfs: Vfs,
  random: RandomSource,
  onDescriptors: DescriptorCalls,
  identity: Partial<Credentials> & { umask?: number },
): FsFace {
  const { umask, uid = 0, gid = 0, groups = [] } = identity;
  const credentials = { uid, gid, groups };
  const callers: Callers = { waiting: vfs.caller({ credentials, umask }), atOnce: vfs.caller({ credentials, umask, mayWait: false }) };
  const onPaths = new PathCalls(vfs);
  const onTrees = new TreeCalls(vfs, onDescriptors.files);
  const { descriptors, files } = onDescriptors;
  const draw = (): string => {
    const bytes = new Uint8Array(6);
    random.fill(bytes);
    return Array.from(bytes, (byte) => LETTERS[byte % LETTERS.length]).join('');
  };
  const calls = { ...methodsOf(onPaths), ...methodsOf(onTrees), ...methodsOf(onDescriptors) } as Record<string, Call>;
  calls.mkdtemp = (who, prefix, options) => onPaths.mkdtemp(who, prefix, options, draw);
  const promises: Record<string, unknown> = { constants };
  const fs: Record<string, unknown> = { constants, promises, Stats, BigIntStats, Dirent, Dir, FileHandle };
  for (const name of PATH_CALLS) promises[name] = (...args: unknown[]) => soon(calls[name](callers.waiting, ...args));
  for (const name of [...PATH_CALLS, ...DESCRIPTOR_CALLS]) {
    fs[`${name}Sync`] = (...args: unknown[]) => now(calls[name](callers.atOnce, ...args), name);
    fs[name] = (...args: unknown[]) => {
      const callback = name === 'close' && args[1] === undefined ? throwing : toCallback(args.pop());
      // Wrong arguments are thrown at once, as Node does: what is wrong with a program is no event.
      callBack(
        started(() => calls[name](callers.waiting, ...args)),
        callback,
        SPREADS[name]?.(args) ?? ((value) => (value === undefined ? [] : [value])),
      );
    };
  }
  const { F_OK, R_OK, W_OK, X_OK } = constants;
  Object.assign(fs, { F_OK, R_OK, W_OK, X_OK });
  for (const name of ['realpath', 'realpathSync']) Object.assign(fs[name] as object, { native: fs[name] });
  const streams = streamsOver(fs as unknown as StreamCalls);
  const parts = {
    files,
    callers,
    streams,
    describe: (file: OpenFile) => descriptors.add(file),
    undescribe: (fd: number) => descriptors.delete(fd),
  };
  const syncStat = fs.statSync as (...args: unknown[]) => unknown;
  fs.statSync = (path: unknown, options?: unknown) => {
    if (typeof path !== 'string' || options !== undefined || path.includes('\0')) return syncStat(path, options);
    const inode = vfs.walk.cached(callers.atOnce, path, false);
    return typeof inode === 'number' ? syncStat(path) : new Stats(inode);
  };
  fs.existsSync = (path: unknown) => {
    try {
      now(calls.access(callers.atOnce, path), 'access');
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === 'EAGAIN') throw error;
      return false;
    }
  };
  fs.exists = (path: unknown, callback: unknown) => {
    const done = toCallback(callback);
    soon(calls.access(callers.waiting, path)).then(
      () => process.nextTick(done, true),
      () => process.nextTick(done, false),
    );
  };
  const directory = function* (who: Callers['waiting'], path: unknown, options: unknown): Steps<Dir> {
    const at = toPath(path);
    const given = toOptions(options);
    return new Dir(vfs, callers, yield* onTrees.openDirectory(who, at), at, given);
  };
  promises.opendir = async (path: unknown, options?: unknown) => soon(directory(callers.waiting, path, options));
  fs.opendirSync = (path: unknown, options?: unknown) => now(directory(callers.atOnce, path, options), 'opendir');
  fs.opendir = (path: unknown, ...rest: unknown[]) => {
    const callback = toCallback(rest.pop(), 'callback');
    callBack(
      started(() => directory(callers.waiting, path, rest[0])),
      callback,
      (dir) => [dir],
    );
  };
  promises.open = async (path: unknown, flags?: unknown, mode?: unknown) => openHandle(parts, toPath(path), flags, mode);
  Object.assign(fs, streams, { FileReadStream: streams.ReadStream, FileWriteStream: streams.WriteStream });
  for (const [name, flag] of [
    ['writeFile', 'w'],
    ['appendFile', 'a'],
  ]) {
    const whole = promises[name] as (...args: unknown[]) => Promise<void>;
    promises[name] = async (target: unknown, data: unknown, given?: unknown) => {
      if (!isPieces(data)) return whole(target, data, given);
      if (target instanceof FileHandle) return target.writeFile(data, given);
      const options = toOptions(given);
      const handle = await openHandle(parts, toPath(target), options.flag ?? flag, options.mode);
      try {
        await handle.writeFile(data, options);
        if (options.flush === true) await handle.sync();
      } finally {
        await handle.close();
      }
    };
  }
  fs.createReadStream = (path: unknown, options?: unknown) => new streams.ReadStream(path, options);
  fs.createWriteStream = (path: unknown, options?: unknown) => new streams.WriteStream(path, options);
  const watchers = new FileWatchers(vfs, callers.waiting);
  fs.watchFile = (path: unknown, ...rest: unknown[]) => watchers.watchFile(path, ...rest);
  fs.unwatchFile = (path: unknown, listener?: unknown) => watchers.unwatchFile(path, listener);
  fs.mkdtempDisposableSync = (prefix: unknown, options?: unknown) => {
    const made = (fs.mkdtempSync as (...args: unknown[]) => string)(prefix, options);
    const remove = (): void => now(calls.rm(callers.atOnce, made, { recursive: true, force: true }), 'rm') as undefined;
    return { path: made, remove, [Symbol.dispose]: remove };
  };
  promises.mkdtempDisposable = async (prefix: unknown, options?: unknown) => {
    const made = await (promises.mkdtemp as (...args: unknown[]) => Promise<string>)(prefix, options);
    const remove = (): Promise<unknown> => soon(calls.rm(callers.waiting, made, { recursive: true, force: true }));
    return { path: made, remove, [Symbol.asyncDispose]: remove };
  };
  fs.watch = (path: unknown, ...rest: unknown[]) => watch(vfs, callers.atOnce, path, ...rest);
  promises.watch = (path: unknown, options?: unknown) => watchEvents(vfs, callers.atOnce, path, options);
  const glob = (who: Callers['waiting'], pattern: unknown, options: unknown): Steps<string[]> =>
    globSteps(onTrees, who, pattern, toOptions(options) as Options & GlobOptions);
  promises.glob = async function* (pattern: unknown, options?: unknown) {
    yield* await soon(glob(callers.waiting, pattern, options));
  };
  fs.globSync = (pattern: unknown, options?: unknown) => now(glob(callers.atOnce, pattern, options), 'glob');
  fs.glob = (pattern: unknown, ...rest: unknown[]) => {
    const callback = toCallback(rest.pop());
    callBack(
      started(() => glob(callers.waiting, pattern, rest[0])),
      callback,
      (paths) => [paths],
    );
  };
  fs.as = (who: Partial<Credentials> & { umask?: number }) => faceFor(vfs, random, onDescriptors, { ...identity, ...who });
  return fs as unknown as FsFace;
}

/** `close` may be called without a callback: what goes wrong is then nobody's but the process's. */
function throwing(error: unknown): void {
  if (error) throw error;
}

/** Callbacks of some calls get more than the result. */
const SPREADS: Partial<Record<string, (args: unknown[]) => (value: unknown) => unknown[]>> = {
  read: (args) => {
    const { buffer } = readArguments(args.slice(1));
    args.splice(1, args.length, buffer, ...args.slice(ArrayBuffer.isView(args[1]) ? 2 : 1));
    return (bytes) => [bytes, buffer];
  },
  write: (args) => (bytes) => [bytes, args[1]],
  readv: (args) => (bytes) => [bytes, args[1]],
  writev: (args) => (bytes) => [bytes, args[1]],
};

/** Runs steps; errors of wrong arguments, which come before anything is done, are thrown, those of the system are rejections. */
function started(begin: () => Steps<unknown>): Promise<unknown> {
  let thrown: unknown = null;
  const guarded = function* (): Steps<unknown> {
    try {
      return yield* begin();
    } catch (error) {
      thrown = error;
      throw error;
    }
  };
  const running = soon(guarded());
  if (thrown === null || thrown instanceof FsError || !String((thrown as { code?: unknown }).code).startsWith('ERR_INVALID_ARG'))
    return running;
  running.catch(() => {});
  throw thrown;
}

/** The calls of a class, bound. */
function methodsOf(object: object): Record<string, Call> {
  const methods: Record<string, Call> = {};
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(object))) {
    const method = (object as Record<string, unknown>)[name];
    if (name !== 'constructor' && typeof method === 'function') methods[name] = method.bind(object) as Call;
  }
  return methods;
}
