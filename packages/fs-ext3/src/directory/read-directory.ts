/** Reading directories from a cookie on; see cookies.ts. */
import { decodeName, type DirectorySink, type Steps } from '@tidemark/core';
import { EntryType, entryInode, entryName, entryType, isDots, nextEntry } from '../format/directory-entry.js';
import { FileType } from '../format/inode.js';
import type { BlockReader } from '../metadata/block-reader.js';
import type { Node } from '../inode/node.js';
import { hashCookie, hashOfCookie, placeCookie } from './cookies.js';
import type { DirectoryBlocks, DirectoryPart } from './directory-blocks.js';
import { checkTurns, continues, hashIn, leafOf, pathTo, toNextLeaf } from './index-path.js';

const TYPES: Readonly<Record<number, number>> = {
  [EntryType.REGULAR]: FileType.REGULAR,
  [EntryType.DIRECTORY]: FileType.DIRECTORY,
  [EntryType.CHARACTER]: FileType.CHARACTER,
  [EntryType.BLOCK]: FileType.BLOCK,
  [EntryType.FIFO]: FileType.FIFO,
  [EntryType.SOCKET]: FileType.SOCKET,
  [EntryType.SYMLINK]: FileType.SYMLINK,
};

interface Entry {
  readonly cookie: number;
  readonly ino: number;
  readonly type: number;
  readonly name: string;
}

/** Gives the entries of a directory without index, in the order in which they stand. */
export function* readByPlace(blocks: DirectoryBlocks, reader: BlockReader, node: Node, cookie: number, sink: DirectorySink): Steps<void> {
  const { blockSize } = blocks.parts.geometry;
  const nrBlocks = blocks.count(node);
  for (let logical = Math.floor(cookie / blockSize); logical < nrBlocks; logical++) {
    const part = yield* blocks.get(reader, node, logical);
    for (let at = 0, next = 0; at < blockSize; at = next) {
      next = nextEntry(part, at);
      const own = placeCookie(logical * blockSize + at);
      const ino = entryInode(part, at);
      if (own <= cookie || ino === 0 || isDots(entryName(part, at))) continue;
      if (!sink.add(decodeName(entryName(part, at)), ino, TYPES[entryType(part, at)] ?? 0, own)) return;
    }
    reader.put(part.meta);
  }
}

/** Adds the entries of a block that are behind a cookie. */
function gather(entries: Entry[], part: DirectoryPart, cookie: number, cookieOf: (name: Uint8Array) => number): void {
  for (let at = 0, next = 0; at < part.bytes.length; at = next) {
    next = nextEntry(part, at);
    const ino = entryInode(part, at);
    const name = entryName(part, at);
    if (ino === 0 || isDots(name)) continue;
    const own = cookieOf(name);
    if (own > cookie) entries.push({ cookie: own, ino, type: TYPES[entryType(part, at)] ?? 0, name: decodeName(name) });
  }
}

/** @returns false if the sink wants no more. */
function give(entries: Entry[], sink: DirectorySink): boolean {
  entries.sort((a, b) => a.cookie - b.cookie);
  for (const { name, ino, type, cookie } of entries) if (!sink.add(name, ino, type, cookie)) return false;
  return true;
}

/** Gives the entries of a directory of one block by hash: so its cookies stay when it gets an index. */
export function* readBlockByHash(
  blocks: DirectoryBlocks,
  reader: BlockReader,
  node: Node,
  cookie: number,
  sink: DirectorySink,
): Steps<void> {
  const { fields } = blocks.parts.superblock;
  const version = Math.min(fields.defaultHashVersion, 2);
  const entries: Entry[] = [];
  gather(entries, yield* blocks.get(reader, node, 0), cookie, (name) => hashCookie(hashIn(fields, version, name), name));
  give(entries, sink);
}

/** Gives the entries of a directory with an index by hash, leaf after leaf; leaves that share a hash together. */
export function* readByHash(blocks: DirectoryBlocks, reader: BlockReader, node: Node, cookie: number, sink: DirectorySink): Steps<void> {
  const { fields } = blocks.parts.superblock;
  const path = yield* pathTo(blocks, reader, node, () => hashOfCookie(cookie));
  const cookieOf = (name: Uint8Array): number => hashCookie(hashIn(fields, path.root.hashVersion, name), name);
  let entries: Entry[] = [];
  for (let turns = 0; ; turns++) {
    checkTurns(blocks.nameOf(node), turns, blocks.count(node));
    const part = yield* blocks.get(reader, node, leafOf(path));
    gather(entries, part, cookie, cookieOf);
    reader.put(part.meta);
    const begins = yield* toNextLeaf(blocks, reader, node, path);
    if (begins >= 0 && continues(begins, (begins & ~1) >>> 0)) continue;
    if (!give(entries, sink) || begins < 0) return;
    entries = [];
  }
}
