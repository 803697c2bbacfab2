/** What `stat`, `readdir` and `statfs` answer: the shapes of Node's own classes. */
import type { Inode } from '../../vfs/inode.js';
import { FileType } from '../../vfs/mode.js';

const UNIT_BYTES = 512;

/** What the type in a mode says; shared by `Stats`, `BigIntStats` and `Dirent`. */
abstract class Typed {
  protected abstract get typeBits(): number;

  isFile(): boolean {
    return this.typeBits === FileType.REGULAR;
  }

  isDirectory(): boolean {
    return this.typeBits === FileType.DIRECTORY;
  }

  isSymbolicLink(): boolean {
    return this.typeBits === FileType.SYMLINK;
  }

  isFIFO(): boolean {
    return this.typeBits === FileType.FIFO;
  }

  isSocket(): boolean {
    return this.typeBits === FileType.SOCKET;
  }

  isBlockDevice(): boolean {
    return this.typeBits === FileType.BLOCK_DEVICE;
  }

  isCharacterDevice(): boolean {
    return this.typeBits === FileType.CHARACTER_DEVICE;
  }
}

export class Stats extends Typed {
  readonly dev: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly ino: number;
  readonly size: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly atimeMs: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly birthtimeMs: number;

  constructor(inode: Inode) {
    super();
    this.dev = inode.superblock.fsid;
    this.mode = inode.mode;
    this.nlink = inode.nlink;
    this.uid = inode.uid;
    this.gid = inode.gid;
    this.rdev = inode.rdev;
    this.blksize = inode.superblock.blockSizeBytes;
    this.ino = inode.ino;
    this.size = inode.sizeBytes;
    this.blocks = Math.ceil(inode.blocksBytes / UNIT_BYTES);
    this.atimeMs = inode.accessedMs;
    this.mtimeMs = inode.modifiedMs;
    this.ctimeMs = inode.changedMs;
    this.birthtimeMs = inode.createdMs;
  }

  protected get typeBits(): number {
    return this.mode & FileType.MASK;
  }

  get atime(): Date {
    return new Date(this.atimeMs);
  }

  get mtime(): Date {
    return new Date(this.mtimeMs);
  }

  get ctime(): Date {
    return new Date(this.ctimeMs);
  }

  get birthtime(): Date {
    return new Date(this.birthtimeMs);
  }
}

function nanoseconds(ms: number): bigint {
  const whole = Math.floor(ms);
  return BigInt(whole) * 1_000_000n + BigInt(Math.floor((ms - whole) * 1e6));
}

/** As `Stats`, with bigints, and times in nanoseconds besides. */
export class BigIntStats extends Typed {
  readonly dev: bigint;
  readonly mode: bigint;
  readonly nlink: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly rdev: bigint;
  readonly blksize: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly atimeMs: bigint;
  readonly mtimeMs: bigint;
  readonly ctimeMs: bigint;
  readonly birthtimeMs: bigint;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthtimeNs: bigint;
  readonly atime: Date;
  readonly mtime: Date;
  readonly ctime: Date;
  readonly birthtime: Date;

  constructor(inode: Inode) {
    super();
    const plain = new Stats(inode);
    this.dev = BigInt(plain.dev);
    this.mode = BigInt(plain.mode);
    this.nlink = BigInt(plain.nlink);
    this.uid = BigInt(plain.uid);
    this.gid = BigInt(plain.gid);
    this.rdev = BigInt(plain.rdev);
    this.blksize = BigInt(plain.blksize);
    this.ino = BigInt(plain.ino);
    this.size = BigInt(plain.size);
    this.blocks = BigInt(plain.blocks);
    this.atimeNs = nanoseconds(plain.atimeMs);
    this.mtimeNs = nanoseconds(plain.mtimeMs);
    this.ctimeNs = nanoseconds(plain.ctimeMs);
    this.birthtimeNs = nanoseconds(plain.birthtimeMs);
    this.atimeMs = this.atimeNs / 1_000_000n;
    this.mtimeMs = this.mtimeNs / 1_000_000n;
    this.ctimeMs = this.ctimeNs / 1_000_000n;
    this.birthtimeMs = this.birthtimeNs / 1_000_000n;
    this.atime = plain.atime;
    this.mtime = plain.mtime;
    this.ctime = plain.ctime;
    this.birthtime = plain.birthtime;
  }

  protected get typeBits(): number {
    return Number(this.mode) & FileType.MASK;
  }
}

/** One entry of a directory, with its type. */
export class Dirent extends Typed {
  readonly #type: number;

  constructor(
    readonly name: string | Buffer,
    readonly parentPath: string,
    type: number,
  ) {
    super();
    this.#type = type;
  }

  /** The older name of `parentPath`. */
  get path(): string {
    return this.parentPath;
  }

  protected get typeBits(): number {
    return this.#type;
  }
}

/** What `statfs` answers; with bigints if asked for. */
export interface StatFs<N extends number | bigint> {
  readonly type: N;
  readonly bsize: N;
  readonly blocks: N;
  readonly bfree: N;
  readonly bavail: N;
  readonly files: N;
  readonly ffree: N;
}
