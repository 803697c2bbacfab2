/** Guards of the VFS. */
import type { Mutant } from './mutant.js';

const DIRECTORIES = 'packages/core/src/vfs/directory-operations.ts';
const NAMES = 'packages/core/src/vfs/name-cache.ts';
const SUPERBLOCK = 'packages/core/src/vfs/superblock.ts';
const MOUNTS = 'packages/core/src/vfs/mounts.ts';
const TESTS = 'packages/testkit/test/vfs.test.ts';

export const VFS_MUTANTS: readonly Mutant[] = [
  {
    name: 'vfs-remove-unlocked',
    guard: 'a name is taken away under the lock of its directory',
    file: 'packages/core/src/vfs/inode-lock.ts',
    find: 'if (this.#inside !== 0 || this.#nrWaiters > 0) return this.#wait(task, EXCLUSIVE);\n    this.#inside = -1;',
    replace: 'this.#inside = -1;',
    test: [TESTS, 'no entry is lost, whatever is made, moved and removed at once, and no two operations meet in one directory'],
  },
  {
    name: 'vfs-rename-order',
    guard: 'of two directories the one above is locked first',
    file: DIRECTORIES,
    find: 'const [first, second] = fromFirst ? [from.dir, to.dir] : [to.dir, from.dir];',
    replace: 'const [first, second] = [from.dir, to.dir];',
    test: [TESTS, 'a directory is locked after the one above it'],
  },
  {
    name: 'vfs-rename-into-itself',
    guard: 'a directory is not moved below itself',
    file: DIRECTORIES,
    find: 'if (aboveTo.has(inode.ino)) return -Errno.EINVAL;',
    replace: '',
    test: [TESTS, 'renames in opposite directions, up, down and in circles neither deadlock nor cut the tree'],
  },
  {
    name: 'vfs-negative-entry-stays',
    guard: 'a name that is made is no longer known not to exist',
    file: NAMES,
    find: 'this.#point(entry, inode);\n  }\n\n  /** Forgets a name. */',
    replace: 'if (entry.inode === null) return;\n    this.#point(entry, inode);\n  }\n\n  /** Forgets a name. */',
    test: [TESTS, 'a name that does not exist is looked up once'],
  },
  {
    name: 'vfs-generation-unchecked',
    guard: 'a handle is good for one file only',
    file: 'packages/core/src/vfs/vfs.ts',
    find: 'if (inode.generation === handle.generation && inode.nlink > 0) return inode;',
    replace: 'if (inode.nlink > 0) return inode;',
    test: [TESTS, 'find a file with nothing cached, and only that file'],
  },
  {
    name: 'vfs-names-never-go',
    guard: 'names leave memory under pressure',
    file: NAMES,
    find: 'for (let i = this.#short.objectsPerFrame; i > 0 && budget > 0; i--, budget--) this.#ageOldest();',
    replace: 'budget = 0;',
    test: [TESTS, 'a tree of 100,000 files is walked and read in 4 MiB'],
  },
  {
    name: 'vfs-deleted-while-open',
    guard: 'an unlinked file is deleted with its last user, not before',
    file: SUPERBLOCK,
    find: 'if (--inode.nrRefs > 0) return;',
    replace: 'if (--inode.nrRefs > 0 && inode.nlink > 0) return;',
    test: [TESTS, 'an unlinked file lives as long as somebody has it open, and its room comes back then'],
  },
  {
    name: 'vfs-busy-unmounted',
    guard: 'a filesystem that is in use is not taken off',
    file: MOUNTS,
    find: 'this.#requireIdle(mount);',
    replace: '',
    test: [TESTS, 'an open file keeps it mounted; by force it is taken away, and the file fails with EIO'],
  },
  {
    name: 'vfs-sticky',
    guard: 'in a sticky directory only owners remove',
    file: 'packages/core/src/vfs/credentials.ts',
    find: '(dir.mode & S_ISVTX) !== 0 &&',
    replace: 'false &&',
    test: [TESTS, 'directories, sticky ones, owners and set-id bits'],
  },
  {
    name: 'vfs-throwing-plugin',
    guard: 'a plugin that throws leaves no lock held',
    file: 'packages/core/src/vfs/operations.ts',
    find: 'return errnoOf(error);\n    }\n  };',
    replace: 'throw error;\n    }\n  };',
    test: [TESTS, 'a plugin that throws is EIO, and leaves no lock held'],
  },
  {
    name: 'vfs-update-that-waits',
    guard: 'a call that may not wait fails before it has begun to change something',
    file: DIRECTORIES,
    find: 'return who.mayWait || superblock.updatesAtOnce ? 0 : -Errno.EAGAIN;',
    replace: 'return 0;',
    test: [TESTS, 'synchronous calls answer from the caches and otherwise fail with EAGAIN, before anything is changed'],
  },
];
