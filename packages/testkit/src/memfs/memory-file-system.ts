/**
 * memfs: a filesystem whose only store is memory, and the reference for what a filesystem plugin must do. Inodes are core's own, kept as
 * long as they have a name; file contents are pages that only memory holds; names and the rest are charged by `HeapCharge`.
 *
 *     memfs:64MiB        at most 64 MiB of pages, and one inode for each 4 KiB of it
 */
import {
  AllocateMode,
  type AddressSpaceOperations,
  type AttributeChange,
  type DirectorySink,
  Errno,
  type FileSystemRoom,
  FileType,
  type FoundEntry,
  type Inode,
  type MaybePromise,
  type Memory,
  type MountOptions,
  type Move,
  type NegErrno,
  nameBytes,
  PAGE_SIZE,
  type SuperblockOps,
  type TaskContext,
  type XattrMode,
} from '@tidemark/core';
import { HeapCharge } from './charge.js';
import { MemoryDirectory } from './memory-directory.js';
import { MemoryPages } from './memory-pages.js';

const ROOT_INO = 1;
/** What an entry takes besides its name. */
const ENTRY_BYTES = 96;
/** Total size of an inode's extended attributes. */
const XATTRS_MAX_BYTES = 65_536;
const MAX_LINKS = 65_000;

/** What memfs keeps of an inode beside core's object; `inode.priv`. */
interface MemoryNode {
  readonly directory: MemoryDirectory | null;
  readonly pages: MemoryPages | null;
  xattrs: Map<string, Uint8Array> | null;
}

/** Room in pages, shared by the files of one filesystem. */
export interface PageRoom {
  readonly nrPages: number;
  nrUsed: number;
}

export class MemoryFileSystem implements SuperblockOps {
  readonly apiVersion = 1;
  readonly rootIno = ROOT_INO;
  readonly readOnly = false;
  readonly blockSizeBytes = PAGE_SIZE;
  readonly maxFileSizeBytes: number;
  readonly maxLinks = MAX_LINKS;
  readonly updatesAtOnce = true;
  readonly #memory: Memory;
  readonly #charge: HeapCharge;
  readonly #room: PageRoom;
  readonly #rootOptions: MountOptions;
  readonly #nowMs: () => number;
  #nrInodes = 1;
  #lastIno = ROOT_INO;

  constructor(
    readonly name: string,
    memory: Memory,
    sizeBytes: number,
    options: MountOptions,
    nowMs: () => number,
  ) {
    this.#memory = memory;
    this.#charge = new HeapCharge(memory);
    this.#room = { nrPages: Math.floor(sizeBytes / PAGE_SIZE), nrUsed: 0 };
    this.#rootOptions = options;
    this.#nowMs = nowMs;
    this.maxFileSizeBytes = 2 ** 43;
  }

  readInode(_task: TaskContext, inode: Inode): 0 | NegErrno {
    if (inode.ino !== ROOT_INO) return -Errno.ESTALE; // others are in core's table, or gone
    const { mode = 0o755, uid = 0, gid = 0 } = this.#rootOptions;
    inode.mode = FileType.DIRECTORY | mode;
    inode.uid = uid;
    inode.gid = gid;
    inode.nlink = 2;
    inode.generation = 1;
    inode.accessedMs = inode.modifiedMs = inode.changedMs = inode.createdMs = this.#nowMs();
    inode.isKept = true;
    inode.priv = { directory: new MemoryDirectory(ROOT_INO), pages: null, xattrs: null } satisfies MemoryNode;
    return 0;
  }

  deleteInode(_task: TaskContext, inode: Inode): 0 {
    this.#nrInodes--; // its pages have told `MemoryPages` that they go
    this.#charge.give(linkUnits(inode) + xattrUnits(nodeOf(inode).xattrs));
    return 0;
  }

