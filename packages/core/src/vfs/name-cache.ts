/**
 * The name cache: which inode a name in a directory stands for, and which names stand for nothing (negative entries). It is found by
 * (directory inode, name), so a directory reached by a file handle has its entries like any other.
 *
 *     bucket[hash(directory, name)] → entry → entry → …        one list through all entries, newest first, for ageing
 *
 * An entry refers to its inode and its directory. It goes when memory is wanted and it was not used since the list last came round,
 * unless it names something that somebody else refers to: then it stays, so that whoever is inside, or has it open, can be told where that is.
 * Entries are charged in frames, those with long names at a higher price. Looking one up allocates nothing.
 */
import type { FrameSource } from '../mm/frame-source.js';
import type { Shrinker } from '../mm/reclaimer.js';
import { SlabCache } from '../mm/slab.js';
import type { Inode } from './inode.js';

/** Units of a name up to which an entry is a short one. */
const SHORT_NAME = 40;
/** Bytes of the JS heap: object, name, its share of the buckets (measured; see the tests). */
const SHORT_ENTRY_BYTES = 192;
const LONG_ENTRY_BYTES = 640;
const BUCKETS_LEAST = 256;
/** Entries looked at to free one frame, at most, as a multiple of those a frame holds. */
const SCAN_FACTOR = 4;

/** A name in a directory. */
export class Entry {
  dir!: Inode;
  name = '';
  hash = 0;
  /** What it stands for; null for a name that does not exist. */
  inode: Inode | null = null;
  /** `dir.entriesStamp` when it was last known to be true. */
  stamp = 0;
  isYoung = false;
  next: Entry | null = null;
  older: Entry | null = null;
  newer: Entry | null = null;
  /** The list of a directory's entries. */
  nextInDir: Entry | null = null;
  prevInDir: Entry | null = null;
}

/** What the cache needs of the inodes. */
export interface InodeReferences {
  /** An entry no longer refers to `inode`. */
  put(inode: Inode): void;
}

export class NameCache implements Shrinker {
  readonly name = 'names';
  readonly #short: SlabCache<Entry>;
  readonly #long: SlabCache<Entry>;
  readonly #inodes: InodeReferences;
  #buckets: (Entry | null)[] = new Array(BUCKETS_LEAST).fill(null);
  #newest: Entry | null = null;
  #oldest: Entry | null = null;
  #nrEntries = 0;
  #nrNegative = 0;

  constructor(source: FrameSource, inodes: InodeReferences) {
    const reset = (entry: Entry): void => {
      entry.dir = undefined as unknown as Inode;
      entry.inode = entry.next = entry.older = entry.newer = entry.nextInDir = entry.prevInDir = null;
      entry.name = '';
    };
    const create = (): Entry => new Entry();
    this.#short = new SlabCache(source, { name: 'name', objectBytes: SHORT_ENTRY_BYTES, create, reset });
    this.#long = new SlabCache(source, { name: 'long name', objectBytes: LONG_ENTRY_BYTES, create, reset });
    this.#inodes = inodes;
  }

  get nrEntries(): number {
    return this.#nrEntries;
  }

  get nrNegative(): number {
    return this.#nrNegative;
  }

  /** Frames charged. */
  get nrFrames(): number {
    return this.#short.nrFrames + this.#long.nrFrames;
  }

  /** The entry of the name `text[from…to)` in `dir`, or null. Allocates nothing. */
  find(dir: Inode, text: string, from: number, to: number): Entry | null {
    return this.findHashed(dir, text, from, to, hashOf(dir, text, from, to));
  }

  /** As `find`, for who has the hash. */
  findHashed(dir: Inode, text: string, from: number, to: number, hash: number): Entry | null {
    for (let entry = this.#buckets[hash & (this.#buckets.length - 1)]; entry !== null; entry = entry.next) {
      if (entry.hash !== hash || entry.dir !== dir || entry.name.length !== to - from) continue;
      if (!isAt(entry.name, text, from)) continue;
      if (entry.stamp !== dir.entriesStamp) return null; // others changed the directory since
      if (!entry.isYoung) entry.isYoung = true;
      return entry;
    }
    return null;
  }

