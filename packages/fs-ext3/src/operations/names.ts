/** Names that come and go: link, remove, rename. Each is one handle; nothing is changed before it is known that all of it can be. */
import { Errno, type Inode, type Move, type NegErrno, type Steps, type TaskContext } from '@tidemark/core';
import type { Directories } from '../directory/directory.js';
import { fromCore, nodeOf } from '../inode/node.js';
import type { Handle } from '../journal/handle.js';
import type { Parts } from '../volume/parts.js';

/** 0, or `-EPERM` for what its flags protect. @param isLost the directory is to lose an entry. */
export function mayChangeEntries(dir: Inode, isLost: boolean): 0 | NegErrno {
  const node = nodeOf(dir);
  return node.isImmutable || (isLost && node.isAppendOnly) ? -Errno.EPERM : 0;
}

function isProtected(inode: Inode): boolean {
  return nodeOf(inode).isImmutable || nodeOf(inode).isAppendOnly;
}

/** Writes what core has set in an inode. One without a name goes to the orphans. */
function* write(parts: Parts, handle: Handle, inode: Inode): Steps<void> {
  const node = nodeOf(inode);
  fromCore(node, inode, parts.geometry.inodeSize);
  if (inode.nlink === 0) yield* parts.orphans.add(handle, node);
  else yield* parts.table.write(handle, node);
  node.dataTransaction = handle.transaction.id; // who makes a directory durable wants its entries
}

export function* linkFile(
  parts: Parts,
  directories: Directories,
  task: TaskContext,
  dir: Inode,
  name: string,
  inode: Inode,
): Steps<0 | NegErrno> {
  const refused = mayChangeEntries(dir, false) || (isProtected(inode) ? -Errno.EPERM : 0);
  if (refused !== 0) return refused;
  return yield* parts.journal.do(task, parts.credits.link, function* (handle) {
    const status = yield* directories.insert(handle, dir, name, inode.ino, inode.mode);
    if (status < 0) return status;
    inode.nlink++;
    yield* write(parts, handle, inode);
    yield* write(parts, handle, dir);
    return 0;
  });
}

/** An inode has lost its name in `dir`. */
function unname(dir: Inode, inode: Inode): void {
  if (inode.isDirectory) {
    inode.nlink = 0;
    dir.nlink--;
  } else inode.nlink--;
}

export function* removeFile(
  parts: Parts,
  directories: Directories,
  task: TaskContext,
  dir: Inode,
  name: string,
  inode: Inode,
): Steps<0 | NegErrno> {
  const refused = mayChangeEntries(dir, true) || (isProtected(inode) ? -Errno.EPERM : 0);
  if (refused !== 0) return refused;
  return yield* parts.journal.do(task, parts.credits.remove, function* (handle) {
    if (inode.isDirectory && !(yield* directories.isEmpty(handle, nodeOf(inode)))) return -Errno.ENOTEMPTY;
    yield* directories.remove(handle, nodeOf(dir), name);
    unname(dir, inode);
    yield* write(parts, handle, inode);
    yield* write(parts, handle, dir);
    return 0;
  });
}

export function* renameFile(parts: Parts, directories: Directories, task: TaskContext, move: Move): Steps<0 | NegErrno> {
  const { fromDir, toDir, inode, replaced, isExchange } = move;
  const refused =
    mayChangeEntries(fromDir, true) ||
    mayChangeEntries(toDir, replaced !== null) ||
    (isProtected(inode) || (replaced !== null && isProtected(replaced)) ? -Errno.EPERM : 0);
  if (refused !== 0) return refused;
  return yield* parts.journal.do(task, parts.credits.rename, function* (handle) {
    const isReplacing = replaced !== null && !isExchange;
    if (isReplacing && replaced.isDirectory && !(yield* directories.isEmpty(handle, nodeOf(replaced)))) return -Errno.ENOTEMPTY;
    const status = yield* moveEntries(directories, handle, move);
    if (status < 0) return status;
    const parentChanges = fromDir !== toDir;
    if (inode.isDirectory && parentChanges) {
      yield* directories.setParent(handle, nodeOf(inode), toDir.ino);
      fromDir.nlink--;
      toDir.nlink++;
    }
    if (isExchange && replaced?.isDirectory && parentChanges) {
      yield* directories.setParent(handle, nodeOf(replaced), fromDir.ino);
      toDir.nlink--;
      fromDir.nlink++;
    }
    if (isReplacing) unname(toDir, replaced);
    for (const changed of new Set([fromDir, toDir, inode, replaced])) if (changed !== null) yield* write(parts, handle, changed);
    return 0;
  });
}

/** The new entry first: it alone may need room. */
function* moveEntries(directories: Directories, handle: Handle, move: Move): Steps<0 | NegErrno> {
  const { fromDir, fromName, toDir, toName, inode, replaced, isExchange } = move;
  if (replaced === null) {
    const status = yield* directories.insert(handle, toDir, toName, inode.ino, inode.mode);
    if (status < 0) return status;
  } else yield* directories.replace(handle, nodeOf(toDir), toName, inode.ino, inode.mode);
  if (isExchange && replaced !== null) yield* directories.replace(handle, nodeOf(fromDir), fromName, replaced.ino, replaced.mode);
  else yield* directories.remove(handle, nodeOf(fromDir), fromName);
  return 0;
}
