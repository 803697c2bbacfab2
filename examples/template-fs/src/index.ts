/**
 * A filesystem to begin with: files and directories in memory, `kernel.mount('template:', '/')`. Small, whole, and green under the suite; make it
 * yours from here.
 *
 * What a filesystem owes to the kernel is in the comments of `SuperblockOps`; the guide is `docs/writing-a-filesystem.md`.
 */
import {
  type AddressSpaceOperations,
  type AttributeChange,
  CLOCK,
  definePlugin,
  type DirectorySink,
  Errno,
  FILE_SYSTEM,
  type FileSystemRoom,
  type FileSystemType,
  FileType,
  type FoundEntry,
  Gfp,
  type Inode,
  type MaybePromise,
  MEMORY,
  type Memory,
  type Move,
  type NegErrno,
  PAGE_SIZE,
  PG,
  SlabCache,
  type SuperblockOps,
  type TaskContext,
} from '@tidemark/core';

const ROOT_INO = 1;
const PAGES_MAX = 1024;
const NODES_MAX = 4096;
/** What an entry takes on the JS heap: what is kept there is paid for with frames. */
const ENTRY_BYTES = 1024;

/** A name in a directory. Its cookie is how many were made in it before, plus one: good as long as the directory is. */
interface Entry {
  ino: number;
  type: number;
  cookie: number;
}

/** What this filesystem keeps of a directory; `inode.priv`. */
class Directory {
  readonly entries = new Map<string, Entry>();
  nrMade = 0;
  constructor(public parent: number) {}
}

class TemplateFileSystem implements SuperblockOps {
  readonly apiVersion = 1;
  readonly name = 'template';
  readonly rootIno = ROOT_INO;
  readonly readOnly = false;
  readonly blockSizeBytes = PAGE_SIZE;
  readonly maxFileSizeBytes = 2 ** 32;
  readonly maxLinks = 65_000;
  readonly updatesAtOnce = true;
  readonly #slab: SlabCache<Entry>;
  readonly #paid = new Set<Entry>();
  #nrPages = 0;
  #nrNodes = 1;
  #lastIno = ROOT_INO;

