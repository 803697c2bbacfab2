/** A file as `ls`, `stat` and `tree` tell it: an object with stable keys, and a line. */
import type { Stats } from 'node:fs';
import { nameOf, type Place } from './trees.js';

/** Keys of `--json`. */
export interface Entry {
  readonly file: string;
  readonly name: string;
  readonly type: FileTypeName;
  /** Permissions in octal: `0644`. */
  readonly mode: string;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly inode: number;
  readonly accessed: string;
  readonly modified: string;
  readonly changed: string;
  /** Of a link. */
  readonly target?: string;
}

/** The keys, for help. */
export const ENTRY_KEYS =
  'file, name, type, mode, links, uid, gid, sizeBytes, allocatedBytes, inode, accessed, modified, changed, target (of a link)';

export type FileTypeName = 'file' | 'directory' | 'link' | 'block device' | 'character device' | 'fifo' | 'socket' | 'unknown';

const LETTERS: Record<FileTypeName, string> = {
  file: '-',
  directory: 'd',
  link: 'l',
  'block device': 'b',
  'character device': 'c',
  fifo: 'p',
  socket: 's',
  unknown: '?',
};
const UNIT_BYTES = 512;

function typeOf(stats: Stats): FileTypeName {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'link';
  if (stats.isBlockDevice()) return 'block device';
  if (stats.isCharacterDevice()) return 'character device';
  if (stats.isFIFO()) return 'fifo';
  return stats.isSocket() ? 'socket' : 'unknown';
}

/** What there is to tell of a file. @param name as it is listed. */
export async function entryOf(place: Place, name: string): Promise<Entry> {
  const stats = await place.tree.lstat(place.path);
  const type = typeOf(stats);
  const entry: Entry = {
    file: nameOf(place),
    name,
    type,
    mode: (stats.mode & 0o7777).toString(8).padStart(4, '0'),
    links: stats.nlink,
    uid: stats.uid,
    gid: stats.gid,
    sizeBytes: stats.size,
    allocatedBytes: stats.blocks * UNIT_BYTES,
    inode: stats.ino,
    accessed: stats.atime.toISOString(),
    modified: stats.mtime.toISOString(),
    changed: stats.ctime.toISOString(),
  };
  return type === 'link' ? { ...entry, target: await place.tree.readlink(place.path) } : entry;
}

/** Type and permissions as `ls -l` shows them: `-rw-r--r--`. */
export function modeText({ type, mode }: Entry): string {
  const bits = Number.parseInt(mode, 8);
  const triple = (shift: number, setId: number, letter: string): string => {
    const may = (bits >> shift) & 7;
    const runs = (may & 1) !== 0;
    const last = (bits & setId) === 0 ? (runs ? 'x' : '-') : runs ? letter : letter.toUpperCase();
    return `${(may & 4) !== 0 ? 'r' : '-'}${(may & 2) !== 0 ? 'w' : '-'}${last}`;
  };
  return LETTERS[type] + triple(6, 0o4000, 's') + triple(3, 0o2000, 's') + triple(0, 0o1000, 't');
}
