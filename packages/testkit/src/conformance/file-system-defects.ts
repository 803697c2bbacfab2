/**
 * Defects for `breakFileSystem`, each breaking one rule: what the suite must find. A filesystem's author puts them into his own plugin to see that
 * the suite, as he has set it up, would notice.
 */
import { Errno, FileType, Gfp, type Inode, type Kernel, type MaybePromise, type Move, type NegErrno, PAGE_SIZE } from '@tidemark/core';
import type { FileSystemDefect } from './break-file-system.js';

/** Waits for what comes, if it has to be waited for. */
const then = <T>(value: MaybePromise<T>, work: (value: T) => T): MaybePromise<T> =>
  value instanceof Promise ? value.then(work) : work(value);

/** Does something when an operation has succeeded. */
const after = (status: MaybePromise<0 | NegErrno>, work: () => void): MaybePromise<0 | NegErrno> =>
  then(status, (ended) => {
    if (ended === 0) work();
    return ended;
  });

/** A frame for a moment, as a unit takes one that was not declared. @returns false if there is none. */
function touchFrame(kernel: Kernel, task: Parameters<Kernel['memory']['allocator']['allocPage']>[0]): boolean {
  const { allocator } = kernel.memory;
  const pfn = allocator.allocPage(task, Gfp.TRANSIENT);
  if (pfn < 0) return false;
  allocator.freePage(pfn);
  return true;
}

const DISK = ['persistent'] as const;

