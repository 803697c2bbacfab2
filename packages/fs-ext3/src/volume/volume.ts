/**
 * A mounted ext3 as core sees it (`SuperblockOps`). Each operation that changes something is one or more handles of the journal; inside, damage and
 * failed I/O are thrown, and end here as errnos.
 */
import {
  type AddressSpaceOperations,
  AllocateMode,
  type AttributeChange,
  decodeName,
  type DirectorySink,
  Errno,
  errnoOf,
  type FileSystemRoom,
  FileType,
  type FoundEntry,
  type Inode,
  isKernelError,
  isPromise,
  KernelError,
  type MaybePromise,
  type Move,
  type NegErrno,
  type PinnedFile,
  type PinSpec,
  nameBytes,
  PAGE_SIZE,
  run,
  type Steps,
  type SuperblockOps,
  settle,
  type TaskContext,
  type WriteoutNode,
  type XattrMode,
} from '@tidemark/core';
import { Directories } from '../directory/directory.js';
import { maxFileBytes } from '../format/block-path.js';
import { superblockOverhead } from '../format/geometry.js';
import { fastSymlinkText, LINKS_MAX, ReservedInode } from '../format/inode.js';
import { FsState, OnError } from '../format/superblock.js';
import { FilePages } from '../inode/file-pages.js';
import { fromCore, type Node, nodeOf, toCore } from '../inode/node.js';
import { reserveSpace } from '../inode/reserve-space.js';
import { seek } from '../inode/seek.js';
import { pinInode } from '../inode/pinned-file.js';
import { deleteNode, punch, truncate } from '../inode/truncate.js';
import type { Handle } from '../journal/handle.js';
import { type Look, looking } from '../metadata/block-reader.js';
import { createFile } from '../operations/create.js';
import { linkFile, mayChangeEntries, removeFile, renameFile } from '../operations/names.js';
import { allocObject } from './heap.js';
import { type Parts, wallMs } from './parts.js';

/** What a volume is mounted with, and how it is taken down. */
export interface Mounting {
  readonly readOnly: boolean;
  readonly writeout: SuperblockOps['writeout'];
  /** Ends it: cleanly, or by force. */
  close(task: TaskContext, isForced: boolean): Promise<0 | NegErrno>;
  /** Its nodes have left the writeout graph. */
  released(): Promise<void>;
}

export class Volume implements SuperblockOps {
  readonly apiVersion = 1;
  readonly name: string;
  readonly rootIno = ReservedInode.ROOT;
  readonly readOnly: boolean;
  readonly blockSizeBytes: number;
  readonly maxFileSizeBytes: number;
  readonly maxLinks = LINKS_MAX;
  readonly updatesAtOnce = false;
  readonly writeout: SuperblockOps['writeout'];
  readonly pinsThrough: WriteoutNode;
  readonly #directories: Directories;

  constructor(
    readonly parts: Parts,
    readonly mounting: Mounting,
  ) {
    this.name = parts.name;
    this.readOnly = mounting.readOnly;
    this.writeout = mounting.writeout;
    this.pinsThrough = parts.dataNode;
    this.blockSizeBytes = parts.geometry.blockSize;
    this.maxFileSizeBytes = Math.min(maxFileBytes(this.blockSizeBytes), 2 ** 44);
    this.#directories = new Directories(parts);
  }

  /** Runs an operation. */
  #op<T>(steps: Steps<T | NegErrno>): MaybePromise<T | NegErrno> {
    try {
      const value = run(steps);
      return isPromise(value) ? value.catch(this.#failed) : value;
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** As `#op`, again after a commit if there was no room, and room was freed that a commit makes usable. */
  #changing(task: TaskContext, steps: () => Steps<0 | NegErrno>): MaybePromise<0 | NegErrno> {
    const { journal } = this.parts;
    return this.#op(
      (function* (): Steps<0 | NegErrno> {
        const status = yield* steps();
        if (status !== -Errno.ENOSPC || !journal.hasUndo) return status;
        const committed = yield* journal.commit(task);
        return committed < 0 ? committed : yield* steps();
      })(),
    );
  }

