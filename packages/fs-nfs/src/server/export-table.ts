/**
 * What a server exports: trees of the kernel's VFS, each under the path that clients mount.
 *
 * An export is one filesystem, or a part of one from a directory down; what is mounted inside is not seen through it: the directory it is
 * mounted on is. The server keeps a reference to the root of each export, so none of them can be unmounted, but by force: then its handles are
 * stale.
 */
import {
  type Caller,
  type Credentials as FileCredentials,
  errorFrom,
  type Inode,
  type Kernel,
  KernelError,
  run,
  type Superblock,
  type TaskContext,
} from '@tidemark/core';
import { ANONYMOUS_ID, AuthFlavor, type Credentials } from '../rpc/rpc-message.js';
import type { FileAttributes, WeakAttributes } from '../protocol/attributes.js';
import { timeOfMs } from '../protocol/attributes.js';
import { MOUNT_PATH_BYTES_MAX } from '../protocol/nfs3-constants.js';
import { numberOfText } from './file-handle.js';

const RDEV_MINOR_BITS = 2 ** 20;
const EXPORTS_MAX = 256;
const UID_MAX = 0xffff_fffe;

/** One export, as it is asked for. */
export interface NfsExportOptions {
  /** The directory of the kernel's tree that is exported. */
  readonly tree: string;
  /** Nothing may be changed. Default false. */
  readonly readOnly?: boolean;
  /** Who is taken for the anonymous user (65534): the superuser (default), everybody, or nobody. */
  readonly squash?: 'root' | 'all' | 'none';
  /** Addresses of the hosts that may use it, as the transport writes them: `192.0.2.7`, `::1`. Default: all. */
  readonly hosts?: readonly string[];
  /** Number of the filesystem in handles and attributes. Default: made of what is mounted there, which stays the same over restarts. */
  readonly fsid?: number;
}

/** One export, open. */
export class Export {
  readonly id: number;
  readonly fsid: number;
  readonly readOnly: boolean;
  readonly superblock: Superblock;
  readonly #squash: 'root' | 'all' | 'none';
  readonly #hosts: ReadonlySet<string> | null;

  /** Takes over the caller's reference to `root`. */
  constructor(
    /** What clients mount. */
    readonly path: string,
    readonly root: Inode,
    options: NfsExportOptions,
  ) {
    this.id = numberOfText(path);
    this.superblock = root.superblock;
    this.fsid = options.fsid ?? numberOfText(this.superblock.source);
    this.readOnly = options.readOnly === true || this.superblock.readOnly;
    this.#squash = options.squash ?? 'root';
    this.#hosts = options.hosts === undefined ? null : new Set(options.hosts);
  }

  /** Hosts that may use it; none named means all. */
  get hosts(): readonly string[] {
    return this.#hosts === null ? [] : [...this.#hosts];
  }

  admits(host: string): boolean {
    return this.#hosts === null || this.#hosts.has(host);
  }

