/** Directories as ext2 has them: entries in no order, looked for block by block. */
import type { Inode, NegErrno, Steps } from '@tidemark/core';
import { findEntry, findRoom, insertEntry, isEmptyBlock } from '../format/directory-entry.js';
import { InodeFlag } from '../format/inode.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';
import { type Node, nodeOf } from '../inode/node.js';
import type { DirectoryBlocks, EntryPlace } from './directory-blocks.js';

/** The entry of a name, or null. */
export function* findLinear(blocks: DirectoryBlocks, reader: BlockReader, node: Node, name: Uint8Array): Steps<EntryPlace | null> {
  const nrBlocks = blocks.count(node);
  for (let logical = 0; logical < nrBlocks; logical++) {
    const part = yield* blocks.get(reader, node, logical);
    const at = findEntry(part, name);
    if (at >= 0) return { part, at };
    reader.put(part.meta);
  }
  return null;
}

/** Puts an entry into the first room there is. @returns false if there is none. */
export function* insertInRoom(
  blocks: DirectoryBlocks,
  handle: Handle,
  inode: Inode,
  name: Uint8Array,
  ino: number,
  type: number,
): Steps<boolean> {
  const node = nodeOf(inode);
  const nrBlocks = blocks.count(node);
  for (let logical = 0; logical < nrBlocks; logical++) {
    const part = yield* blocks.get(handle, node, logical);
    const at = findRoom(part, name.length);
    if (at < 0) {
      handle.put(part.meta);
      continue;
    }
    handle.join(part.meta);
    insertEntry(part, at, ino, type, name);
    node.raw.flags &= ~InodeFlag.INDEX; // an index that nobody keeps would lead astray
    return true;
  }
  return false;
}

/** Puts an entry into one block more. @returns 0 or `-ENOSPC`. */
export function* insertInNewBlock(
  blocks: DirectoryBlocks,
  handle: Handle,
  inode: Inode,
  name: Uint8Array,
  ino: number,
  type: number,
): Steps<0 | NegErrno> {
  const part = yield* blocks.append(handle, inode);
  if (typeof part === 'number') return part;
  insertEntry(part, 0, ino, type, name);
  return 0;
}

/** True if nothing but `.` and `..` is in it. To who does not know them, index blocks are empty. */
export function* isEmpty(blocks: DirectoryBlocks, reader: BlockReader, node: Node): Steps<boolean> {
  const nrBlocks = blocks.count(node);
  for (let logical = 0; logical < nrBlocks; logical++) {
    const part = yield* blocks.get(reader, node, logical);
    if (!isEmptyBlock(part)) return false;
    reader.put(part.meta);
  }
  return true;
}