  /** What was thrown, as an errno. Damage is kept in the superblock, and ends all changes unless the image says otherwise. */
  readonly #failed = (error: unknown): NegErrno => {
    if (!isKernelError(error)) throw error;
    if (error.code === 'EUCLEAN' && !this.readOnly) {
      const { superblock, journal } = this.parts;
      superblock.fields.state |= FsState.ERROR;
      if (superblock.fields.errors !== OnError.CONTINUE) journal.abort(error);
    }
    return errnoOf(error);
  };

  #looking<T>(task: TaskContext, work: (look: Look) => Steps<T | NegErrno>): MaybePromise<T | NegErrno> {
    return this.#op(looking(task, this.parts.cache, work));
  }

  /** Changes an inode in a handle, and writes it with what core has set. */
  #changingInode(
    task: TaskContext,
    inode: Inode,
    credits: number,
    work: (handle: Handle) => Steps<0 | NegErrno>,
  ): MaybePromise<0 | NegErrno> {
    const { journal, table, geometry } = this.parts;
    const node = nodeOf(inode);
    if (node.isImmutable) return -Errno.EPERM;
    return this.#changing(task, () =>
      journal.do(task, credits, function* (handle) {
        const status = yield* work(handle);
        if (status < 0) return status;
        fromCore(node, inode, geometry.inodeSize);
        yield* table.write(handle, node);
        return 0;
      }),
    );
  }

  readInode(task: TaskContext, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#op(this.#read(task, inode));
  }

  *#read(task: TaskContext, inode: Inode): Steps<0 | NegErrno> {
    const { memory, nodes, cache, table, superblock, geometry } = this.parts;
    if (inode.ino !== this.rootIno && inode.ino < superblock.fields.firstInode) return -Errno.ESTALE;
    if (inode.ino > superblock.fields.inodesCount) return -Errno.ESTALE;
    const node = yield* allocObject(task, memory, nodes);
    if (typeof node === 'number') return node;
    try {
      node.raw = yield* looking(task, cache, (look) => table.read(look, inode.ino));
      node.ino = inode.ino;
      if (node.raw.linksCount === 0) {
        nodes.free(node);
        return -Errno.ESTALE;
      }
      checkInode(table.nameOf(inode.ino), node, geometry.blockSize, this.maxFileSizeBytes);
    } catch (error) {
      nodes.free(node);
      throw error;
    }
    toCore(inode, node);
    inode.priv = node;
    return 0;
  }

  forget(inode: Inode): void {
    const node = inode.priv as Node | null;
    if (node === null) return;
    inode.priv = null;
    for (const mapping of node.mappings.values()) this.parts.mappings.free(mapping);
    this.parts.nodes.free(node);
  }

  deleteInode(task: TaskContext, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#op(deleteNode(this.parts, task, nodeOf(inode), wallMs(this.parts.clock)));
  }

  lookup(task: TaskContext, dir: Inode, name: string, found: FoundEntry): MaybePromise<0 | NegErrno> {
    const directories = this.#directories;
    return this.#looking(task, function* (look) {
      const ino = yield* directories.lookup(look, nodeOf(dir), name);
      if (ino === 0) return -Errno.ENOENT;
      found.ino = ino;
      found.hint = null;
      return 0;
    });
  }

  readDirectory(task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink): MaybePromise<0 | NegErrno> {
    const directories = this.#directories;
    return this.#looking(task, function* (look) {
      yield* directories.read(look, nodeOf(dir), cookie, sink);
      return 0;
    });
  }

  create(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    const { parts } = this;
    const target = inode.linkTarget;
    if (target !== null && nameBytes(target) >= this.blockSizeBytes) return -Errno.ENAMETOOLONG;
    const refused = mayChangeEntries(dir, false);
    if (refused !== 0) return refused;
    const directories = this.#directories;
    return this.#changing(task, function* () {
      const node = yield* allocObject(task, parts.memory, parts.nodes);
      if (typeof node === 'number') return node;
      let status: NegErrno = -Errno.EIO;
      try {
        status = yield* createFile(parts, directories, task, dir, name, inode, node);
      } finally {
        if (status < 0) {
          inode.priv = null;
          parts.nodes.free(node);
        }
      }
      return status;
    });
  }

  link(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#changing(task, () => linkFile(this.parts, this.#directories, task, dir, name, inode));
  }

  remove(task: TaskContext, dir: Inode, name: string, inode: Inode): MaybePromise<0 | NegErrno> {
    return this.#op(removeFile(this.parts, this.#directories, task, dir, name, inode));
  }

  rename(task: TaskContext, move: Move): MaybePromise<0 | NegErrno> {
    return this.#changing(task, () => renameFile(this.parts, this.#directories, task, move));
  }

  setAttributes(task: TaskContext, inode: Inode, change: AttributeChange): MaybePromise<0 | NegErrno> {
    const { parts } = this;
    const node = nodeOf(inode);
    if (change.sizeBytes === undefined || change.sizeBytes >= Math.max(node.highWaterBytes, node.raw.size))
      return this.#changingInode(task, inode, parts.credits.inode, () => settle(0));
    if (node.isImmutable || node.isAppendOnly) return -Errno.EPERM;
    fromCore(node, inode, parts.geometry.inodeSize);
    return this.#op(truncate(parts, task, node));
  }

  readLink(task: TaskContext, inode: Inode): MaybePromise<string | NegErrno> {
    const { parts } = this;
    const node = nodeOf(inode);
    const { size, block } = node.raw;
    if (node.isFastSymlink(this.blockSizeBytes)) return decodeName(fastSymlinkText(block), 0, size);
    return this.#looking<string>(task, function* (look) {
      const at = yield* parts.map.find(look, node, 0);
      if (at === 0) throw new KernelError('EUCLEAN', `${parts.table.nameOf(node.ino)} is a symbolic link without a target`);
      return decodeName((yield* look.get(at)).bytes, 0, size);
    });
  }

  addressSpace(inode: Inode): AddressSpaceOperations {
    return new FilePages(this.parts, inode, this.#failed);
  }

  /**
   * Of a range that is to be zeroes, whole pages are freed; what is left of it core has zeroed in memory. Behind its end a file can have no blocks:
   * `-EOPNOTSUPP` for KEEP_SIZE there.
   */
  allocate(task: TaskContext, inode: Inode, mode: number, offsetBytes: number, lengthBytes: number): MaybePromise<0 | NegErrno> {
    const node = nodeOf(inode);
    if (node.isImmutable || node.isAppendOnly) return -Errno.EPERM;
    const perPage = PAGE_SIZE / this.blockSizeBytes;
    const end = offsetBytes + lengthBytes;
    if (mode === AllocateMode.RESERVE || mode === AllocateMode.KEEP_SIZE) {
      if (mode === AllocateMode.KEEP_SIZE && end > Math.ceil(inode.sizeBytes / this.blockSizeBytes) * this.blockSizeBytes)
        return -Errno.EOPNOTSUPP;
      return this.#op(
        reserveSpace(this.parts, task, inode, offsetBytes, mode === AllocateMode.RESERVE ? end : Math.min(end, inode.sizeBytes)),
      );
    }
    if (mode !== AllocateMode.PUNCH_HOLE && mode !== AllocateMode.ZERO_RANGE) return -Errno.EOPNOTSUPP;
    const first = Math.ceil(offsetBytes / PAGE_SIZE) * perPage;
    const last = (end >= inode.sizeBytes ? Math.ceil(end / PAGE_SIZE) : Math.floor(end / PAGE_SIZE)) * perPage;
    if (last <= first) return 0;
    fromCore(node, inode, this.parts.geometry.inodeSize);
    return this.#op(punch(this.parts, task, node, first, last));
  }

  seekData(task: TaskContext, inode: Inode, offsetBytes: number): MaybePromise<number | NegErrno> {
    return this.#looking<number>(task, (look) => seek(this.parts, look, inode, offsetBytes, true));
  }

  seekHole(task: TaskContext, inode: Inode, offsetBytes: number): MaybePromise<number | NegErrno> {
    return this.#looking<number>(task, (look) => seek(this.parts, look, inode, offsetBytes, false));
  }

  getXattr(task: TaskContext, inode: Inode, name: string): MaybePromise<Uint8Array | NegErrno> {
    return this.#looking<Uint8Array>(task, (look) => this.parts.attributes.get(look, nodeOf(inode), name));
  }

  listXattrs(task: TaskContext, inode: Inode): MaybePromise<readonly string[] | NegErrno> {
    return this.#looking<readonly string[]>(task, (look) => this.parts.attributes.list(look, nodeOf(inode)));
  }

  setXattr(task: TaskContext, inode: Inode, name: string, value: Uint8Array, mode: XattrMode): MaybePromise<0 | NegErrno> {
    const { attributes, credits } = this.parts;
    return this.#changingInode(task, inode, credits.attributes, (handle) => attributes.set(handle, nodeOf(inode), name, value, mode));
  }

  removeXattr(task: TaskContext, inode: Inode, name: string): MaybePromise<0 | NegErrno> {
    const { attributes, credits } = this.parts;
    return this.#changingInode(task, inode, credits.attributes, (handle) => attributes.set(handle, nodeOf(inode), name, null, 'replace'));
  }

  room(): FileSystemRoom {
    const { geometry, superblock } = this.parts;
    const { fields } = superblock;
    let overhead = geometry.firstDataBlock + geometry.nrGroups * (2 + geometry.inodeTableBlocks);
    for (let group = 0; group < geometry.nrGroups; group++) overhead += superblockOverhead(geometry, group);
    const { blockSize } = geometry;
    return {
      totalBytes: (geometry.nrBlocks - overhead) * blockSize,
      freeBytes: fields.freeBlocksCount * blockSize,
      availableBytes: Math.max(fields.freeBlocksCount - fields.reservedBlocksCount, 0) * blockSize,
      totalInodes: fields.inodesCount,
      freeInodes: fields.freeInodesCount,
    };
  }

  sync(task: TaskContext): MaybePromise<0 | NegErrno> {
    if (this.readOnly) return 0;
    const { journal, io } = this.parts;
    return this.#op(
      (function* (): Steps<0 | NegErrno> {
        const status = yield* journal.commit(task);
        return status < 0 ? status : yield* settle(io.flush(task)); // data may have been written without a change of metadata
      })(),
    );
  }

  syncInode(task: TaskContext, inode: Inode, dataOnly: boolean): MaybePromise<0 | NegErrno> {
    if (this.readOnly) return 0;
    const { journal, io } = this.parts;
    const node = nodeOf(inode);
    const id = dataOnly ? node.dataTransaction : node.transaction;
    return this.#op(
      (function* (): Steps<0 | NegErrno> {
        const isPending = !node.isUntouched && id !== 0 && !journal.isDurable(id);
        const isCovered = isPending && journal.isRunning(id);
        const status = isPending ? yield* journal.waitFor(task, id) : journal.cause === null ? 0 : -Errno.EIO;
        return status < 0 || isCovered ? status : yield* settle(io.flush(task));
      })(),
    );
  }

  unmount(task: TaskContext, isForced: boolean): Promise<0 | NegErrno> {
    return this.mounting.close(task, isForced);
  }

  pin(task: TaskContext, inode: Inode, spec: PinSpec): Promise<PinnedFile> {
    return pinInode(this.parts, task, inode, spec);
  }

  released(): Promise<void> {
    return this.mounting.released();
  }
}

/** @throws KernelError EUCLEAN for an inode that makes no sense. */
function checkInode(name: string, node: Node, blockSize: number, maxBytes: number): void {
  const { mode, size, dtime } = node.raw;
  const insist = (holds: boolean, why: string): void => {
    if (!holds) throw new KernelError('EUCLEAN', `${name} ${why}`, { details: { ino: node.ino } });
  };
  insist(dtime === 0, 'is deleted, and has links');
  switch (mode & FileType.MASK) {
    case FileType.REGULAR:
      insist(size <= maxBytes, `has ${size} bytes, which no file can have`);
      break;
    case FileType.DIRECTORY:
      insist(size > 0 && size % blockSize === 0, `is a directory of ${size} bytes, no number of blocks`);
      break;
    case FileType.SYMLINK: {
      const most = node.isFastSymlink(blockSize) ? 59 : blockSize - 1;
      insist(size > 0 && size <= most, `is a symbolic link of ${size} bytes`);
      break;
    }
    case FileType.FIFO:
    case FileType.SOCKET:
    case FileType.CHARACTER_DEVICE:
    case FileType.BLOCK_DEVICE:
      break;
    default:
      insist(false, `has mode 0${mode.toString(8)}, which is none`);
  }
}
