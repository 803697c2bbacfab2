/**
 * What a kernel has at `/` before anything is mounted there: directories, to mount on. They are in memory, and nothing else can be made.
 */
import { Errno, type NegErrno } from '../base/errno.js';
import { PAGE_SIZE } from '../base/size.js';
import type { DirectorySink, FoundEntry, SuperblockOps } from './file-system.js';
import type { Inode } from './inode.js';
import { FileType } from './mode.js';

const ROOT_INO = 1;

interface Directory {
  readonly parent: number;
  /** Names in the order in which they were made; the cookie of one is the count of names made when it was. */
  readonly entries: Map<string, { ino: number; cookie: number }>;
  nrMade: number;
}

/** Its operations; one for each kernel. */
export function rootFileSystem(): SuperblockOps {
  const directories = new Map<number, Directory>();
  const of = (inode: Inode): Directory => directories.get(inode.ino) as Directory;
  let lastIno = ROOT_INO;
  const refused = (): NegErrno => -Errno.EPERM;
  const done = (): 0 => 0;
  directories.set(ROOT_INO, { parent: ROOT_INO, entries: new Map(), nrMade: 0 });
  return {
    apiVersion: 1,
    name: 'rootfs',
    rootIno: ROOT_INO,
    readOnly: false,
    blockSizeBytes: PAGE_SIZE,
    maxFileSizeBytes: 0,
    maxLinks: 2 ** 31,
    updatesAtOnce: true,
    readInode(_task, inode) {
      if (!directories.has(inode.ino)) return -Errno.ESTALE;
      inode.mode = FileType.DIRECTORY | 0o755;
      inode.nlink = 2;
      inode.isKept = true;
      return 0;
    },
    deleteInode: done,
    lookup(_task, dir: Inode, name: string, found: FoundEntry) {
      const ino = name === '..' ? of(dir).parent : of(dir).entries.get(name)?.ino;
      if (ino === undefined) return -Errno.ENOENT;
      found.ino = ino;
      return 0;
    },
    readDirectory(_task, dir: Inode, after: number, sink: DirectorySink) {
      for (const [name, { ino, cookie }] of of(dir).entries) if (cookie > after && !sink.add(name, ino, FileType.DIRECTORY, cookie)) break;
      return 0;
    },
    create(_task, dir, name, inode) {
      if (!inode.isDirectory) return -Errno.EPERM;
      inode.ino = ++lastIno;
      inode.nlink = 2;
      inode.isKept = true;
      const parent = of(dir);
      parent.entries.set(name, { ino: inode.ino, cookie: ++parent.nrMade });
      directories.set(inode.ino, { parent: dir.ino, entries: new Map(), nrMade: 0 });
      dir.nlink++;
      return 0;
    },
    remove(_task, dir, name, inode) {
      if (of(inode).entries.size > 0) return -Errno.ENOTEMPTY;
      of(dir).entries.delete(name);
      directories.delete(inode.ino);
      inode.nlink = 0;
      dir.nlink--;
      return 0;
    },
    link: refused,
    rename: refused,
    setAttributes: done,
    readLink: () => -Errno.EINVAL,
    addressSpace: () => {
      throw new Error('the root filesystem has no regular files');
    },
    room: () => ({ totalBytes: 0, freeBytes: 0, availableBytes: 0, totalInodes: 0, freeInodes: 0 }),
    sync: done,
    unmount: done,
  };
}
