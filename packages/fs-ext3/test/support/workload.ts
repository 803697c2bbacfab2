/** A random workload: each step is done on a mounted filesystem and on the model, and must answer what the model says. */
import {
  AllocateMode,
  Errno,
  FileType,
  type Inode,
  type Kernel,
  type NegErrno,
  OpenFlag,
  type OpenFile,
  RenameFlag,
  run,
} from '@tidemark/core';
import type { Random } from '@tidemark/testkit';
import { expect } from 'vitest';
import {
  describeFile,
  describeModel,
  type ModelDirectory,
  modelDirectory,
  type ModelFile,
  type ModelNode,
  modelResize,
  modelWrite,
  walkModel,
} from './model-tree.js';

const NO_ROOM = new Set<NegErrno>([-Errno.ENOSPC]);

export interface WorkloadOptions {
  /** Largest offset a file is written at. */
  readonly fileBytesMax: number;
  /** Names are padded to up to this many bytes. */
  readonly nameBytesMax: number;
  /** Most files and directories. */
  readonly filesMax: number;
}

interface Place {
  readonly path: string;
  readonly node: ModelNode;
  readonly parent: ModelDirectory;
  readonly name: string;
}

export class Workload {
  readonly root = modelDirectory();
  /** Files that were fsynced and not changed since, with what they held then. */
  nrSteps = 0;
  nrNoRoom = 0;
  #nrNames = 0;
  #open: { readonly file: OpenFile; readonly node: ModelFile }[] = [];

  constructor(
    public kernel: Kernel,
    readonly random: Random,
    readonly options: WorkloadOptions,
    /** Directory that it plays in, `` for the root. */
    readonly top = '',
  ) {}

