/**
 * A directory, whichever way it keeps its entries. Whoever calls holds its lock (core's), for itself if it changes anything.
 */
import { type DirectorySink, encodeName, type Inode, KernelError, type NegErrno, type Steps } from '@tidemark/core';
import { Compat } from '../format/features.js';
import {
  EntryType,
  entryInode,
  entryName,
  entryTypeOf,
  insertEntry,
  isDots,
  nextEntry,
  putEntry,
  entryBytes,
  removeEntry,
  setEntryInode,
} from '../format/directory-entry.js';
import { InodeFlag } from '../format/inode.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';
import { type Node, nodeOf } from '../inode/node.js';
import type { Parts } from '../volume/parts.js';
import { DirectoryBlocks, type DirectoryPart, type EntryPlace } from './directory-blocks.js';
import { findIndexed, insertIndexed, makeIndex } from './indexed.js';
import { findLinear, insertInNewBlock, insertInRoom, isEmpty } from './linear.js';
import { readBlockByHash, readByHash, readByPlace } from './read-directory.js';

const DOT = Uint8Array.of(0x2e);
const DOT_DOT = Uint8Array.of(0x2e, 0x2e);

export class Directories {
  readonly #blocks: DirectoryBlocks;

  constructor(readonly parts: Parts) {
    this.#blocks = new DirectoryBlocks(parts);
  }

  get #hasIndexes(): boolean {
    return (this.parts.superblock.fields.featureCompat & Compat.DIR_INDEX) !== 0;
  }

  #isIndexed(node: Node): boolean {
    return this.#hasIndexes && (node.raw.flags & InodeFlag.INDEX) !== 0;
  }

  /** Where a name's entry is, or null. */
  *find(reader: BlockReader, node: Node, name: string): Steps<EntryPlace | null> {
    const bytes = encodeName(name);
    return yield* this.#isIndexed(node) ? findIndexed(this.#blocks, reader, node, bytes) : findLinear(this.#blocks, reader, node, bytes);
  }

  /** Inode number of a name, or 0. */
  *lookup(reader: BlockReader, node: Node, name: string): Steps<number> {
    if (name === '..') {
      const { part, at } = yield* this.#dotDot(reader, node);
      return entryInode(part, at);
    }
    const place = yield* this.find(reader, node, name);
    return place === null ? 0 : entryInode(place.part, place.at);
  }

  *#dotDot(reader: BlockReader, node: Node): Steps<EntryPlace> {
    const part = yield* this.#blocks.get(reader, node, 0);
    const at = nextEntry(part, 0);
    if (at >= part.bytes.length || !isDots(entryName(part, at)))
      throw new KernelError('EUCLEAN', `${part.name} does not begin with . and ..`, { details: { ino: node.ino } });
    nextEntry(part, at);
    return { part, at };
  }

  /** Gives the entries behind a cookie. */
  *read(reader: BlockReader, node: Node, cookie: number, sink: DirectorySink): Steps<void> {
    if (this.#isIndexed(node)) yield* readByHash(this.#blocks, reader, node, cookie, sink);
    else if (this.#hasIndexes && this.#blocks.count(node) === 1) yield* readBlockByHash(this.#blocks, reader, node, cookie, sink);
    else yield* readByPlace(this.#blocks, reader, node, cookie, sink);
  }

  *isEmpty(reader: BlockReader, node: Node): Steps<boolean> {
    return yield* isEmpty(this.#blocks, reader, node);
  }

  /** Makes an entry for a name that has none. The caller writes the directory's inode. @returns 0 or `-ENOSPC`. */
  *insert(handle: Handle, dir: Inode, name: string, ino: number, mode: number): Steps<0 | NegErrno> {
    const node = nodeOf(dir);
    const bytes = encodeName(name);
    const type = entryTypeOf(mode);
    if (!this.#isIndexed(node)) {
      if (yield* insertInRoom(this.#blocks, handle, dir, bytes, ino, type)) return 0;
      if (!this.#hasIndexes || this.#blocks.count(node) > 1) return yield* insertInNewBlock(this.#blocks, handle, dir, bytes, ino, type);
      const status = yield* makeIndex(this.#blocks, handle, dir);
      if (status < 0) return status;
    }
    return yield* insertIndexed(this.#blocks, handle, dir, bytes, ino, type);
  }

  /** Takes a name's entry away. @throws KernelError EUCLEAN if it is not there: core has just looked it up. */
  *remove(handle: Handle, node: Node, name: string): Steps<void> {
    const { part, at } = yield* this.#expect(handle, node, name);
    handle.join(part.meta);
    removeEntry(part, at);
  }

  /** Has a name's entry stand for another inode. */
  *replace(handle: Handle, node: Node, name: string, ino: number, mode: number): Steps<void> {
    const { part, at } = yield* this.#expect(handle, node, name);
    handle.join(part.meta);
    setEntryInode(part, at, ino, entryTypeOf(mode));
  }

  *#expect(handle: Handle, node: Node, name: string): Steps<EntryPlace> {
    const place = yield* this.find(handle, node, name);
    if (place === null)
      throw new KernelError('EUCLEAN', `${this.#blocks.nameOf(node)} has no entry ${JSON.stringify(name)}, and had`, {
        details: { ino: node.ino },
      });
    return place;
  }

  /** The first block of a new directory. @returns 0 or `-ENOSPC`. */
  *start(handle: Handle, inode: Inode, parent: number): Steps<0 | NegErrno> {
    const part: DirectoryPart | NegErrno = yield* this.#blocks.append(handle, inode);
    if (typeof part === 'number') return part;
    insertEntry(part, 0, inode.ino, EntryType.DIRECTORY, DOT);
    const dot = entryBytes(DOT.length);
    part.view.setUint16(4, dot, true);
    putEntry(part, dot, part.bytes.length - dot, parent, EntryType.DIRECTORY, DOT_DOT);
    return 0;
  }

  /** Another parent for a directory that moves. */
  *setParent(handle: Handle, node: Node, parent: number): Steps<void> {
    const { part, at } = yield* this.#dotDot(handle, node);
    handle.join(part.meta);
    setEntryInode(part, at, parent, EntryType.DIRECTORY);
  }
}