  /** Whom the credentials of a call stand for here. */
  credentialsOf({ flavor, uid, gid, groups }: Credentials): FileCredentials {
    if (this.#squash === 'all' || flavor !== AuthFlavor.SYS) return ANONYMOUS;
    if (this.#squash === 'none') return { uid: clampId(uid), gid: clampId(gid), groups };
    return { uid: nobodyForRoot(uid), gid: nobodyForRoot(gid), groups: groups.filter((group) => group !== 0) };
  }

  /** Who asks, standing in `cwd`; the way up ends at the root of the export. */
  caller(task: TaskContext, credentials: FileCredentials, cwd: Inode): Caller {
    return { task, credentials, umask: 0, root: this.root, cwd, mayWait: true };
  }

  attributesOf(inode: Inode): FileAttributes {
    return {
      mode: inode.mode,
      nlink: inode.nlink,
      uid: inode.uid,
      gid: inode.gid,
      sizeBytes: inode.sizeBytes,
      usedBytes: inode.blocksBytes,
      rdevMajor: Math.floor(inode.rdev / RDEV_MINOR_BITS),
      rdevMinor: inode.rdev % RDEV_MINOR_BITS,
      fsid: this.fsid,
      fileid: inode.ino,
      atime: timeOfMs(inode.accessedMs),
      mtime: timeOfMs(inode.modifiedMs),
      ctime: timeOfMs(inode.changedMs),
    };
  }
}

const ANONYMOUS: FileCredentials = { uid: ANONYMOUS_ID, gid: ANONYMOUS_ID, groups: [] };

function clampId(id: number): number {
  return Math.min(id, UID_MAX);
}

function nobodyForRoot(id: number): number {
  return id === 0 ? ANONYMOUS_ID : clampId(id);
}

/** What tells this state of a file from another. */
export function weakAttributesOf(inode: Inode): WeakAttributes {
  return { sizeBytes: inode.sizeBytes, mtime: timeOfMs(inode.modifiedMs), ctime: timeOfMs(inode.changedMs) };
}

/** The exports of one server. */
export class ExportTable {
  readonly #byId = new Map<number, Export>();

  private constructor(readonly list: readonly Export[]) {
    for (const each of list) this.#byId.set(each.id, each);
  }

  /** @throws KernelError EINVAL (paths, options), ENOENT, ENOTDIR for a tree that is not there. */
  static async open(
    kernel: Kernel,
    wanted: Readonly<Record<string, string | NfsExportOptions>>,
    isReadOnly: boolean,
  ): Promise<ExportTable> {
    const entries = Object.entries(wanted);
    if (entries.length === 0 || entries.length > EXPORTS_MAX)
      throw new KernelError('EINVAL', `an nfs server exports 1 to ${EXPORTS_MAX} trees, not ${entries.length}`);
    const opened: Export[] = [];
    try {
      for (const [path, options] of entries) {
        const { tree, ...rest } = typeof options === 'string' ? { tree: options } : options;
        opened.push(await openExport(kernel, path, { ...rest, tree, readOnly: isReadOnly || rest.readOnly === true }));
        if (new Set(opened.map(({ id }) => id)).size < opened.length)
          throw new KernelError('EINVAL', `export ${path} has the same number as another: give one of them another path`);
      }
      return new ExportTable(opened);
    } catch (error) {
      for (const { root } of opened) root.superblock.put(root);
      throw error;
    }
  }

  byId(id: number): Export | null {
    return this.#byId.get(id) ?? null;
  }

  /** The export whose path a path begins with, the longest one, and what follows: '' or names. Null if there is none. */
  under(path: string): { readonly found: Export; readonly rest: string } | null {
    const names = path.split('/').filter((name) => name !== '' && name !== '.');
    for (let nrNames = names.length; nrNames >= 0; nrNames--) {
      const found = this.list.find((each) => each.path === `/${names.slice(0, nrNames).join('/')}`);
      if (found !== undefined) return { found, rest: names.slice(nrNames).join('/') };
    }
    return null;
  }

  /** Gives the roots back. */
  close(): void {
    for (const { root } of this.list) root.superblock.put(root);
  }
}

async function openExport(kernel: Kernel, path: string, options: NfsExportOptions): Promise<Export> {
  const isNormal =
    path ===
    `/${path
      .split('/')
      .filter((name) => name !== '' && name !== '.' && name !== '..')
      .join('/')}`;
  if (!isNormal || path.length * 3 > MOUNT_PATH_BYTES_MAX)
    throw new KernelError(
      'EINVAL',
      `export path ${JSON.stringify(path)}: want /names, without . and .., of ${MOUNT_PATH_BYTES_MAX / 3} units at most`,
    );
  const { squash, fsid } = options;
  if (squash !== undefined && !['root', 'all', 'none'].includes(squash))
    throw new KernelError('EINVAL', `export ${path}: squash is root, all or none, not ${String(squash)}`);
  if (fsid !== undefined && !(Number.isInteger(fsid) && fsid > 0 && fsid <= 0xffff_ffff))
    throw new KernelError('EINVAL', `export ${path}: an fsid is a number of 32 bits, not ${fsid}`);
  const root = await run(kernel.vfs.resolve(kernel.vfs.caller(), options.tree, true));
  if (typeof root === 'number') throw errorFrom(root, `export ${options.tree} as ${path}`);
  if (!root.isDirectory) {
    root.superblock.put(root);
    throw new KernelError('ENOTDIR', `export ${options.tree} as ${path}: it is no directory`);
  }
  return new Export(path, root, options);
}