/** Every defect there is for filesystems. */
export const FILE_SYSTEM_DEFECTS: readonly FileSystemDefect[] = [
  {
    rule: 'reads-what-was-written',
    what: 'a file that grows is told to be a byte shorter',
    pages: (pages) => ({ setSize: (size) => pages.setSize?.(size > pages.sizeBytes ? size - 1 : size) }),
  },
  {
    rule: 'truncation-forgets',
    what: 'a file never shrinks below a page',
    pages: (pages) => ({
      setSize: (size) => pages.setSize?.(size < pages.sizeBytes && pages.sizeBytes > PAGE_SIZE ? Math.max(size, PAGE_SIZE + 11) : size),
    }),
  },
  {
    rule: 'holes-read-as-zeroes',
    what: 'holes are told to be data',
    needs: ['seekHoles'],
    ops: () => ({
      seekData: (_task, inode, offset) => (offset < inode.sizeBytes ? offset : -Errno.ENXIO),
      seekHole: (_task, inode, offset) => (offset < inode.sizeBytes ? inode.sizeBytes : -Errno.ENXIO),
    }),
  },
  {
    rule: 'names-lead-to-files',
    what: 'names that begin with a dot are not listed',
    ops: (ops) => ({
      readDirectory: (task, dir, cookie, sink) =>
        ops.readDirectory(task, dir, cookie, { add: (name, ...rest) => name.startsWith('.') || sink.add(name, ...rest) }),
    }),
  },
  {
    rule: 'rename-replaces-in-one-step',
    what: 'the old name of a moved file stays',
    ops: (ops) => ({
      rename(task, move) {
        const { fromDir, fromName, inode } = move;
        return then(ops.rename(task, move), (status) =>
          status < 0 || inode.isDirectory || move.isExchange ? status : (ops.link(task, fromDir, fromName, inode) as 0),
        );
      },
    }),
  },
  {
    rule: 'links-are-counted',
    what: 'a directory does not count what is made in it',
    ops: (ops) => ({
      create: (task, dir, name, inode) => after(ops.create(task, dir, name, inode), () => void (inode.isDirectory && dir.nlink--)),
    }),
  },
  {
    rule: 'unlinked-files-live-while-open',
    what: 'a file loses its content with its last name',
    ops: (ops) => ({
      remove: (task, dir, name, inode) =>
        after(ops.remove(task, dir, name, inode), () => {
          if (inode.isRegular && inode.nlink === 0) inode.sizeBytes = 0;
        }),
    }),
  },
  {
    rule: 'directories-are-removed-empty',
    what: 'removing a full directory is said to have worked',
    ops: (ops) => ({
      remove: (task, dir, name, inode) => then(ops.remove(task, dir, name, inode), (status) => (status === -Errno.ENOTEMPTY ? 0 : status)),
    }),
  },
  {
    rule: 'cookies-stay-good',
    what: 'a cookie is the place in the list',
    ops: (ops) => ({
      readDirectory(task, dir, cookie, sink) {
        let place = 0;
        let goesOn = true;
        const add = (name: string, ino: number, type: number): boolean => {
          if (++place > cookie && goesOn) goesOn = sink.add(name, ino, type, place);
          return goesOn;
        };
        return ops.readDirectory(task, dir, 0, { add });
      },
    }),
  },
  {
    rule: 'attributes-last',
    what: 'modes lose their sticky bit',
    ops: (ops) => ({
      setAttributes(task, inode, change) {
        inode.mode &= ~0o1000;
        return ops.setAttributes(task, inode, change);
      },
    }),
  },
  {
    rule: 'links-lead-where-they-were-told',
    what: 'targets are cut off after 255 characters',
    needs: ['symlinks'],
    ops: (ops) => ({
      create(task, dir, name, inode) {
        if (inode.linkTarget !== null) inode.linkTarget = inode.linkTarget.slice(0, 255);
        return ops.create(task, dir, name, inode);
      },
    }),
  },
  {
    rule: 'extended-attributes-last',
    what: 'an attribute that is there can be created again',
    needs: ['xattrs'],
    ops: (ops) => ({ setXattr: (task, inode, name, value) => ops.setXattr?.(task, inode, name, value, 'either') ?? -Errno.EOPNOTSUPP }),
  },
  {
    rule: 'unclaimed-features-are-refused',
    what: 'special files are said to be made, as regular ones',
    claims: { specialFiles: false },
    ops: (ops) => ({
      create(task, dir, name, inode) {
        const isSpecial = !inode.isRegular && !inode.isDirectory && !inode.isSymlink;
        if (isSpecial) inode.mode = (inode.mode & ~FileType.MASK) | FileType.REGULAR;
        return ops.create(task, dir, name, inode);
      },
    }),
  },
  { rule: 'claims-are-what-it-can-do', what: 'it claims less than it can', claims: { hardLinks: false }, needs: ['hardLinks'] },
  {
    rule: 'limits-are-answered',
    what: 'names of more than 220 bytes fail with EIO',
    ops: (ops) => ({ create: (task, dir, name, inode) => (name.length > 220 ? -Errno.EIO : ops.create(task, dir, name, inode)) }),
  },
  {
    rule: 'full-is-told-to-the-writer',
    what: 'a write is accepted for which there is no room',
    needs: DISK,
    pages: (pages) => ({
      dirtyPage: (task, change) =>
        then(pages.dirtyPage?.(task, change) ?? 0, (status) => (status === -Errno.ENOSPC ? change.bringIn() : status)),
      writepages: (task, index, pfns, from, count) => pages.writepages?.(task, index, pfns, from, count) ?? 0,
    }),
  },
  {
    rule: 'room-adds-up',
    what: 'free room is always the same',
    ops: (ops) => {
      let first: Awaited<ReturnType<typeof ops.room>> | null = null;
      return {
        room: (task) => (first !== null ? first : then(ops.room(task), (room) => (first = room))),
      };
    },
  },
  {
    rule: 'operations-do-not-mix',
    what: 'what is being made is remembered in one place for all',
    ops(ops) {
      let making: { dir: Inode; name: string } | null = null;
      return {
        async create(task, dir, name, inode) {
          making = { dir, name };
          await Promise.resolve();
          return ops.create(task, making.dir, making.name, inode);
        },
      };
    },
  },
  {
    rule: 'one-cache-under-every-face',
    what: 'it keeps what it has read for itself, and believes it',
    needs: DISK,
    pages(pages, _inode, kernel) {
      const kept = new Map<number, Uint8Array>();
      const view = (pfn: number): Uint8Array => kernel.memory.arena.view(pfn * PAGE_SIZE, PAGE_SIZE);
      return {
        readahead: undefined,
        readFolio: (task, index, pfn) => {
          const known = kept.get(index);
          if (known !== undefined) {
            view(pfn).set(known);
            return 0;
          }
          return after(pages.readFolio?.(task, index, pfn) ?? 0, () => void kept.set(index, view(pfn).slice()));
        },
      };
    },
  },
  {
    rule: 'content-survives-unmount',
    what: 'every fifth page is not written',
    needs: DISK,
    pages: (pages) => ({
      writepages: (task, index, pfns, from, count) => (index % 5 === 4 ? 0 : (pages.writepages?.(task, index, pfns, from, count) ?? 0)),
      pagesPerWrite: 1,
    }),
  },
  {
    rule: 'handles-survive',
    what: 'any number is said to be a file',
    needs: ['handles'],
    ops: (ops) => ({
      readInode: (task, inode, hint) =>
        then(ops.readInode(task, inode, hint), (status) => {
          if (status !== -Errno.ESTALE) return status;
          Object.assign(inode, { mode: FileType.REGULAR | 0o644, nlink: 1, generation: 1 });
          return 0;
        }),
    }),
  },
  {
    rule: 'works-in-its-declared-memory',
    what: 'it waits for free memory that nobody owes it',
    ops: (ops, kernel) => ({
      create: (task, dir, name, inode) =>
        kernel.memory.allocator.nrFree < 3 * kernel.memory.allocator.watermarks.high
          ? new Promise<0>(() => {})
          : ops.create(task, dir, name, inode),
    }),
  },
  {
    rule: 'no-unit-holds-more-than-declared',
    what: 'writing pages takes frames that are not declared',
    needs: DISK,
    pages: (pages, _inode, kernel) => ({
      writepages(task, index, pfns, from, count) {
        const { allocator } = kernel.memory;
        const held = Array.from({ length: 40 }, () => allocator.allocPage(task, Gfp.TRANSIENT)).filter((pfn) => pfn >= 0);
        for (const pfn of held) allocator.freePage(pfn);
        return pages.writepages?.(task, index, pfns, from, count) ?? 0;
      },
    }),
  },
  {
    rule: 'writeout-is-funded',
    what: 'writing pages takes a frame without a right to it',
    needs: DISK,
    pages: (pages, _inode, kernel) => ({
      writepages(task, index, pfns, from, count) {
        touchFrame(kernel, task.withTicket(null).asReclaimer());
        return pages.writepages?.(task, index, pfns, from, count) ?? 0;
      },
    }),
  },
  {
    rule: 'failed-allocations-are-answers',
    what: 'a file is made although it is said that there was no memory for it',
    ops: (ops, kernel) => ({
      create(task, dir, name, inode) {
        const hasMemory = touchFrame(kernel, task);
        return then(ops.create(task, dir, name, inode), (status) => (hasMemory ? status : -Errno.ENOMEM));
      },
    }),
  },
  {
    rule: 'failed-io-is-an-answer',
    what: 'pages that could not be written are said to be',
    needs: DISK,
    pages: (pages) => ({
      writepages: (task, index, pfns, from, count) => then(pages.writepages?.(task, index, pfns, from, count) ?? 0, () => 0),
    }),
  },
  {
    rule: 'synced-content-survives-a-crash',
    what: 'a sync makes nothing durable',
    needs: ['crashConsistent'],
    ops: () => ({ sync: () => 0, syncInode: () => 0 }),
  },
  {
    rule: 'a-crash-leaves-a-state-that-was',
    what: 'a file that is replaced goes first, durably',
    needs: ['crashConsistent'],
    ops: (ops) => ({
      async rename(task, move: Move) {
        const { replaced, toDir, toName, isExchange } = move;
        if (replaced === null || replaced.isDirectory || isExchange) return ops.rename(task, move);
        const removed = await ops.remove(task, toDir, toName, replaced);
        if (removed < 0) return removed;
        await ops.sync(task);
        return ops.rename(task, { ...move, replaced: null });
      },
    }),
  },
  {
    rule: 'everything-is-given-back',
    what: 'a frame stays at every unmount',
    ops: (ops, kernel) => ({
      unmount: (task, isForced) => after(ops.unmount(task, isForced), () => void kernel.memory.chargeStanding('nobody', 1)),
    }),
  },
];

/** Defects that show on a filesystem with these claims. */
export function defectsFor(supports: FileSystemDefect['claims'] & object): FileSystemDefect[] {
  return FILE_SYSTEM_DEFECTS.filter(({ needs = [] }) => needs.every((claim) => supports[claim] === true));
}