  /**
   * Notes what a name stands for. Under short memory old entries make room; if there is still none, it is not noted, which costs the next
   * one who asks a lookup.
   */
  set(dir: Inode, name: string, inode: Inode | null): void {
    const hash = hashOf(dir, name, 0, name.length);
    let entry = this.#findAny(dir, name, hash);
    if (entry === null) {
      entry = this.#alloc(name);
      if (entry === null) return;
      entry.dir = dir;
      entry.name = flat(name);
      entry.hash = hash;
      dir.nrRefs++;
      this.#insert(entry);
      this.#nrNegative++;
    }
    entry.stamp = dir.entriesStamp;
    entry.isYoung = true;
    this.#point(entry, inode);
  }

  /** Forgets a name. */
  drop(dir: Inode, name: string): void {
    const entry = this.#findAny(dir, name, hashOf(dir, name, 0, name.length));
    if (entry !== null) this.#remove(entry);
  }

  /** Forgets the entries of a directory, all but those of what is in use. */
  dropIn(dir: Inode): void {
    this.#dropIn(dir, false);
  }

  #dropIn(dir: Inode, isForced: boolean): void {
    for (let entry = dir.entries; entry !== null; ) {
      const next: Entry | null = entry.nextInDir;
      if (isForced || !isPinned(entry)) this.#remove(entry);
      entry = next;
    }
  }

  /**
   * Forgets the entries of all these directories: for unmounting.
   * @param isForced the ways to what somebody else refers to go, too.
   */
  dropAll(inodes: Iterable<Inode>, isForced: boolean): void {
    for (const inode of inodes) {
      this.#dropIn(inode, isForced);
      for (let entry = inode.namedBy; entry !== null && !isPinned(entry); ) {
        const { dir } = entry;
        this.#remove(entry);
        entry = dir.namedBy;
      }
    }
  }

  /** Frames it could give back. */
  count(): number {
    return Math.ceil(this.#nrEntries / this.#short.objectsPerFrame) + this.#short.count() + this.#long.count();
  }

  /** Lets old entries go until `nrFrames` are free, or the list has been gone through. */
  scan(nrFrames: number): number {
    const before = this.nrFrames;
    let budget = nrFrames * this.#short.objectsPerFrame * SCAN_FACTOR;
    const free = (): void => void (this.#short.scan(nrFrames) + this.#long.scan(nrFrames));
    free();
    while (before - this.nrFrames < nrFrames && budget > 0 && this.#oldest !== null) {
      for (let i = this.#short.objectsPerFrame; i > 0 && budget > 0; i--, budget--) this.#ageOldest();
      free();
    }
    return before - this.nrFrames;
  }

  /** Gives everything back; every inode must have let go of its name. */
  dispose(): void {
    while (this.#newest !== null) this.#remove(this.#newest);
    this.#short.dispose();
    this.#long.dispose();
  }

  #alloc(name: string): Entry | null {
    const slab = name.length <= SHORT_NAME ? this.#short : this.#long;
    let entry = slab.alloc();
    for (let tries = slab.objectsPerFrame * SCAN_FACTOR; entry === null && tries > 0 && this.#oldest !== null; tries--) {
      this.#ageOldest();
      entry = slab.alloc();
    }
    return entry;
  }

  /** The oldest entry goes, or gets another round. */
  #ageOldest(): void {
    const entry = this.#oldest;
    if (entry === null) return;
    if (!entry.isYoung && !isPinned(entry)) {
      this.#remove(entry);
      return;
    }
    entry.isYoung = false;
    this.#unlist(entry);
    this.#list(entry);
  }

  #findAny(dir: Inode, name: string, hash: number): Entry | null {
    for (let entry = this.#buckets[hash & (this.#buckets.length - 1)]; entry !== null; entry = entry.next)
      if (entry.hash === hash && entry.dir === dir && entry.name === name) return entry;
    return null;
  }

  /** Changes what an entry stands for. */
  #point(entry: Entry, inode: Inode | null): void {
    const was = entry.inode;
    if (was !== inode) {
      if (inode !== null) {
        inode.nrRefs++;
        this.#nrNegative--;
      }
      entry.inode = inode;
      if (was !== null) {
        this.#nrNegative++;
        if (was.namedBy === entry) was.namedBy = null;
        this.#inodes.put(was);
      }
    }
    if (inode !== null) inode.namedBy = entry;
  }

  #insert(entry: Entry): void {
    if (++this.#nrEntries > this.#buckets.length) this.#grow();
    const at = entry.hash & (this.#buckets.length - 1);
    entry.next = this.#buckets[at];
    this.#buckets[at] = entry;
    const { dir } = entry;
    entry.nextInDir = dir.entries;
    if (dir.entries !== null) dir.entries.prevInDir = entry;
    dir.entries = entry;
    this.#list(entry);
  }

  #grow(): void {
    const buckets: (Entry | null)[] = new Array(this.#buckets.length * 2).fill(null);
    for (let entry of this.#buckets) {
      while (entry !== null) {
        const { next } = entry;
        const at = entry.hash & (buckets.length - 1);
        entry.next = buckets[at];
        buckets[at] = entry;
        entry = next;
      }
    }
    this.#buckets = buckets;
  }

  #remove(entry: Entry): void {
    const at = entry.hash & (this.#buckets.length - 1);
    let link = this.#buckets[at];
    if (link === entry) this.#buckets[at] = entry.next;
    else {
      while (link !== null && link.next !== entry) link = link.next;
      if (link !== null) link.next = entry.next;
    }
    this.#unlist(entry);
    this.#nrEntries--;
    this.#point(entry, null);
    this.#nrNegative--;
    const { dir, name, nextInDir, prevInDir } = entry;
    if (nextInDir !== null) nextInDir.prevInDir = prevInDir;
    if (prevInDir === null) dir.entries = nextInDir;
    else prevInDir.nextInDir = nextInDir;
    (name.length <= SHORT_NAME ? this.#short : this.#long).free(entry);
    this.#inodes.put(dir);
  }

  #list(entry: Entry): void {
    entry.newer = null;
    entry.older = this.#newest;
    if (this.#newest !== null) this.#newest.newer = entry;
    this.#newest = entry;
    this.#oldest ??= entry;
  }

  #unlist(entry: Entry): void {
    if (entry.newer === null) this.#newest = entry.older;
    else entry.newer.older = entry.older;
    if (entry.older === null) this.#oldest = entry.newer;
    else entry.older.newer = entry.newer;
  }
}

/** True for the name of what somebody else refers to, too; a file with several names may be referred to by those. */
function isPinned(entry: Entry): boolean {
  const { inode } = entry;
  return inode !== null && inode.nrRefs > 1 && inode.namedBy === entry && (inode.isDirectory || inode.nlink === 1);
}

/** FNV-1a over the units of a name, begun from its directory. */
export function hashOf(dir: Inode, text: string, from: number, to: number): number {
  let hash = hashSeed(dir);
  for (let i = from; i < to; i++) hash = hashUnit(hash, text.charCodeAt(i));
  return hash;
}

/** Where the hash of a name in `dir` begins. */
export function hashSeed(dir: Inode): number {
  return Math.imul(dir.ino ^ 0x811c9dc5, 0x9e3779b1) ^ dir.superblock.fsid;
}

/** The hash with one unit more. */
export function hashUnit(hash: number, unit: number): number {
  const mixed = Math.imul(hash ^ unit, 0x01000193);
  return mixed ^ (mixed >>> 15);
}

function isAt(name: string, text: string, from: number): boolean {
  for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) !== text.charCodeAt(from + i)) return false;
  return true;
}

/** A copy of a name that does not keep the path alive it was cut out of. */
function flat(name: string): string {
  const units = new Array<number>(name.length);
  for (let i = 0; i < name.length; i++) units[i] = name.charCodeAt(i);
  return String.fromCharCode(...units);
}