  get #vfs() {
    return this.kernel.vfs;
  }

  #places(wanted: (node: ModelNode) => boolean): Place[] {
    return [...walkModel(this.root, this.top)]
      .filter(([, node]) => wanted(node))
      .map(([path, node, parent, name]) => ({ path, node, parent, name }));
  }

  #pick(wanted: (node: ModelNode) => boolean = () => true): Place | null {
    const places = this.#places(wanted);
    return places.length === 0 ? null : this.random.pick(places);
  }

  /** A directory to make something in. */
  #directory(): { path: string; node: ModelDirectory } {
    const places = this.#places(({ kind }) => kind === 'directory');
    const at = this.random.below(places.length + 1) - 1;
    return at < 0 ? { path: this.top, node: this.root } : { path: places[at].path, node: places[at].node as ModelDirectory };
  }

  #name(): string {
    const name = `${this.random.pick(['f', 'é', 'x', 'name'])}${this.#nrNames++}`;
    return name.padEnd(this.random.below(this.options.nameBytesMax), 'p');
  }

  #bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    this.random.fill(bytes);
    return bytes;
  }

  /** Does something. */
  async step(): Promise<void> {
    this.nrSteps++;
    const n = this.random.below(100);
    if (n < 14) await this.#make();
    else if (n < 40) await this.#write();
    else if (n < 50) await this.#truncate();
    else if (n < 62) await this.#remove();
    else if (n < 74) await this.#rename();
    else if (n < 78) await this.#link();
    else if (n < 86) await this.#xattr();
    else if (n < 90) await this.#punch();
    else if (n < 94) await this.#read();
    else if (n < 97) await this.#openOrClose();
    else if (n < 98) await this.#burst();
    else await this.#sync();
  }

  /** @returns false if there was no room. */
  #ended(status: number, what: string): boolean {
    if (NO_ROOM.has(status)) {
      this.nrNoRoom++;
      return false;
    }
    expect(status, what).toBeGreaterThanOrEqual(0);
    return true;
  }

  async #make(): Promise<void> {
    if (this.#places(() => true).length >= this.options.filesMax) return;
    const { path, node } = this.#directory();
    const name = this.#name();
    const what = this.random.below(10);
    const target = 't'.repeat(1 + this.random.below(what === 3 ? 900 : 70));
    const type = this.random.pick([FileType.FIFO, FileType.SOCKET, FileType.CHARACTER_DEVICE, FileType.BLOCK_DEVICE]);
    const rdev =
      type === FileType.CHARACTER_DEVICE || type === FileType.BLOCK_DEVICE
        ? this.random.below(300) * 2 ** 20 + this.random.below(70_000)
        : 0;
    const file =
      what < 3
        ? { mode: FileType.DIRECTORY | 0o755 }
        : what < 5
          ? { mode: FileType.SYMLINK | 0o777, linkTarget: target }
          : what < 6
            ? { mode: type | 0o644, rdev }
            : { mode: FileType.REGULAR | 0o644 };
    const made = await run(this.#vfs.directories.make(this.#vfs.caller(), `${path}/${name}`, file));
    if (typeof made === 'number') {
      this.#ended(made, `make ${path}/${name}`);
      return;
    }
    made.superblock.put(made);
    const xattrs = new Map<string, Buffer>();
    if (what < 3) node.entries.set(name, modelDirectory());
    else if (what < 5) node.entries.set(name, { kind: 'link', target, xattrs });
    else if (what < 6) node.entries.set(name, { kind: 'special', type, rdev, xattrs });
    else node.entries.set(name, { kind: 'file', data: Buffer.alloc(0), nlink: 1, xattrs });
  }

  /** Many small files in one directory: that makes indexes. */
  async #burst(): Promise<void> {
    const { path, node } = this.#directory();
    for (let i = 0; i < 60; i++) {
      const name = this.#name();
      const made = await run(this.#vfs.directories.make(this.#vfs.caller(), `${path}/${name}`, { mode: FileType.REGULAR | 0o600 }));
      if (typeof made === 'number') {
        if (!this.#ended(made, `make ${path}/${name}`)) return;
      } else {
        made.superblock.put(made);
        node.entries.set(name, { kind: 'file', data: Buffer.alloc(0), nlink: 1, xattrs: new Map() });
      }
    }
  }

  async #using<T>(path: string, flags: number, work: (file: OpenFile) => Promise<T>): Promise<T> {
    const file = await run(this.#vfs.open(this.#vfs.caller(), path, flags, 0o644));
    if (typeof file === 'number') throw new Error(`open ${path}: ${file}`);
    try {
      return await work(file);
    } finally {
      file.release();
    }
  }

  async #write(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place === null) return;
    const node = place.node as ModelFile;
    const { fileBytesMax } = this.options;
    const offset = this.random.chance(0.5) ? node.data.length : this.random.below(this.random.chance(0.1) ? fileBytesMax : 40_000);
    const bytes = this.#bytes(1 + this.random.below(this.random.chance(0.2) ? 60_000 : 6_000));
    const written = await this.#using(
      place.path,
      OpenFlag.READ_WRITE,
      async (file) => await run(this.#vfs.data.write(this.#vfs.caller(), file, bytes, offset)),
    );
    if (this.#ended(written, `write ${place.path}`)) modelWrite(node, offset, bytes.subarray(0, written));
  }

  async #truncate(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place === null) return;
    const node = place.node as ModelFile;
    const size = this.random.chance(0.3) ? 0 : this.random.below(node.data.length * 1.3 + 10);
    const { attributes } = this.#vfs;
    const status = await this.#at(place.path, (inode) => attributes.changeSize(this.#vfs.caller(), inode, size));
    if (this.#ended(status, `truncate ${place.path}`)) modelResize(node, size);
  }

  async #at<T extends number>(path: string, work: (inode: Inode) => Generator<Promise<unknown>, T, unknown>): Promise<number> {
    return await run(this.#vfs.at(this.#vfs.caller(), path, false, work));
  }

  async #remove(): Promise<void> {
    const place = this.#pick();
    if (place === null) return;
    const isDirectory = place.node.kind === 'directory';
    const status = await run(this.#vfs.directories.remove(this.#vfs.caller(), place.path, isDirectory));
    const isFull = place.node.kind === 'directory' && place.node.entries.size > 0;
    expect(status, `remove ${place.path}`).toBe(isFull ? -Errno.ENOTEMPTY : 0);
    if (isFull) return;
    place.parent.entries.delete(place.name);
    if (place.node.kind === 'file') place.node.nlink--;
  }

  async #rename(): Promise<void> {
    const from = this.#pick();
    if (from === null) return;
    const onto = this.random.chance(0.4) ? this.#pick() : null;
    const { path, node } = this.#directory();
    const to = onto ?? { path: `${path}/${this.#name()}`, parent: node, name: '', node: null };
    const toName = to.path.slice(to.path.lastIndexOf('/') + 1);
    const isExchange = onto !== null && this.random.chance(0.4);
    const inside = `${to.path}/`.startsWith(`${from.path}/`) || `${from.path}/`.startsWith(`${to.path}/`);
    if (inside || from.node === to.node) return;
    const replaced = to.node;
    let expected = 0;
    if (!isExchange && replaced !== null) {
      if (from.node.kind === 'directory' && replaced.kind !== 'directory') expected = -Errno.ENOTDIR;
      else if (from.node.kind !== 'directory' && replaced.kind === 'directory') expected = -Errno.EISDIR;
      else if (replaced.kind === 'directory' && replaced.entries.size > 0) expected = -Errno.ENOTEMPTY;
    }
    const flags = isExchange ? RenameFlag.EXCHANGE : 0;
    const status = await run(this.#vfs.directories.rename(this.#vfs.caller(), from.path, to.path, flags));
    if (expected < 0) expect(status, `rename ${from.path} ${to.path}`).toBe(expected);
    else if (this.#ended(status, `rename ${from.path} ${to.path} ${flags}`)) {
      if (isExchange) from.parent.entries.set(from.name, replaced as ModelNode);
      else {
        from.parent.entries.delete(from.name);
        if (replaced?.kind === 'file') replaced.nlink--;
      }
      to.parent.entries.set(toName, from.node);
    }
  }

  async #link(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place === null) return;
    const { path, node } = this.#directory();
    const name = this.#name();
    const { directories } = this.#vfs;
    const status = await this.#at(place.path, (inode) => directories.link(this.#vfs.caller(), inode, `${path}/${name}`));
    if (!this.#ended(status, `link ${place.path} ${path}/${name}`)) return;
    node.entries.set(name, place.node);
    (place.node as ModelFile).nlink++;
  }

  async #xattr(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file' || kind === 'directory');
    if (place === null) return;
    const name = `user.${this.random.pick(['a', 'bee', 'sea'])}${this.random.below(3)}`;
    const { attributes } = this.#vfs;
    if (this.random.chance(0.3)) {
      const status = await this.#at(place.path, (inode) => attributes.removeXattr(this.#vfs.caller(), inode, name));
      expect(status, `remove ${name} of ${place.path}`).toBe(place.node.xattrs.delete(name) ? 0 : -Errno.ENODATA);
      return;
    }
    const value = this.#bytes(this.random.below(this.random.chance(0.2) ? 1200 : 60));
    const status = await this.#at(place.path, (inode) => attributes.setXattr(this.#vfs.caller(), inode, name, value, 'either'));
    if (this.#ended(status, `set ${name} of ${place.path}`)) place.node.xattrs.set(name, value);
  }

  async #punch(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place === null) return;
    const node = place.node as ModelFile;
    const offset = this.random.below(node.data.length + 1);
    const length = 1 + this.random.below(30_000);
    const status = await this.#using(place.path, OpenFlag.READ_WRITE, async (file) =>
      run(this.#vfs.data.allocate(this.#vfs.caller(), file, AllocateMode.PUNCH_HOLE, offset, length)),
    );
    if (this.#ended(status, `punch ${place.path}`)) node.data.fill(0, offset, Math.min(offset + length, node.data.length));
  }

  async #read(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place !== null) await this.checkFile(place.path, place.node as ModelFile);
  }

  /** Keeps a file open, perhaps beyond its last name; closes it some time. */
  async #openOrClose(): Promise<void> {
    if (this.#open.length > 4 || (this.#open.length > 0 && this.random.chance(0.5))) {
      const [{ file, node }] = this.#open.splice(this.random.below(this.#open.length), 1);
      const bytes = this.#bytes(3000);
      const written = await run(this.#vfs.data.write(this.#vfs.caller(), file, bytes, 100));
      if (this.#ended(written, 'write to an open file')) modelWrite(node, 100, bytes.subarray(0, written));
      file.release();
      return;
    }
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place === null) return;
    const file = await run(this.#vfs.open(this.#vfs.caller(), place.path, OpenFlag.READ_WRITE, 0));
    if (typeof file === 'number') throw new Error(`open ${place.path}: ${file}`);
    this.#open.push({ file, node: place.node as ModelFile });
  }

  /** Closes what is open. */
  closeAll(): void {
    for (const { file } of this.#open.splice(0)) file.release();
  }

  async #sync(): Promise<void> {
    const place = this.#pick(({ kind }) => kind === 'file');
    if (place === null) return;
    const status = await this.#using(place.path, OpenFlag.READ_ONLY, async (file) =>
      run(this.#vfs.data.sync(this.#vfs.caller().task, file, false)),
    );
    expect(status, `sync ${place.path}`).toBe(0);
  }

  async checkFile(path: string, { data }: ModelFile): Promise<void> {
    const got = Buffer.alloc(data.length + 1);
    const length = await this.#using(path, OpenFlag.READ_ONLY, async (file) => {
      let done = 0;
      for (let n = 1; n > 0; done += n) {
        n = await this.#vfs.data.read(this.#vfs.caller(), file, got.subarray(done), done);
        if (n < 0) throw new Error(`read ${path}: ${n}`);
      }
      return done;
    });
    expect(length, path).toBe(data.length);
    expect(Buffer.compare(got.subarray(0, length), data), `content of ${path}`).toBe(0);
  }

  /** The whole tree, as the filesystem has it: one line for each file, as `describeModel` makes them. */
  async describe(): Promise<string[]> {
    const lines: string[] = [];
    const walk = async (at: string): Promise<void> => {
      const dir = await run(this.#vfs.resolve(this.#vfs.caller(), at === '' ? '/' : at, false));
      if (typeof dir === 'number') throw new Error(`resolve ${at}: ${dir}`);
      const names: string[] = [];
      let cookie = 0;
      for (;;) {
        const some = await run(this.#vfs.readDirectory(this.#vfs.caller(), dir, cookie, 7));
        if (typeof some === 'number') throw new Error(`read ${at}: ${some}`);
        for (const entry of some) names.push(entry.name);
        if (some.length < 7) break;
        cookie = some[some.length - 1].cookie;
      }
      dir.superblock.put(dir);
      expect(new Set(names).size, `names in ${at}`).toBe(names.length);
      for (const name of names) {
        const where = `${at}/${name}`;
        if (where === '/lost+found') continue;
        const inode = await run(this.#vfs.resolve(this.#vfs.caller(), where, false));
        if (typeof inode === 'number') throw new Error(`resolve ${where}: ${inode}`);
        const { mode, sizeBytes } = inode;
        inode.superblock.put(inode);
        const type = mode & FileType.MASK;
        if (type === FileType.DIRECTORY) {
          lines.push(`${where} directory`);
          await walk(where);
        } else if (type === FileType.SYMLINK) lines.push(`${where} link ${await run(this.#vfs.readLink(this.#vfs.caller(), where))}`);
        else if (type !== FileType.REGULAR) lines.push(`${where} special`);
        else {
          const data = Buffer.alloc(sizeBytes);
          await this.#using(where, OpenFlag.READ_ONLY, async (file) => {
            for (let done = 0; done < sizeBytes; ) {
              const n: number = await this.#vfs.data.read(this.#vfs.caller(), file, data.subarray(done), done);
              if (n <= 0) throw new Error(`read ${where} at ${done}: ${n}`);
              done += n;
            }
          });
          lines.push(`${where} ${describeFile(data)}`);
        }
      }
    };
    await walk(this.top);
    return lines.sort();
  }

  /** Compares everything with the model: names, types, contents, links, attributes, devices. */
  async checkAll(): Promise<void> {
    expect(await this.describe()).toEqual(describeModel(this.root, this.top));
    for (const { path, node } of this.#places(() => true)) {
      const inode = await run(this.#vfs.resolve(this.#vfs.caller(), path, false));
      if (typeof inode === 'number') throw new Error(`resolve ${path}: ${inode}`);
      if (node.kind === 'file') expect(inode.nlink, `links of ${path}`).toBe(node.nlink);
      if (node.kind === 'special') expect([inode.mode & FileType.MASK, inode.rdev], path).toEqual([node.type, node.rdev]);
      if (node.kind === 'directory') {
        const nrDirectories = [...node.entries.values()].filter(({ kind }) => kind === 'directory').length;
        expect(inode.nlink, `links of ${path}`).toBe(2 + nrDirectories);
      }
      if (node.kind === 'file' || node.kind === 'directory') {
        const names = await run(this.#vfs.attributes.listXattrs(this.#vfs.caller(), inode));
        expect([...(names as string[])].sort(), `attributes of ${path}`).toEqual([...node.xattrs.keys()].sort());
        for (const [name, value] of node.xattrs) {
          const got = await run(this.#vfs.attributes.getXattr(this.#vfs.caller(), inode, name));
          expect(Buffer.compare(got as Uint8Array, value), `${name} of ${path}`).toBe(0);
        }
      }
      inode.superblock.put(inode);
    }
  }
}