  lookup(_task: TaskContext, dir: Inode, name: string, found: FoundEntry): 0 | NegErrno {
    const directory = directoryOf(dir);
    const ino = name === '..' ? directory.parent : directory.get(name)?.ino;
    if (ino === undefined) return -Errno.ENOENT;
    found.ino = ino;
    return 0;
  }

  readDirectory(_task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): 0 {
    directoryOf(dir).read(cookie, sink);
    return 0;
  }

  create(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    if (this.#nrInodes >= this.#room.nrPages) return -Errno.ENOSPC;
    return this.#taking(task, entryUnits(name) + linkUnits(inode), () => {
      inode.ino = ++this.#lastIno;
      inode.generation = 1; // a number is never used again
      inode.isKept = true;
      const isDirectory = inode.isDirectory;
      inode.priv = {
        directory: isDirectory ? new MemoryDirectory(dir.ino) : null,
        pages: inode.isRegular ? new MemoryPages(inode, this.#memory.frames, this.#room) : null,
        xattrs: null,
      } satisfies MemoryNode;
      inode.nlink = isDirectory ? 2 : 1;
      inode.sizeBytes = inode.linkTarget === null ? 0 : nameBytes(inode.linkTarget);
      if (isDirectory) dir.nlink++;
      directoryOf(dir).set(name, inode.ino, inode.mode & FileType.MASK);
      this.#nrInodes++;
      return 0;
    });
  }

