/**
 * What is mounted where.
 *
 *     mount     1  the plugin makes the filesystem ready              it throws
 *               2  its nodes are admitted to the writeout graph       ENOMEM with the shortfall, EDEADLK with the circle
 *               3  its root is read                                   what the filesystem says
 *               4  it is hung on a directory                          ENOENT, ENOTDIR
 *     any failure undoes what was done, in reverse
 *     unmount   1  what is dirty is written, and made durable         then it stays mounted, and says why
 *               2  nobody is inside (an open file, a mount, a walk)   EBUSY
 *               3  it is taken off, its inodes and pages go, its nodes are released
 *     by force: 3 without 1 and 2; what its users do from then on fails with EIO. Mounts inside go first, likewise. EBUSY while files are pinned.
 *
 * Mounts on one directory lie on top of each other: the last one is seen, and unmounting it shows the one below. `/` is a filesystem of
 * directories (root-file-system.ts) until something is mounted there; in it, the directory to mount on is made if it is missing.
 */
import { Errno, errorFrom, errnoName, KernelError, type NegErrno } from '../base/errno.js';
import type { ReservePlanner } from '../mm/reserve-planner.js';
import type { TaskContext } from '../task/task-context.js';
import type { DirectoryOperations } from './directory-operations.js';
import type { FileData } from './file-data.js';
import type { FileSystemType, MountOptions, SuperblockOps } from './file-system.js';
import type { Inode } from './inode.js';
import type { InodeCache } from './inode-cache.js';
import { FileType } from './mode.js';
import type { NameCache } from './name-cache.js';
import { checkSuperblockOps } from './operations.js';
import { rootFileSystem } from './root-file-system.js';
import { run, settle, type Steps } from './steps.js';
import { Superblock } from './superblock.js';
import { type Caller, mountedOn, type PathWalk } from './walk.js';

/** Most mounts of a kernel. */
const MOUNTS_MAX = 4096;

/** One mount as seen from outside. */
export interface MountInfo {
  readonly source: string;
  /** Where it was hung, as it was given. */
  readonly at: string;
  readonly name: string;
  readonly fsid: number;
  readonly readOnly: boolean;
}

interface Mount {
  readonly info: MountInfo;
  readonly superblock: Superblock;
  readonly ops: SuperblockOps;
  isUnmounting: boolean;
}

/** What mounting works with. */
export interface MountsParts {
  readonly task: TaskContext;
  readonly names: NameCache;
  readonly inodes: InodeCache;
  readonly walk: PathWalk;
  readonly directories: DirectoryOperations;
  readonly data: FileData;
  readonly reserves: ReservePlanner;
  readonly superuser: () => Caller;
  fileSystems(): readonly FileSystemType[];
}

export class Mounts {
  readonly #parts: MountsParts;
  readonly #mounts: Mount[] = [];
  #lastFsid = 0;
  #first: Superblock | null = null;
  #root: Inode | null = null;

  constructor(parts: MountsParts) {
    this.#parts = parts;
  }

