/** Making files: inode, content, entry, all in one handle. What cannot be finished for want of room is taken back in it. */
import { encodeName, FileType, type Inode, type NegErrno, type Steps, type TaskContext } from '@tidemark/core';
import type { Directories } from '../directory/directory.js';
import { EXTRA_BYTES, FAST_SYMLINK_BYTES_MAX, NR_POINTERS, OLD_INODE_BYTES, type RawInode } from '../format/inode.js';
import { RangeFreer } from '../inode/free-range.js';
import { fromCore, type Node, nodeOf, putDevice } from '../inode/node.js';
import { fromMs } from '../inode/times.js';
import type { Handle } from '../journal/handle.js';
import { type Parts, randomWord } from '../volume/parts.js';

function blankInode(parts: Parts, inode: Inode): RawInode {
  const { inodeSize } = parts.geometry;
  const extraBytes = inodeSize > OLD_INODE_BYTES ? Math.min(EXTRA_BYTES, inodeSize - OLD_INODE_BYTES) : 0;
  const never = { seconds: 0, nanoseconds: 0 };
  return {
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    size: 0,
    atime: never,
    ctime: never,
    mtime: never,
    birthTime: extraBytes > 0 ? fromMs(inode.createdMs, true) : null,
    dtime: 0,
    linksCount: 0,
    sectors: 0,
    flags: 0,
    version: 0,
    generation: randomWord(parts.random),
    attributeBlock: 0,
    block: new Uint32Array(NR_POINTERS),
    extraBytes,
  };
}

/** Makes a file of the type that `inode.mode` says. `node` is blank. @returns 0 or `-ENOSPC`. */
export function* createFile(
  parts: Parts,
  directories: Directories,
  task: TaskContext,
  dir: Inode,
  name: string,
  inode: Inode,
  node: Node,
): Steps<0 | NegErrno> {
  return yield* parts.journal.do(task, parts.credits.create, function* (handle) {
    const ino = yield* parts.inodes.allocate(handle, dir.ino, inode.isDirectory);
    if (ino < 0) return ino;
    inode.ino = node.ino = ino;
    inode.sizeBytes = 0;
    node.raw = blankInode(parts, inode);
    inode.generation = node.raw.generation;
    inode.priv = node;
    yield* parts.table.clear(handle, ino);
    let status = yield* putContent(parts, directories, handle, dir, inode);
    if (status === 0) status = yield* directories.insert(handle, dir, name, ino, inode.mode);
    if (status < 0) {
      yield* takeBack(parts, handle, inode);
      return status;
    }
    inode.nlink = inode.isDirectory ? 2 : 1;
    if (inode.isDirectory) dir.nlink++;
    for (const changed of [inode, dir]) {
      fromCore(nodeOf(changed), changed, parts.geometry.inodeSize);
      yield* parts.table.write(handle, nodeOf(changed));
    }
    node.dataTransaction = nodeOf(dir).dataTransaction = handle.transaction.id;
    return 0;
  });
}

/** What a new file holds: a directory its two entries, a symbolic link its target, a device node its number. */
function* putContent(parts: Parts, directories: Directories, handle: Handle, dir: Inode, inode: Inode): Steps<0 | NegErrno> {
  const { raw } = nodeOf(inode);
  switch (inode.mode & FileType.MASK) {
    case FileType.DIRECTORY:
      return yield* directories.start(handle, inode, dir.ino);
    case FileType.SYMLINK:
      return yield* putTarget(parts, handle, inode, encodeName(inode.linkTarget ?? ''));
    case FileType.BLOCK_DEVICE:
    case FileType.CHARACTER_DEVICE:
      putDevice(raw.block, inode.rdev);
      return 0;
    default:
      return 0;
  }
}

/** A short target lies where the pointers would be, a longer one in a block of its own, which is metadata. */
function* putTarget(parts: Parts, handle: Handle, inode: Inode, target: Uint8Array): Steps<0 | NegErrno> {
  const node = nodeOf(inode);
  inode.sizeBytes = node.raw.size = target.length;
  if (target.length <= FAST_SYMLINK_BYTES_MAX) {
    target.forEach((byte, i) => {
      node.raw.block[i >>> 2] |= byte << ((i & 3) * 8);
    });
    return 0;
  }
  const block = yield* parts.map.ensure(handle, node, 0, []);
  if (block < 0) return block;
  (yield* handle.create(block)).bytes.set(target);
  return 0;
}

function* takeBack(parts: Parts, handle: Handle, inode: Inode): Steps<void> {
  const node = nodeOf(inode);
  if (node.hasBlocks(parts.geometry.blockSize)) yield* new RangeFreer(parts.blocks, handle, node, true, true).free(0, 12);
  yield* parts.table.clear(handle, node.ino);
  yield* parts.inodes.free(handle, node.ino, node.isDirectory);
}
