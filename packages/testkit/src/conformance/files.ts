/** The tree of a kernel as the suites use it: paths, promises and `KernelError`s, with no host in between. */
import {
  errorFrom,
  FileType,
  type Caller,
  type CallerOptions,
  type DirectoryEntry,
  type FileHandle,
  type FileSystemRoom,
  type Inode,
  type Kernel,
  type MaybePromise,
  type NegErrno,
  OpenFlag,
  type OpenFile,
  run,
  settle,
  type Steps,
  type XattrMode,
} from '@tidemark/core';

/** What `stat` tells. */
export interface FileFacts {
  readonly ino: number;
  /** Type bits of the mode, and its permission bits. */
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly sizeBytes: number;
  readonly blocksBytes: number;
  readonly accessedMs: number;
  readonly modifiedMs: number;
}

/** What there is at a path, for comparing trees: `file LENGTH SUM`, `directory`, `link TARGET`, `special`. */
export type TreeListing = readonly string[];

/** Files of a kernel, by path: an errno becomes a `KernelError`, no host is needed. */
export class Files {
  readonly #kernel: Kernel;
  readonly #options: CallerOptions;

  constructor(kernel: Kernel, options: CallerOptions = {}) {
    this.#kernel = kernel;
    this.#options = options;
  }

  get who(): Caller {
    return this.#kernel.vfs.caller(this.#options);
  }

