/** Filesystems for the tests of the VFS: memfs that answers late, and a tree of any size that takes no memory of its own. */
import {
  CLOCK,
  definePlugin,
  Errno,
  FILE_SYSTEM,
  type FileSystemType,
  FileType,
  type Inode,
  MEMORY,
  type Plugin,
  type SuperblockOps,
} from '@tidemark/core';
import { MemoryFileSystem } from '../../src/memfs/memory-file-system.js';

/** What a late filesystem saw. */
export interface Seen {
  /** Calls by operation. */
  readonly calls: Map<string, number>;
  /** Two operations were in one directory at once, one of them changing it. */
  overlaps: string[];
}

const CHANGES = ['create', 'link', 'remove', 'rename'];
const LOOKS = ['lookup', 'readDirectory'];
const LATE = [...CHANGES, ...LOOKS, 'readInode', 'setAttributes', 'deleteInode'] as const;

/** `late:SIZE`: memfs whose operations take a few turns of the event loop, and which knows if core lets two into one directory. */
export function lateFileSystem(): { plugin: Plugin; seen: Seen } {
  const seen: Seen = { calls: new Map(), overlaps: [] };
  const plugin = definePlugin({
    name: 'late',
    register(container) {
      container.register(FILE_SYSTEM, {
        useFactory: (c): FileSystemType => ({
          schemes: ['late'],
          mount: (_task, source, options) =>
            late(new MemoryFileSystem(source, c.resolve(MEMORY), 2 ** 23, options, () => c.resolve(CLOCK).nowMs()), seen),
        }),
      });
    },
  });
  return { plugin, seen };
}

function late(ops: SuperblockOps, seen: Seen): SuperblockOps {
  const inside = new Map<Inode, { name: string; changes: boolean }[]>();
  const wrapped: Record<string, unknown> = { updatesAtOnce: false };
  for (const name of LATE) {
    const original = (ops[name as keyof SuperblockOps] as (...args: unknown[]) => unknown).bind(ops);
    wrapped[name] = async (...args: unknown[]) => {
      seen.calls.set(name, (seen.calls.get(name) ?? 0) + 1);
      const changes = CHANGES.includes(name);
      const dirs =
        name === 'rename'
          ? [...new Set([(args[1] as { fromDir: Inode }).fromDir, (args[1] as { toDir: Inode }).toDir])]
          : changes || LOOKS.includes(name)
            ? [args[1] as Inode]
            : [];
      const mine = { name, changes };
      for (const dir of dirs) {
        const there = inside.get(dir) ?? [];
        for (const other of there) if (other.changes || changes) seen.overlaps.push(`${name} beside ${other.name}`);
        inside.set(dir, [...there, mine]);
      }
      for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
      const result = await original(...args);
      await new Promise((resolve) => setImmediate(resolve));
      for (const dir of dirs)
        inside.set(
          dir,
          (inside.get(dir) ?? []).filter((other) => other !== mine),
        );
      return result;
    };
  }
  return replacing(ops, wrapped);
}

/** `odd:`: memfs of which some operations are taken over by the test. */
export function oddFileSystem(odd: Partial<SuperblockOps>): Plugin {
  return definePlugin({
    name: 'odd',
    register(container) {
      container.register(FILE_SYSTEM, {
        useFactory: (c): FileSystemType => ({
          schemes: ['odd'],
          mount: (_task, source, options) =>
            replacing(
              new MemoryFileSystem(source, c.resolve(MEMORY), 2 ** 23, options, () => c.resolve(CLOCK).nowMs()),
              odd as Record<string, unknown>,
            ),
        }),
      });
    },
  });
}