  link(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#taking(task, entryUnits(name), () => {
      inode.nlink++;
      directoryOf(dir).set(name, inode.ino, inode.mode & FileType.MASK);
      return 0;
    });
  }

  remove(_task: TaskContext, dir: Inode, name: string, inode: Inode): 0 | NegErrno {
    if (inode.isDirectory && !directoryOf(inode).isEmpty) return -Errno.ENOTEMPTY;
    directoryOf(dir).delete(name);
    this.#charge.give(entryUnits(name));
    this.#unlinked(dir, inode);
    return 0;
  }

  /** An inode has lost its name in `dir`. */
  #unlinked(dir: Inode, inode: Inode): void {
    inode.nlink -= inode.isDirectory ? 2 : 1;
    if (inode.isDirectory) dir.nlink--;
  }

  rename(task: TaskContext, move: Move): MaybePromise<0 | NegErrno> {
    const { fromDir, fromName, inode, toDir, toName, replaced, isExchange } = move;
    if (replaced !== null && !isExchange && replaced.isDirectory && !directoryOf(replaced).isEmpty) return -Errno.ENOTEMPTY;
    const moveIn = (dir: Inode, name: string, moved: Inode): void => {
      directoryOf(dir).set(name, moved.ino, moved.mode & FileType.MASK);
      if (moved.isDirectory) directoryOf(moved).parent = dir.ino;
    };
    return this.#taking(task, replaced === null ? entryUnits(toName) : 0, () => {
      if (inode.isDirectory) {
        fromDir.nlink--;
        toDir.nlink++;
      }
      if (isExchange && replaced !== null) {
        if (replaced.isDirectory) {
          toDir.nlink--;
          fromDir.nlink++;
        }
        moveIn(fromDir, fromName, replaced);
      } else {
        directoryOf(fromDir).delete(fromName);
        this.#charge.give(entryUnits(fromName));
        if (replaced !== null) this.#unlinked(toDir, replaced);
      }
      moveIn(toDir, toName, inode);
      return 0;
    });
  }

  setAttributes(_task: TaskContext, _inode: Inode, _change: AttributeChange): 0 {
    return 0; // core's object is all there is
  }

  readLink(_task: TaskContext, _inode: Inode): NegErrno {
    return -Errno.EIO; // core has it since it was made
  }

  addressSpace(inode: Inode): AddressSpaceOperations {
    return nodeOf(inode).pages as MemoryPages;
  }

  allocate(_task: TaskContext, _inode: Inode, mode: number): 0 | NegErrno {
    // Room that is only promised would not be there: pages are taken when they are written.
    return mode === AllocateMode.PUNCH_HOLE || mode === AllocateMode.ZERO_RANGE ? 0 : -Errno.EOPNOTSUPP;
  }

  seekData(_task: TaskContext, inode: Inode, offsetBytes: number): number | NegErrno {
    return (nodeOf(inode).pages as MemoryPages).seek(offsetBytes, true);
  }

  seekHole(_task: TaskContext, inode: Inode, offsetBytes: number): number | NegErrno {
    return (nodeOf(inode).pages as MemoryPages).seek(offsetBytes, false);
  }

  getXattr(_task: TaskContext, inode: Inode, name: string): Uint8Array | NegErrno {
    return nodeOf(inode).xattrs?.get(name)?.slice() ?? -Errno.ENODATA;
  }

  listXattrs(_task: TaskContext, inode: Inode): readonly string[] {
    return [...(nodeOf(inode).xattrs?.keys() ?? [])];
  }

  setXattr(task: TaskContext, inode: Inode, name: string, value: Uint8Array, mode: XattrMode): MaybePromise<0 | NegErrno> {
    const node = nodeOf(inode);
    const had = node.xattrs?.get(name);
    if (had !== undefined && mode === 'create') return -Errno.EEXIST;
    if (had === undefined && mode === 'replace') return -Errno.ENODATA;
    const changed = new Map(node.xattrs ?? []).set(name, value.slice());
    if (xattrBytes(changed) > XATTRS_MAX_BYTES) return -Errno.ENOSPC;
    return this.#taking(task, xattrUnits(changed), () => {
      this.#charge.give(xattrUnits(node.xattrs));
      node.xattrs = changed;
      return 0;
    });
  }

  removeXattr(_task: TaskContext, inode: Inode, name: string): 0 | NegErrno {
    const node = nodeOf(inode);
    if (node.xattrs === null || !node.xattrs.has(name)) return -Errno.ENODATA;
    const before = xattrUnits(node.xattrs);
    node.xattrs.delete(name);
    this.#charge.give(before - xattrUnits(node.xattrs));
    return 0;
  }

  /** Takes units, then does what they are for. */
  #taking(task: TaskContext, nrUnits: number, work: () => 0): MaybePromise<0 | NegErrno> {
    const taken = this.#charge.take(task, nrUnits);
    if (typeof taken === 'number') return taken < 0 ? taken : work();
    return taken.then((status) => (status < 0 ? status : work()));
  }

  room(): FileSystemRoom {
    const { nrPages, nrUsed } = this.#room;
    const freeBytes = (nrPages - nrUsed) * PAGE_SIZE;
    return {
      totalBytes: nrPages * PAGE_SIZE,
      freeBytes,
      availableBytes: freeBytes,
      totalInodes: nrPages,
      freeInodes: Math.max(nrPages - this.#nrInodes, 0),
    };
  }

  sync(): 0 {
    return 0;
  }

  unmount(): 0 {
    this.#charge.dispose();
    return 0;
  }
}

function nodeOf(inode: Inode): MemoryNode {
  return inode.priv as MemoryNode;
}

function directoryOf(inode: Inode): MemoryDirectory {
  return nodeOf(inode).directory as MemoryDirectory;
}

function entryUnits(name: string): number {
  return HeapCharge.unitsOf(ENTRY_BYTES + name.length * 2);
}

function linkUnits(inode: Inode): number {
  return inode.linkTarget === null ? 0 : HeapCharge.unitsOf(inode.linkTarget.length * 2);
}

function xattrBytes(xattrs: Map<string, Uint8Array> | null): number {
  let bytes = 0;
  for (const [name, value] of xattrs ?? []) bytes += name.length * 2 + value.length + ENTRY_BYTES;
  return bytes;
}

function xattrUnits(xattrs: Map<string, Uint8Array> | null): number {
  return HeapCharge.unitsOf(xattrBytes(xattrs));
}