  async #done<T>(steps: Steps<T | NegErrno>, doing: string): Promise<T> {
    return this.#ok(await run(steps), doing);
  }

  #ok<T>(value: T | NegErrno, doing: string): T {
    if (typeof value === 'number' && value < 0) throw errorFrom(value, doing);
    return value as T;
  }

  #at<T>(path: string, doing: string, work: (inode: Inode) => Steps<T | NegErrno>, follow = true): Promise<T> {
    return this.#done(this.#kernel.vfs.at(this.who, path, follow, work), `${doing} ${path}`);
  }

  async #make(path: string, file: { mode: number; linkTarget?: string; rdev?: number }): Promise<void> {
    const inode = await this.#done<Inode>(this.#kernel.vfs.directories.make(this.who, path, file), `make ${path}`);
    inode.superblock.put(inode);
  }

  mkdir(path: string, mode = 0o755): Promise<void> {
    return this.#make(path, { mode: FileType.DIRECTORY | mode });
  }

  symlink(linkTarget: string, path: string): Promise<void> {
    return this.#make(path, { mode: FileType.SYMLINK, linkTarget });
  }

  /** @param type of `FileType`. */
  mknod(path: string, type: number, rdev: number): Promise<void> {
    return this.#make(path, { mode: type | 0o644, rdev });
  }

  /** Makes an empty file; EEXIST if there is one. */
  async create(path: string, mode = 0o644): Promise<void> {
    (await this.open(path, OpenFlag.CREATE | OpenFlag.EXCLUSIVE | OpenFlag.READ_WRITE, mode)).release();
  }

  open(path: string, flags: number = OpenFlag.READ_WRITE, mode = 0o644): Promise<OpenFile> {
    return this.#done(this.#kernel.vfs.open(this.who, path, flags, mode), `open ${path}`);
  }

  async #using<T>(path: string, flags: number, work: (file: OpenFile) => Promise<T>): Promise<T> {
    const file = await this.open(path, flags);
    try {
      return await work(file);
    } finally {
      file.release();
    }
  }

  /** Writes all of `bytes`; the file is made if it is missing. */
  write(path: string, offsetBytes: number, bytes: Uint8Array): Promise<void> {
    return this.#using(path, OpenFlag.CREATE | OpenFlag.READ_WRITE, (file) => this.writeTo(file, offsetBytes, bytes));
  }

  async writeTo(file: OpenFile, offsetBytes: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const written = await this.#done<number>(
        this.#kernel.vfs.data.write(this.who, file, bytes.subarray(done), offsetBytes + done),
        `write at ${offsetBytes + done}`,
      );
      if (written === 0) throw errorFrom(-5, `write at ${offsetBytes + done} wrote nothing`);
      done += written;
    }
  }

  /** Up to `lengthBytes` from an offset; fewer at the end of the file. */
  read(path: string, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#using(path, OpenFlag.READ_ONLY, (file) => this.readFrom(file, offsetBytes, lengthBytes));
  }

  async readFrom(file: OpenFile, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes);
    let done = 0;
    while (done < lengthBytes) {
      const got: MaybePromise<number> = this.#kernel.vfs.data.read(this.who, file, bytes.subarray(done), offsetBytes + done);
      const count = this.#ok(await got, `read at ${offsetBytes + done}`);
      if (count === 0) break;
      done += count;
    }
    return bytes.subarray(0, done);
  }

  async readAll(path: string): Promise<Uint8Array> {
    return this.#using(path, OpenFlag.READ_ONLY, (file) => this.readFrom(file, 0, file.inode.sizeBytes));
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    return this.#using(path, OpenFlag.WRITE_ONLY | OpenFlag.APPEND, (file) => this.writeTo(file, 0, bytes));
  }

  /** Past the page cache. */
  readDirect(path: string, offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#using(path, OpenFlag.READ_ONLY, async (file) => {
      const pages = await this.#done(this.#kernel.vfs.data.pagesOf(this.who.task, file.inode), `read ${path}`);
      return this.#ok<number>(await pages.readDirect(this.who.task, offsetBytes, target), `read ${path} directly`);
    });
  }

  truncate(path: string, sizeBytes: number): Promise<unknown> {
    return this.#at(path, 'truncate', (inode) => this.#kernel.vfs.attributes.changeSize(this.who, inode, sizeBytes));
  }

  unlink(path: string): Promise<unknown> {
    return this.#done(this.#kernel.vfs.directories.remove(this.who, path, false), `unlink ${path}`);
  }

  rmdir(path: string): Promise<unknown> {
    return this.#done(this.#kernel.vfs.directories.remove(this.who, path, true), `rmdir ${path}`);
  }

  /** @param flags of `RenameFlag`. */
  rename(from: string, to: string, flags = 0): Promise<unknown> {
    return this.#done(this.#kernel.vfs.directories.rename(this.who, from, to, flags), `rename ${from} to ${to}`);
  }

  link(from: string, to: string): Promise<unknown> {
    const { directories } = this.#kernel.vfs;
    return this.#at(from, `link ${to} to`, (inode) => directories.link(this.who, inode, to), false);
  }

  readlink(path: string): Promise<string> {
    return this.#done(this.#kernel.vfs.readLink(this.who, path), `readlink ${path}`);
  }

  async stat(path: string, follow = false): Promise<FileFacts> {
    const inode = this.#ok(await this.#kernel.vfs.stat(this.who, path, follow), `stat ${path}`) as Inode;
    const { ino, mode, uid, gid, nlink, rdev, sizeBytes, blocksBytes, accessedMs, modifiedMs } = inode;
    const type = mode & FileType.MASK;
    return { ino, type, mode: mode & ~FileType.MASK, uid, gid, nlink, rdev, sizeBytes, blocksBytes, accessedMs, modifiedMs };
  }

  chmod(path: string, mode: number): Promise<unknown> {
    return this.#at(path, 'chmod', (inode) => this.#kernel.vfs.attributes.changeMode(this.who, inode, mode));
  }

  chown(path: string, uid: number, gid: number): Promise<unknown> {
    return this.#at(path, 'chown', (inode) => this.#kernel.vfs.attributes.changeOwner(this.who, inode, uid, gid));
  }

  utimes(path: string, accessed: number, modified: number): Promise<unknown> {
    return this.#at(path, 'utimes', (inode) => this.#kernel.vfs.attributes.changeTimes(this.who, inode, { accessed, modified }));
  }

  /** Entries behind a cookie, at most `nrMost`. */
  readSome(path: string, cookie: number, nrMost: number): Promise<readonly DirectoryEntry[]> {
    return this.#at(path, 'read directory', (inode) => this.#kernel.vfs.readDirectory(this.who, inode, cookie, nrMost));
  }

  /** Names, sorted. What mkfs programs leave (`lost+found`) is not among them. */
  async readdir(path: string): Promise<string[]> {
    const names: string[] = [];
    for (let cookie = 0; ; ) {
      const entries = await this.readSome(path, cookie, 64);
      for (const entry of entries) if (entry.name !== 'lost+found') names.push(entry.name);
      if (entries.length < 64) return names.sort();
      cookie = entries[63].cookie;
    }
  }

  getXattr(path: string, name: string): Promise<Uint8Array> {
    return this.#at(path, `getxattr ${name} of`, (inode) => this.#kernel.vfs.attributes.getXattr(this.who, inode, name));
  }

  async listXattrs(path: string): Promise<string[]> {
    const names = await this.#at(path, 'listxattr', (inode) => this.#kernel.vfs.attributes.listXattrs(this.who, inode));
    return [...(names as readonly string[])].sort();
  }

  setXattr(path: string, name: string, value: Uint8Array, mode: XattrMode = 'either'): Promise<unknown> {
    return this.#at(path, `setxattr ${name} of`, (inode) => this.#kernel.vfs.attributes.setXattr(this.who, inode, name, value, mode));
  }

  removeXattr(path: string, name: string): Promise<unknown> {
    return this.#at(path, `removexattr ${name} of`, (inode) => this.#kernel.vfs.attributes.removeXattr(this.who, inode, name));
  }

  /** @param mode of `AllocateMode`. */
  allocate(path: string, mode: number, offsetBytes: number, lengthBytes: number): Promise<unknown> {
    return this.#using(path, OpenFlag.READ_WRITE, (file) =>
      this.#done(this.#kernel.vfs.data.allocate(this.who, file, mode, offsetBytes, lengthBytes), `allocate in ${path}`),
    );
  }

  seek(path: string, offsetBytes: number, data: boolean): Promise<number> {
    return this.#using(path, OpenFlag.READ_ONLY, (file) =>
      this.#done<number>(this.#kernel.vfs.data.seek(this.who, file, offsetBytes, data), `seek in ${path}`),
    );
  }

  fsync(path: string): Promise<unknown> {
    return this.#using(path, OpenFlag.READ_ONLY, (file) => this.fsyncOf(file));
  }

  fsyncOf(file: OpenFile): Promise<unknown> {
    return this.#done(this.#kernel.vfs.data.sync(this.who.task, file, false), 'fsync');
  }

  /** Everything of the filesystem that holds a path, deletions that are under way included. */
  async sync(path = '/'): Promise<void> {
    const { mounts } = this.#kernel.vfs;
    await this.#at(path, 'sync', function* ({ superblock }) {
      return yield* mounts.sync(superblock.task, superblock);
    });
  }

  /** Waits until files that nobody names or has open are gone. */
  async settle(path = '/'): Promise<void> {
    const { task } = this.who;
    await this.#at(path, 'settle', ({ superblock }) => superblock.settleDeletions(task));
  }

  async room(path = '/'): Promise<FileSystemRoom> {
    return (await this.#done(this.#kernel.vfs.room(this.who, path), `room of ${path}`)).room;
  }

  handle(path: string): Promise<FileHandle> {
    return this.#at(path, 'handle of', function* (inode) {
      return yield* settle(inode.handle);
    });
  }

  /** The file of a handle: its number. ESTALE if it is gone. */
  async byHandle(handle: FileHandle): Promise<number> {
    const inode = await this.#done<Inode>(this.#kernel.vfs.byHandle(this.who.task, handle), `find ${handle.ino}`);
    inode.superblock.put(inode);
    return inode.ino;
  }

  /** Every file below a directory, for comparing trees. */
  async list(top = ''): Promise<TreeListing> {
    const lines: string[] = [];
    const walk = async (at: string): Promise<void> => {
      for (const name of await this.readdir(at === '' ? '/' : at)) {
        const path = `${at}/${name}`;
        const { type } = await this.stat(path);
        if (type === FileType.DIRECTORY) {
          lines.push(`${path} directory`);
          await walk(path);
        } else if (type === FileType.SYMLINK) lines.push(`${path} link ${await this.readlink(path)}`);
        else if (type === FileType.REGULAR) lines.push(`${path} ${describeBytes(await this.readAll(path))}`);
        else lines.push(`${path} special`);
      }
    };
    await walk(top);
    return lines.sort();
  }
}

/** Length and sum of a content. */
export function describeBytes(bytes: Uint8Array): string {
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0;
  return `file ${bytes.length} ${sum}`;
}
