/**
 * `watch`: what changes in a directory, below it, or in a file, as long as somebody looks. Changes that others make on a server are not
 * seen. All watchers of a kernel end with it.
 */
import { EventEmitter } from 'node:events';
import type { FSWatcher } from 'node:fs';
import type { FileChangeInfo } from 'node:fs/promises';
import { Errno } from '../../base/errno.js';
import type { FileHandle, Inode } from '../../vfs/inode.js';
import type { Change } from '../../vfs/changes.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import { toOptions, toPath } from './arguments.js';
import { checkAborted } from './descriptor-calls.js';
import { FsError, wrongType } from './errors.js';
import { now } from './face.js';
import { encoded, flag } from './path-calls.js';

/** Changes a slow reader of `promises.watch` may be behind; older ones are forgotten. */
const QUEUE_MAX = 2048;

class Watcher extends EventEmitter {
  readonly #watched: FileHandle;
  readonly #ownName: string;
  readonly #isRecursive: boolean;
  readonly #stop: () => void;
  readonly #encoding: unknown;
  #isOpen = true;

  /** Refers to what it watches by handle: it keeps nothing mounted and no unlinked file alive. @throws FsError ENOENT and the like. */
  constructor(vfs: Vfs, who: Caller, path: string, encoding: unknown, isRecursive: boolean) {
    super();
    this.#encoding = encoding;
    this.#isRecursive = isRecursive;
    const inode = now(vfs.resolve(who, path), 'watch');
    if (typeof inode === 'number') throw new FsError(inode, 'watch', path);
    this.#watched = inode.handle;
    inode.superblock.put(inode);
    this.#ownName = path.slice(path.lastIndexOf('/') + 1);
    const stop = vfs.changes.subscribe(
      (change) => this.#see(change),
      () => this.close(),
    );
    if (stop === null) throw new FsError(-Errno.ENOSPC, 'watch', path); // as a host that has no watch left
    this.#stop = stop;
  }

  #see({ kind, dir, name, inode }: Change): void {
    const below = dir === null || name === null ? null : this.#pathBelow(dir, name);
    if (below !== null) this.#tell(kind, below);
    else if (!inode.isDirectory && this.#isWatched(inode)) this.#tell(kind, this.#ownName);
  }

  /** The path of a name in `dir` from what is watched on; null if it is not below that. Mounts are looked into. */
  #pathBelow(dir: Inode, name: string): string | null {
    let path = name;
    for (let at: Inode | null = dir; at !== null; ) {
      if (this.#isWatched(at)) return path;
      if (!this.#isRecursive) return null;
      if (at === at.superblock.root) at = at.superblock.mountpoint;
      else {
        path = `${at.namedBy?.name}/${path}`;
        at = at.namedBy?.dir ?? null;
      }
    }
    return null;
  }

  #isWatched(inode: Inode): boolean {
    const { fsid, ino, generation } = this.#watched;
    return inode.ino === ino && inode.generation === generation && inode.superblock.fsid === fsid;
  }

  /** Outside of the change: it holds locks, and a listener may throw. */
  #tell(kind: string, name: string): void {
    process.nextTick(() => {
      if (this.#isOpen) this.emit('change', kind, encoded(name, this.#encoding));
    });
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#stop();
    process.nextTick(() => this.emit('close'));
  }

  /** For Node's sake: a watcher of ours keeps no process alive. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** As `fs.watch`. */
export function watch(vfs: Vfs, who: Caller, path: unknown, ...rest: unknown[]): FSWatcher {
  const at = toPath(path, 'filename');
  const listener = typeof rest[0] === 'function' ? rest[0] : rest[1];
  const options = toOptions(rest[0]);
  const { encoding, signal } = options;
  if (listener !== undefined && typeof listener !== 'function') throw wrongType('listener', 'of type function', listener);
  const watcher = new Watcher(vfs, who, at, encoding, flag(options, 'recursive'));
  if (listener !== undefined) watcher.on('change', listener as (...args: unknown[]) => void);
  const aborting = signal as AbortSignal | undefined;
  if (aborting?.aborted) watcher.close();
  else aborting?.addEventListener('abort', () => watcher.close(), { once: true });
  return watcher as unknown as FSWatcher;
}

/** As `fs.promises.watch`: changes one after the other, until the signal aborts, the loop is left, or the kernel is shut down. */
export async function* watchEvents(vfs: Vfs, who: Caller, path: unknown, options: unknown): AsyncGenerator<FileChangeInfo<string>> {
  const { signal } = toOptions(options);
  checkAborted(signal);
  const queue: FileChangeInfo<string>[] = [];
  let wake = (): void => {};
  let isOpen = true;
  const watcher = watch(vfs, who, path, options);
  watcher.on('change', (eventType: string, filename: string | Buffer) => {
    queue.push({ eventType: eventType as 'change' | 'rename', filename: filename as string });
    if (queue.length > QUEUE_MAX) queue.shift();
    wake();
  });
  watcher.on('close', () => {
    isOpen = false;
    wake();
  });
  try {
    for (;;) {
      for (let change = queue.shift(); change !== undefined; change = queue.shift()) yield change;
      checkAborted(signal);
      if (!isOpen) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      checkAborted(signal);
    }
  } finally {
    watcher.close();
  }
}