  constructor(
    readonly memory: Memory,
    readonly nowMs: () => number,
  ) {
    this.#slab = new SlabCache(memory.frameSource(Gfp.SLAB), {
      name: 'template entries',
      objectBytes: ENTRY_BYTES,
      create: () => ({ ino: 0, type: 0, cookie: 0 }),
    });
  }

  /** Memory is the only store: every inode but the root is in core's table, or gone. */
  readInode(_task: TaskContext, inode: Inode): 0 | NegErrno {
    if (inode.ino !== ROOT_INO) return -Errno.ESTALE;
    inode.mode = FileType.DIRECTORY | 0o755;
    inode.nlink = 2;
    inode.generation = 1;
    inode.accessedMs = inode.modifiedMs = inode.changedMs = inode.createdMs = this.nowMs();
    inode.isKept = true;
    inode.priv = new Directory(ROOT_INO);
    return 0;
  }

  deleteInode(): 0 {
    this.#nrNodes--;
    return 0;
  }

  lookup(_task: TaskContext, dir: Inode, name: string, found: FoundEntry): 0 | NegErrno {
    const { entries, parent } = directoryOf(dir);
    const ino = name === '..' ? parent : entries.get(name)?.ino;
    if (ino === undefined) return -Errno.ENOENT;
    found.ino = ino;
    return 0;
  }

  readDirectory(_task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): 0 {
    for (const [name, entry] of directoryOf(dir).entries)
      if (entry.cookie > cookie && !sink.add(name, entry.ino, entry.type, entry.cookie)) break;
    return 0;
  }

  /** A name, paid for. Waits for memory if it must, and holds nothing meanwhile that anybody's writeout waits for. */
  #entry(task: TaskContext, work: (entry: Entry) => void): MaybePromise<0 | NegErrno> {
    const entry = this.#slab.alloc(task);
    if (entry === null) return this.#entrySlow(task, work);
    this.#paid.add(entry);
    work(entry);
    return 0;
  }

  async #entrySlow(task: TaskContext, work: (entry: Entry) => void): Promise<0 | NegErrno> {
    await this.memory.makeRoom(task, 1);
    const entry = this.#slab.alloc(task);
    if (entry === null) return -Errno.ENOMEM;
    this.#paid.add(entry);
    work(entry);
    return 0;
  }

  #giveBack(entry: Entry): void {
    this.#paid.delete(entry);
    this.#slab.free(entry);
  }

  #put(dir: Inode, name: string, inode: Inode, entry: Entry): void {
    const directory = directoryOf(dir);
    Object.assign(entry, { ino: inode.ino, type: inode.mode & FileType.MASK, cookie: ++directory.nrMade });
    directory.entries.set(name, entry);
  }

  #take(dir: Inode, name: string): Entry {
    const { entries } = directoryOf(dir);
    const entry = entries.get(name) as Entry;
    entries.delete(name);
    return entry;
  }

  create(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    if (!inode.isRegular && !inode.isDirectory) return -Errno.EPERM;
    if (this.#nrNodes >= NODES_MAX) return -Errno.ENOSPC;
    return this.#entry(task, (entry) => {
      this.#nrNodes++;
      inode.ino = ++this.#lastIno;
      inode.generation = 1; // a number is never used again
      inode.nlink = inode.isDirectory ? 2 : 1;
      inode.isKept = true;
      inode.priv = inode.isDirectory ? new Directory(dir.ino) : null;
      if (inode.isDirectory) dir.nlink++;
      this.#put(dir, name, inode, entry);
    });
  }

  link(): NegErrno {
    return -Errno.EPERM; // one name is enough for a beginning
  }

  remove(_task: TaskContext, dir: Inode, name: string, inode: Inode): 0 | NegErrno {
    if (inode.isDirectory && directoryOf(inode).entries.size > 0) return -Errno.ENOTEMPTY;
    this.#giveBack(this.#take(dir, name));
    this.#unlinked(dir, inode);
    return 0;
  }

  #unlinked(dir: Inode, inode: Inode): void {
    inode.nlink -= inode.isDirectory ? 2 : 1;
    if (inode.isDirectory) dir.nlink--;
  }

  rename(_task: TaskContext, { fromDir, fromName, inode, toDir, toName, replaced, isExchange }: Move): 0 | NegErrno {
    if (isExchange) return -Errno.EOPNOTSUPP;
    if (replaced?.isDirectory && directoryOf(replaced).entries.size > 0) return -Errno.ENOTEMPTY;
    if (replaced !== null) {
      this.#giveBack(this.#take(toDir, toName));
      this.#unlinked(toDir, replaced);
    }
    this.#put(toDir, toName, inode, this.#take(fromDir, fromName));
    if (inode.isDirectory) {
      fromDir.nlink--;
      toDir.nlink++;
      directoryOf(inode).parent = toDir.ino;
    }
    return 0;
  }

  setAttributes(_task: TaskContext, _inode: Inode, _change: AttributeChange): 0 {
    return 0; // core's inode is all there is
  }

  readLink(): NegErrno {
    return -Errno.EINVAL;
  }

  /** Pages that only memory holds: without `writepages` they stay until they are truncated. */
  addressSpace(inode: Inode): AddressSpaceOperations {
    const count = (by: 1 | -1): void => {
      this.#nrPages += by;
      inode.blocksBytes += by * PAGE_SIZE;
    };
    return {
      device: this,
      get sizeBytes() {
        return inode.sizeBytes;
      },
      setSize: (sizeBytes) => {
        inode.sizeBytes = sizeBytes;
      },
      dirtyPage: (_task, change) => {
        const isNew = !change.isDirty;
        if (isNew && this.#nrPages >= PAGES_MAX) return -Errno.ENOSPC;
        const status = change.bringIn();
        if (status === 0 && isNew) count(1);
        return status;
      },
      invalidate: (_index, pfn) => {
        if ((this.memory.frames.flags[pfn] & PG.DIRTY) !== 0) count(-1);
      },
    };
  }

  room(): FileSystemRoom {
    const freeBytes = (PAGES_MAX - this.#nrPages) * PAGE_SIZE;
    return {
      totalBytes: PAGES_MAX * PAGE_SIZE,
      freeBytes,
      availableBytes: freeBytes,
      totalInodes: NODES_MAX,
      freeInodes: NODES_MAX - this.#nrNodes,
    };
  }

  sync(): 0 {
    return 0;
  }

  unmount(): 0 {
    for (const entry of [...this.#paid]) this.#giveBack(entry);
    this.#slab.dispose();
    return 0;
  }
}

const directoryOf = (inode: Inode): Directory => inode.priv as Directory;

/** Registers `template:`. */
export const templateFs = definePlugin({
  name: 'template-fs',
  register(container) {
    container.register(FILE_SYSTEM, {
      useFactory: (c): FileSystemType => ({
        schemes: ['template'],
        mount() {
          const clock = c.resolve(CLOCK);
          return new TemplateFileSystem(c.resolve(MEMORY), () => clock.wallMs?.() ?? clock.nowMs());
        },
      }),
    });
  },
});
