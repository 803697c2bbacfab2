/**
 * Inodes: a file, directory or symbolic link, whatever its names. The object is core's; the filesystem fills the attributes in and keeps
 * them true, and has `priv` to itself.
 *
 * Who changes what:
 *
 * | field | set by |
 * |---|---|
 * | `ino`, `generation` | the filesystem, once: when it reads the inode or makes it |
 * | `mode`, `uid`, `gid`, times | core, before it calls the operation that makes them last; the filesystem when it reads or refreshes |
 * | `nlink`, `blocksBytes`, size of a directory | the filesystem |
 * | size of a regular file | the page cache, when a write ends behind it or a truncation is made |
 *
 * References: an entry of the name cache, an open file, a mount, a walk that stands on it. At 0 an inode that still has a name stays
 * cached until memory is wanted; one without a name is deleted by a task of its filesystem.
 */
import { InodeLock } from './inode-lock.js';
import type { Entry } from './name-cache.js';
import { FileType } from './mode.js';
import type { FileLocks } from './file-locks.js';
import type { PageCache } from '../cache/page-cache.js';
import type { Superblock } from './superblock.js';

/** Names a file for good, with nothing cached: superblock, number, and which of the files that had the number. */
export interface FileHandle {
  readonly fsid: number;
  readonly ino: number;
  readonly generation: number;
}

export class Inode {
  superblock!: Superblock;
  /** Positive, safe integer, unique in its superblock while the inode exists. */
  ino = 0;
  /** Differs between two files that have the same number one after the other. */
  generation = 0;
  /** Type and permission bits, see mode.ts. */
  mode = 0;
  uid = 0;
  gid = 0;
  /** Names it has; a directory counts itself and its subdirectories. */
  nlink = 0;
  /** Device number of a device node: major × 2^20 + minor. */
  rdev = 0;
  sizeBytes = 0;
  /** What it takes of the filesystem's room. */
  blocksBytes = 0;
  /** Times in milliseconds since 1970, with a fraction. */
  accessedMs = 0;
  modifiedMs = 0;
  changedMs = 0;
  createdMs = 0;
  /** Where a symbolic link leads; null while it has not been read. */
  linkTarget: string | null = null;
  /** For the filesystem. */
  priv: unknown = null;

  // What follows is core's own.
  /** Users, see above. */
  nrRefs = 0;
  /**
   * The entry that names it, the latest if there are several; null if it was found by handle, or is a root. That of a directory, or of a file
   * with one name, lives as long as somebody uses the inode.
   */
  namedBy: Entry | null = null;
  /** Entries of this directory in the name cache. */
  entries: Entry | null = null;
  /** The root of the filesystem mounted on this directory, or null. */
  mountedRoot: Inode | null = null;
  /** The pages of a regular file; made when they are first wanted. */
  pages: PageCache | null = null;
  /** What they are paid with. */
  pagesCharge: object | null = null;
  /** Advisory locks; made with the first. */
  fileLocks: FileLocks | null = null;
  /** Entries of this directory in the name cache that bear another stamp are no longer true: others changed it. */
  entriesStamp = 0;
  /** True from the removal of a directory on: nothing may be made in it. */
  isDead = false;
  /** Pins of it (pinned-files.ts): while there is one nobody writes, cuts or moves it but through a pin. */
  nrPins = 0;
  /** Who has it to itself by a pin, or null. */
  pinnedBy: string | null = null;
  /** Set by a filesystem whose only store is memory: the inode stays as long as it has a name. */
  isKept = false;
  /** Nobody refers to it: on the list of those that may go. */
  lruPrev: Inode | null = null;
  lruNext: Inode | null = null;
  readonly lock = new InodeLock('lock of', this);
  readonly dataLock = new InodeLock('data of', this);

  /** For people. */
  get name(): string {
    return `inode ${this.ino} of ${this.superblock.name}`;
  }

  get isDirectory(): boolean {
    return (this.mode & FileType.MASK) === FileType.DIRECTORY;
  }

  get isSymlink(): boolean {
    return (this.mode & FileType.MASK) === FileType.SYMLINK;
  }

  get isRegular(): boolean {
    return (this.mode & FileType.MASK) === FileType.REGULAR;
  }

  /** Its name for good. */
  get handle(): FileHandle {
    return { fsid: this.superblock.fsid, ino: this.ino, generation: this.generation };
  }

  /** Makes a used object as new. */
  reset(): void {
    this.ino = this.generation = this.mode = this.uid = this.gid = this.nlink = this.rdev = 0;
    this.sizeBytes = this.blocksBytes = this.accessedMs = this.modifiedMs = this.changedMs = this.createdMs = 0;
    this.linkTarget = this.priv = this.namedBy = this.entries = this.mountedRoot = this.pages = this.pagesCharge = this.fileLocks = null;
    this.nrRefs = this.entriesStamp = this.nrPins = 0;
    this.pinnedBy = null;
    this.isDead = this.isKept = false;
    this.lruPrev = this.lruNext = null;
  }
}

/** Bytes of the JS heap an inode takes: object, boxed numbers, two locks, its place in the table (measured; see the tests). */
export const INODE_BYTES = 800;
