/**
 * `watchFile`: looks at a path every few seconds, as Node does, and so sees changes of every kind: a file that comes, goes or is replaced,
 * and what others do on a server. It ends with `unwatchFile`, or with the kernel.
 */
import { EventEmitter } from 'node:events';
import type { StatWatcher } from 'node:fs';
import { Errno } from '../../base/errno.js';
import { Inode } from '../../vfs/inode.js';
import type { Steps } from '../../vfs/steps.js';
import type { Superblock } from '../../vfs/superblock.js';
import type { Vfs } from '../../vfs/vfs.js';
import type { Caller } from '../../vfs/walk.js';
import { type Options, toInteger, toOptions, toPath } from './arguments.js';
import { FsError, wrongType } from './errors.js';
import { soon } from './face.js';
import { flag } from './path-calls.js';
import { BigIntStats, Stats } from './stats.js';

/** Node's. */
const INTERVAL_MS = 5007;
const INTERVAL_MAX_MS = 2 ** 31 - 1;

type Seen = Stats | BigIntStats;
type Listener = (now: Seen, before: Seen) => void;

/** What a file looks like at one time. */
interface Look {
  readonly isThere: boolean;
  readonly stats: Seen;
  /** What is compared; the time of access is not among it. */
  readonly print: string;
}

function lookOf(inode: Inode, isBig: boolean, isThere = true): Look {
  const { mtimeMs, ctimeMs, birthtimeMs, size, mode, uid, gid, ino, dev } = new Stats(inode);
  const print = [isThere, mtimeMs, ctimeMs, birthtimeMs, size, mode, uid, gid, ino, dev].join();
  return { isThere, stats: isBig ? new BigIntStats(inode) : new Stats(inode), print };
}

/** What a file that is not there looks like: zeroes. */
function lookAtNothing(isBig: boolean): Look {
  const inode = new Inode();
  inode.superblock = { fsid: 0, blockSizeBytes: 0 } as Superblock;
  return lookOf(inode, isBig, false);
}

class Watcher extends EventEmitter {
  readonly #vfs: Vfs;
  readonly #who: Caller;
  readonly #path: string;
  readonly #isBig: boolean;
  readonly #intervalMs: number;
  readonly #stopListening: () => void;
  #isPersistent: boolean;
  #timer: NodeJS.Timeout | null = null;
  #isOpen = true;
  #before: Look | null = null;

  /** @throws FsError ENOSPC if there are too many. */
  constructor(vfs: Vfs, who: Caller, path: string, options: Options) {
    super();
    this.#vfs = vfs;
    this.#who = who;
    this.#path = path;
    this.#isBig = flag(options, 'bigint');
    this.#isPersistent = flag(options, 'persistent', true);
    this.#intervalMs = toInteger(options.interval ?? INTERVAL_MS, 'interval', 0, INTERVAL_MAX_MS);
    const stop = vfs.changes.subscribe(null, () => this.stop());
    if (stop === null) throw new FsError(-Errno.ENOSPC, 'watch', path);
    this.#stopListening = stop;
    void this.#look();
  }

  async #look(): Promise<void> {
    const seen = await soon(this.#seen());
    if (!this.#isOpen) return;
    const before = this.#before;
    this.#before = seen;
    // The first look is what later ones are compared with; but a file that is not there is told of at once, as Node does.
    if (before === null ? !seen.isThere : seen.print !== before.print) this.#tell(seen.stats, (before ?? seen).stats);
    this.#timer = setTimeout(() => void this.#look(), this.#intervalMs);
    if (!this.#isPersistent) this.#timer.unref();
  }

  *#seen(): Steps<Look> {
    const inode = yield* this.#vfs.statSteps(this.#who, this.#path, true);
    return typeof inode === 'number' ? lookAtNothing(this.#isBig) : lookOf(inode, this.#isBig);
  }

  /** Outside of the look, so that it goes on whatever a listener throws. */
  #tell(seen: Seen, before: Seen): void {
    process.nextTick(() => {
      if (this.#isOpen) this.emit('change', seen, before);
    });
  }

  stop(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#stopListening();
    process.nextTick(() => this.emit('stop'));
  }

  ref(): this {
    this.#isPersistent = true;
    this.#timer?.ref();
    return this;
  }

  unref(): this {
    this.#isPersistent = false;
    this.#timer?.unref();
    return this;
  }
}

/** The files that one face looks at. */
export class FileWatchers {
  readonly #vfs: Vfs;
  readonly #who: Caller;
  readonly #watchers = new Map<string, Watcher>();

  /** @param who one who may wait. */
  constructor(vfs: Vfs, who: Caller) {
    this.#vfs = vfs;
    this.#who = who;
  }

  /** As `fs.watchFile`. Who looks at a path already is joined; its options stay. */
  watchFile(path: unknown, ...rest: unknown[]): StatWatcher {
    const at = toPath(path, 'filename');
    const listener = typeof rest[0] === 'function' ? rest[0] : rest[1];
    const options = toOptions(rest[0]);
    if (typeof listener !== 'function') throw wrongType('listener', 'of type function', listener);
    let watcher = this.#watchers.get(at);
    if (watcher === undefined) {
      watcher = new Watcher(this.#vfs, this.#who, at, options);
      const made = watcher;
      made.once('stop', () => this.#forget(at, made));
      this.#watchers.set(at, watcher);
    }
    watcher.on('change', listener as Listener);
    return watcher as unknown as StatWatcher;
  }

  #forget(path: string, watcher: Watcher): void {
    if (this.#watchers.get(path) === watcher) this.#watchers.delete(path);
  }

  /** As `fs.unwatchFile`: without a listener, nobody looks at the path any more. */
  unwatchFile(path: unknown, listener?: unknown): void {
    const at = toPath(path, 'filename');
    const watcher = this.#watchers.get(at);
    if (watcher === undefined) return;
    if (typeof listener === 'function') watcher.off('change', listener as Listener);
    else watcher.removeAllListeners('change');
    if (watcher.listenerCount('change') > 0) return;
    this.#forget(at, watcher);
    watcher.stop();
  }
}