function replacing(ops: SuperblockOps, replacements: Record<string, unknown>): SuperblockOps {
  return new Proxy(ops, {
    get(target, key) {
      if (Object.hasOwn(replacements, key)) return replacements[key as string];
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Names in a directory of the tree. */
export const TREE_FANOUT = 100;
/** Files of it: /dNN/dNN/fNN has three levels. */
export const TREE_FILES = TREE_FANOUT * TREE_FANOUT * 10;

/**
 * `tree:`: 100 directories of 100 directories of 10 files, each file 100 bytes that name it. Everything is computed from inode numbers:
 *
 *     1 the root; 2 + i a directory of the first level; 102 + j of the second; 10,102 + k a file
 */
export const treeFileSystem = definePlugin({
  name: 'tree',
  register(container) {
    container.register(FILE_SYSTEM, {
      useFactory: (c): FileSystemType => ({ schemes: ['tree'], mount: () => tree(c.resolve(MEMORY).arena) }),
    });
  },
});

const FIRST = 2;
const SECOND = FIRST + TREE_FANOUT;
const FILES = SECOND + TREE_FANOUT ** 2;
const PER_DIRECTORY = 10;

function childrenOf(ino: number): { first: number; count: number; prefix: string } | null {
  if (ino === 1) return { first: FIRST, count: TREE_FANOUT, prefix: 'd' };
  if (ino < SECOND) return { first: SECOND + (ino - FIRST) * TREE_FANOUT, count: TREE_FANOUT, prefix: 'd' };
  if (ino < FILES) return { first: FILES + (ino - SECOND) * PER_DIRECTORY, count: PER_DIRECTORY, prefix: 'f' };
  return null;
}

/** What a file of the tree holds. */
export function treeContent(ino: number): string {
  return `file ${ino} `.padEnd(100, '.');
}

function tree(arena: {
  copyIn(pfn: number, offset: number, source: Uint8Array, from: number, length: number): void;
  zero(pfn: number): void;
}): SuperblockOps {
  const refused = (): number => -Errno.EROFS;
  return {
    apiVersion: 1,
    name: 'tree:',
    rootIno: 1,
    readOnly: true,
    blockSizeBytes: 4096,
    maxFileSizeBytes: 2 ** 40,
    maxLinks: 1000,
    updatesAtOnce: false,
    async readInode(_task, inode) {
      if (inode.ino >= FILES + TREE_FILES) return -Errno.ESTALE;
      const isDirectory = childrenOf(inode.ino) !== null;
      inode.mode = isDirectory ? FileType.DIRECTORY | 0o755 : FileType.REGULAR | 0o644;
      inode.nlink = isDirectory ? 2 : 1;
      inode.generation = inode.ino * 7;
      inode.sizeBytes = isDirectory ? 0 : 100;
      return 0;
    },
    deleteInode: () => 0,
    async lookup(_task, dir, name, found) {
      if (name === '..') {
        const { ino } = dir;
        found.ino =
          ino >= FILES
            ? SECOND + Math.floor((ino - FILES) / PER_DIRECTORY)
            : ino >= SECOND
              ? FIRST + Math.floor((ino - SECOND) / TREE_FANOUT)
              : 1;
        return 0;
      }
      const children = childrenOf(dir.ino);
      const match = /^([df])(\d\d)$/.exec(name);
      if (children === null || match === null || match[1] !== children.prefix || Number(match[2]) >= children.count) return -Errno.ENOENT;
      found.ino = children.first + Number(match[2]);
      return 0;
    },
    async readDirectory(_task, dir, cookie, sink) {
      const children = childrenOf(dir.ino);
      if (children === null) return -Errno.ENOTDIR;
      for (let i = cookie; i < children.count; i++) {
        const name = children.prefix + String(i).padStart(2, '0');
        if (!sink.add(name, children.first + i, children.prefix === 'd' ? FileType.DIRECTORY : FileType.REGULAR, i + 1)) break;
      }
      return 0;
    },
    create: refused,
    link: refused,
    remove: refused,
    rename: refused,
    setAttributes: refused,
    readLink: () => -Errno.EINVAL,
    addressSpace: (inode) => ({
      device: treeFileSystem,
      sizeBytes: 100,
      async readFolio(_readTask, _index, pfn) {
        arena.zero(pfn);
        arena.copyIn(pfn, 0, Buffer.from(treeContent(inode.ino)), 0, 100);
        return 0;
      },
      writepages: async () => -Errno.EROFS,
    }),
    room: () => ({ totalBytes: 0, freeBytes: 0, availableBytes: 0, totalInodes: 0, freeInodes: 0 }),
    sync: () => 0,
    unmount: () => 0,
  };
}
