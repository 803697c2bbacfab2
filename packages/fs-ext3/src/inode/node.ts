/** An inode in memory, beside core's: what is on disk of it, and what its pages need to be written. Lives in `inode.priv`. */
import { FileType as CoreType, type Inode, Semaphore, WaitQueue } from '@tidemark/core';
import { FileType, InodeFlag, NR_POINTERS, type RawInode } from '../format/inode.js';
import { fromMs, toMs } from './times.js';

/** What one takes on the JS heap. */
export const NODE_BYTES = 1024;

const NOTHING: RawInode = {
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  atime: { seconds: 0, nanoseconds: 0 },
  ctime: { seconds: 0, nanoseconds: 0 },
  mtime: { seconds: 0, nanoseconds: 0 },
  birthTime: null,
  dtime: 0,
  linksCount: 0,
  sectors: 0,
  flags: 0,
  version: 0,
  generation: 0,
  attributeBlock: 0,
  block: new Uint32Array(NR_POINTERS),
  extraBytes: 0,
};

/** Blocks of a page that is to be written, 0 for those that need not be. */
export interface PageMapping {
  readonly blocks: Uint32Array;
}

export class Node {
  ino = 0;
  raw: RawInode = NOTHING;
  /** Largest size since it was read or cut: there may be blocks up to it. */
  highWaterBytes = 0;
  /** Transactions that changed it last: in anything, and in what is needed to find its data. */
  transaction = 0;
  dataTransaction = 0;
  /** Has never been in a transaction since it was read. */
  isUntouched = true;
  /** By page. */
  readonly mappings = new Map<number, PageMapping>();
  /** Writes of its pages in flight. */
  nrWriting = 0;
  /** Woken when there is none. */
  readonly written = new WaitQueue({ kind: 'writeback', name: 'pages of a file of ext3' });
  /** Held by who changes its block map. Its holder waits neither for a commit nor for ordinary memory. */
  readonly mapTurn = new Semaphore(1, { kind: 'lock', name: 'block map of a file of ext3' });

  reset(): void {
    this.ino = this.highWaterBytes = this.transaction = this.dataTransaction = this.nrWriting = 0;
    this.raw = NOTHING;
    this.isUntouched = true;
    this.mappings.clear();
  }

  get isDirectory(): boolean {
    return (this.raw.mode & FileType.MASK) === FileType.DIRECTORY;
  }

  get isRegular(): boolean {
    return (this.raw.mode & FileType.MASK) === FileType.REGULAR;
  }

  /** True if its pointers name blocks: not for device nodes and short symbolic links. */
  hasBlocks(blockSize: number): boolean {
    const type = this.raw.mode & FileType.MASK;
    if (type === FileType.SYMLINK) return !this.isFastSymlink(blockSize);
    return type === FileType.REGULAR || type === FileType.DIRECTORY;
  }

  /** A symbolic link whose target lies where the pointers would. */
  isFastSymlink(blockSize: number): boolean {
    const attributes = this.raw.attributeBlock === 0 ? 0 : blockSize / 512;
    return (this.raw.mode & FileType.MASK) === FileType.SYMLINK && this.raw.sectors === attributes;
  }

  get isImmutable(): boolean {
    return (this.raw.flags & InodeFlag.IMMUTABLE) !== 0;
  }

  get isAppendOnly(): boolean {
    return (this.raw.flags & InodeFlag.APPEND) !== 0;
  }
}

export function nodeOf(inode: Inode): Node {
  return inode.priv as Node;
}

/** Fills in core's inode from what is on disk. */
export function toCore(inode: Inode, { raw }: Node): void {
  inode.generation = raw.generation;
  inode.mode = raw.mode;
  inode.uid = raw.uid;
  inode.gid = raw.gid;
  inode.nlink = raw.linksCount;
  inode.sizeBytes = raw.size;
  inode.blocksBytes = raw.sectors * 512;
  inode.accessedMs = toMs(raw.atime);
  inode.modifiedMs = toMs(raw.mtime);
  inode.changedMs = toMs(raw.ctime);
  inode.createdMs = raw.birthTime === null ? inode.changedMs : toMs(raw.birthTime);
  const type = raw.mode & FileType.MASK;
  inode.rdev = type === CoreType.CHARACTER_DEVICE || type === CoreType.BLOCK_DEVICE ? getDevice(raw.block) : 0;
}

/** Takes from core's inode what core changes. */
export function fromCore(node: Node, inode: Inode, inodeSize: number): void {
  const { raw } = node;
  node.highWaterBytes = Math.max(node.highWaterBytes, raw.size, inode.sizeBytes);
  raw.mode = inode.mode;
  raw.uid = inode.uid;
  raw.gid = inode.gid;
  raw.linksCount = inode.nlink;
  raw.size = inode.sizeBytes;
  const hasExtra = inodeSize > 128 && raw.extraBytes >= 16;
  raw.atime = fromMs(inode.accessedMs, hasExtra);
  raw.mtime = fromMs(inode.modifiedMs, hasExtra);
  raw.ctime = fromMs(inode.changedMs, hasExtra);
  inode.blocksBytes = raw.sectors * 512;
}

const MINOR_BITS = 20;

/** Device number of a device node, as core has it: major × 2^20 + minor. */
function getDevice(block: Uint32Array): number {
  const [old, wide] = block;
  if (old !== 0) return ((old >>> 8) & 0xff) * 2 ** MINOR_BITS + (old & 0xff);
  return ((wide >>> 8) & 0xfff) * 2 ** MINOR_BITS + ((wide & 0xff) | ((wide >>> 12) & 0xfff00));
}

/** Puts a device number where the pointers would be. */
export function putDevice(block: Uint32Array, device: number): void {
  const major = Math.floor(device / 2 ** MINOR_BITS);
  const minor = device % 2 ** MINOR_BITS;
  if (major < 256 && minor < 256) block[0] = (major << 8) | minor;
  else block[1] = ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