  /** The directory that `/` stands for. */
  get root(): Inode {
    if (this.#root === null) {
      const ops = rootFileSystem();
      const superblock = new Superblock(++this.#lastFsid, 'rootfs', ops, false, this.#parts.inodes, this.#parts.task);
      const root = run(superblock.get(this.#parts.task, ops.rootIno, null));
      if (!(root instanceof Object) || !('ino' in root)) throw new KernelError('ENOMEM', 'there is no memory for a root directory');
      superblock.root = root;
      this.#first = superblock;
      this.#root = root;
    }
    return this.#root;
  }

  /** Mounts, oldest first. */
  list(): MountInfo[] {
    return this.#mounts.map(({ info }) => info);
  }

  /** The superblock of a file handle, or null if it is not mounted. */
  byFsid(fsid: number): Superblock | null {
    return this.#mounts.find(({ superblock }) => superblock.fsid === fsid)?.superblock ?? (this.#first?.fsid === fsid ? this.#first : null);
  }

  /** @throws KernelError, as the table says. */
  async mount(source: string, at: string, options: MountOptions): Promise<MountInfo> {
    const { task, reserves, inodes } = this.#parts;
    if (this.#mounts.length >= MOUNTS_MAX) throw new KernelError('ENFILE', `cannot mount ${source}: there are ${MOUNTS_MAX} mounts`);
    const ops = await this.#typeOf(source).mount(task, source, options);
    const undo: (() => unknown)[] = [() => ops.unmount(task, true)];
    try {
      checkSuperblockOps(source, ops);
      if (ops.writeout !== undefined) {
        const { nodes, edges } = ops.writeout;
        await reserves.admit(task, { candidates: nodes.map((node) => ({ node })), edges });
        undo.push(() => this.#release(ops));
      }
      const superblock = new Superblock(++this.#lastFsid, source, ops, options.readOnly === true, inodes, task);
      const root = await run(superblock.get(task, ops.rootIno, null));
      if (typeof root === 'number') throw errorFrom(root, `read the root of ${source}`);
      undo.push(() => {
        superblock.put(root);
        inodes.forgetAll(superblock.inodes);
      });
      if (!root.isDirectory) throw new KernelError('EUCLEAN', `the root of ${source} is no directory`);
      const found = await run(this.#mountpoint(at));
      if (typeof found === 'number') throw errorFrom(found, `mount ${source} on ${at}`);
      const mountpoint = mountedOn(found); // somebody may have mounted there meanwhile
      superblock.root = root;
      superblock.mountpoint = mountpoint;
      mountpoint.mountedRoot = root;
      const info = { source, at, name: ops.name, fsid: superblock.fsid, readOnly: superblock.readOnly };
      this.#mounts.push({ info, superblock, ops, isUnmounting: false });
      this.#findRoot();
      return info;
    } catch (error) {
      for (const back of undo.reverse()) await back();
      throw error;
    }
  }

  #typeOf(source: string): FileSystemType {
    const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(source)?.[1]?.toLowerCase() ?? '';
    const types = this.#parts.fileSystems();
    const type = types.find(({ schemes }) => schemes.includes(scheme));
    if (type !== undefined) return type;
    const known = types.flatMap(({ schemes }) => schemes).join(', ');
    throw new KernelError('ENODEV', `no filesystem for ${JSON.stringify(source)}: known schemes are ${known === '' ? 'none' : known}`);
  }

  /** The directory to mount on, with a reference. What is missing is made where only mounts can be. */
  *#mountpoint(at: string): Steps<Inode | NegErrno> {
    const { walk, directories, superuser } = this.#parts;
    const who = superuser();
    const names = at.split('/').filter((name) => name !== '');
    for (let depth = 1; depth <= names.length; depth++) {
      const path = `/${names.slice(0, depth).join('/')}`;
      const there = yield* walk.resolve(who, path, true);
      const made =
        there === -Errno.ENOENT && (yield* this.#isInFirst(who, path))
          ? yield* directories.make(who, path, { mode: FileType.DIRECTORY | 0o755 })
          : there;
      if (typeof made === 'number') return made;
      made.superblock.put(made);
    }
    const inode = yield* walk.resolve(who, at, true);
    if (typeof inode === 'number' || inode.isDirectory) return inode;
    inode.superblock.put(inode);
    return -Errno.ENOTDIR;
  }

  *#isInFirst(who: Caller, path: string): Steps<boolean> {
    const parent = yield* this.#parts.walk.parent(who, path);
    if (typeof parent === 'number') return false;
    parent.dir.superblock.put(parent.dir);
    return parent.dir.superblock === this.#first;
  }

  /** Unmounts what is seen at a path. @throws KernelError EINVAL if nothing is mounted there, EBUSY, EIO; with `force` only EINVAL. */
  async unmount(at: string, force: boolean): Promise<void> {
    const inode = await run(this.#parts.walk.resolve(this.#parts.superuser(), at, true));
    if (typeof inode === 'number') throw errorFrom(inode, `unmount ${at}`);
    const mount = this.#mounts.find(({ superblock }) => superblock.root === inode);
    inode.superblock.put(inode);
    if (mount === undefined) throw new KernelError('EINVAL', `unmount ${at}: nothing is mounted there`);
    if (mount.isUnmounting) throw new KernelError('EBUSY', `unmount ${at}: it is being unmounted`);
    await this.#end(mount, force);
  }

  /** Those that are mounted, oldest first. */
  superblocks(): Superblock[] {
    return this.#mounts.map(({ superblock }) => superblock);
  }

  /** As `unmount`, whatever is mounted on top of it. */
  async unmountSuperblock(superblock: Superblock): Promise<void> {
    const mount = this.#mounts.find((each) => each.superblock === superblock);
    if (mount !== undefined) await this.#end(mount, false);
  }

  async #end(mount: Mount, force: boolean): Promise<void> {
    if (force && this.#hasPins(mount.superblock))
      throw new KernelError(
        'EBUSY',
        `unmount ${mount.info.at}: files of ${mount.info.source} are pinned; what is kept in them would be lost`,
      );
    mount.isUnmounting = true;
    try {
      await (force ? this.#force(mount) : this.#unmount(mount));
    } finally {
      mount.isUnmounting = false;
    }
  }

  async #unmount(mount: Mount): Promise<void> {
    const { superblock, ops, info } = mount;
    const { task } = this.#parts;
    const settled = await run(superblock.settleDeletions(task));
    const status = settled < 0 ? settled : await run(this.sync(task, superblock));
    if (status < 0) throw errorFrom(status, `unmount ${info.at}: writing ${info.source} out failed; it is still mounted`);
    this.#requireIdle(mount);
    this.#takeOff(mount);
    const closed = await run(this.#parts.data.closeAll(superblock));
    this.#forgetAll(superblock);
    const ended = await ops.unmount(task, false);
    await this.#release(ops);
    if (closed < 0 || ended < 0)
      throw errorFrom(closed || ended, `unmount ${info.at}: ${info.source} is off, but not all of it was written`);
  }

  async #force(mount: Mount): Promise<void> {
    const { superblock, ops } = mount;
    for (const inside of [...this.#mounts].reverse())
      if (inside.superblock.mountpoint?.superblock === superblock) await this.#force(inside);
    if (!this.#mounts.includes(mount)) return;
    this.#takeOff(mount);
    for (const inode of superblock.inodes.values()) ops.forget?.(inode);
    superblock.setGone();
    await ops.unmount(this.#parts.task, true);
    this.#parts.names.dropAll([...superblock.inodes.values()], true);
    await run(this.#parts.data.closeAll(superblock));
    this.#forgetAll(superblock);
    await this.#release(ops);
  }

  /** @throws KernelError EBUSY saying what is in use. */
  #requireIdle({ superblock, info }: Mount): void {
    this.#parts.names.dropAll([...superblock.inodes.values()], false);
    for (const inode of superblock.inodes.values()) {
      const isRoot = inode === superblock.root;
      if (inode.nrRefs <= (isRoot ? 1 : 0) && inode.mountedRoot === null) continue;
      const user = inode.mountedRoot === null ? 'is in use' : `has ${inode.mountedRoot.superblock.source} mounted on it`;
      throw new KernelError('EBUSY', `unmount ${info.at}: inode ${inode.ino} of ${info.source} ${user}`, { details: { ino: inode.ino } });
    }
    if (superblock.nrDeleting > 0) throw new KernelError('EBUSY', `unmount ${info.at}: files of ${info.source} are being deleted`);
  }

  /** It, or a filesystem mounted inside it, has pinned files. */
  #hasPins(superblock: Superblock): boolean {
    if (superblock.nrPins > 0) return true;
    return this.#mounts.some((inside) => inside.superblock.mountpoint?.superblock === superblock && this.#hasPins(inside.superblock));
  }

  #takeOff(mount: Mount): void {
    this.#mounts.splice(this.#mounts.indexOf(mount), 1);
    const { mountpoint } = mount.superblock;
    if (mountpoint === null) return;
    mountpoint.mountedRoot = null;
    mount.superblock.mountpoint = null;
    this.#findRoot();
    mountpoint.superblock.put(mountpoint);
  }

  #findRoot(): void {
    let at = this.#first?.root ?? null;
    while (at !== null && at.mountedRoot !== null) at = at.mountedRoot;
    this.#root = at;
  }

  #forgetAll(superblock: Superblock): void {
    const { root } = superblock;
    superblock.root = null;
    if (root !== null) superblock.put(root);
    this.#parts.inodes.forgetAll(superblock.inodes);
  }

  async #release(ops: SuperblockOps): Promise<void> {
    const { reserves } = this.#parts;
    for (const [from, to] of ops.writeout?.edges ?? []) reserves.graph.removeEdge(from, to);
    for (const node of ops.writeout?.nodes ?? []) await reserves.release(node);
    await ops.released?.();
  }

  /** Writes every dirty page of a filesystem and makes everything durable. */
  *sync(task: TaskContext, superblock: Superblock): Steps<0 | NegErrno> {
    const written = yield* this.#parts.data.syncAll(task, superblock);
    const status = yield* settle(superblock.ops.sync(task));
    return written || status || superblock.takeDeletionError();
  }

  /** As `sync`, for all; the first error. */
  *syncAll(task: TaskContext): Steps<0 | NegErrno> {
    let first: NegErrno = 0;
    for (const { superblock } of [...this.#mounts]) {
      const status = yield* this.sync(task, superblock);
      first ||= status;
    }
    return first;
  }

  /**
   * Unmounts everything, the last first, by force what cannot be unmounted otherwise.
   * @param isLast false: but not what has pinned files, nor what that is mounted on.
   * @returns what went wrong.
   */
  async shutdown(isLast: boolean): Promise<string[]> {
    const problems: string[] = [];
    const tell = (error: unknown): number => problems.push(error instanceof Error ? error.message : errnoName(-Errno.EIO));
    for (const mount of [...this.#mounts].reverse()) {
      if (!this.#mounts.includes(mount) || (!isLast && this.#hasPins(mount.superblock))) continue;
      try {
        await this.#end(mount, false);
      } catch (error) {
        tell(error);
        if (this.#mounts.includes(mount)) await this.#force(mount).catch(tell);
      }
    }
    if (!isLast) return problems;
    if (this.#first !== null) {
      this.#parts.names.dropAll([...this.#first.inodes.values()], true);
      this.#forgetAll(this.#first);
    }
    this.#first = this.#root = null;
    return problems;
  }
}
