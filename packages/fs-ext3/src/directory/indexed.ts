/**
 * Directories with an index (htree): entries are looked for, and put, in the leaf their name's hash belongs to. A leaf that is full is split;
 * an index block that is full too; a root that is full gets a level below it, once.
 */
import { Errno, type Inode, KernelError, type NegErrno, type Steps } from '@tidemark/core';
import {
  clearBlock,
  entryBytes,
  entryInode,
  entryName,
  entryType,
  findEntry,
  findRoom,
  insertEntry,
  nextEntry,
  putEntry,
  recordLength,
} from '../format/directory-entry.js';
import {
  insertSlot,
  LEVELS_MAX,
  makeNode,
  makeRoot,
  moveSlots,
  putSlot,
  setLevels,
  setSlotCount,
  slotCount,
  slotHash,
  slotLimit,
} from '../format/htree.js';
import { copyOf } from '../format/bytes.js';
import { InodeFlag } from '../format/inode.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';
import { type Node, nodeOf } from '../inode/node.js';
import type { DirectoryBlocks, DirectoryPart, EntryPlace } from './directory-blocks.js';
import { checkTurns, continues, hashIn, type IndexPath, type IndexStep, leafOf, pathTo, toNextLeaf } from './index-path.js';

/** The entry of a name, or null. */
export function* findIndexed(blocks: DirectoryBlocks, reader: BlockReader, node: Node, name: Uint8Array): Steps<EntryPlace | null> {
  let hash = 0;
  const path = yield* pathTo(blocks, reader, node, ({ hashVersion }) => {
    hash = hashIn(blocks.parts.superblock.fields, hashVersion, name).major;
    return hash;
  });
  for (let turns = 0; ; turns++) {
    checkTurns(blocks.nameOf(node), turns, blocks.count(node));
    const part = yield* blocks.get(reader, node, leafOf(path));
    const at = findEntry(part, name);
    if (at >= 0) return { part, at };
    reader.put(part.meta);
    if (!continues(yield* toNextLeaf(blocks, reader, node, path), hash)) return null;
  }
}

/** An entry on its way to another place. */
interface Moved {
  readonly hash: number;
  readonly ino: number;
  readonly type: number;
  readonly name: Uint8Array;
}

/** Every entry of a block that is in use, from `from` on. */
function entriesOf(part: DirectoryPart, from: number, hashOf: (name: Uint8Array) => number): Moved[] {
  const entries: Moved[] = [];
  for (let at = from, next = 0; at < part.bytes.length; at = next) {
    next = nextEntry(part, at);
    if (entryInode(part, at) === 0) continue;
    const name = copyOf(entryName(part, at), 0, part.bytes.length);
    entries.push({ hash: hashOf(name), ino: entryInode(part, at), type: entryType(part, at), name });
  }
  return entries;
}

/** Makes a block hold these entries, which fit. */
function fill(part: DirectoryPart, entries: readonly Moved[]): void {
  clearBlock(part);
  let at = 0;
  entries.forEach(({ ino, type, name }, i) => {
    const length = i === entries.length - 1 ? part.bytes.length - at : entryBytes(name.length);
    putEntry(part, at, length, ino, type, name);
    at += length;
  });
}

/** Gives a directory of one block an index: its entries go to a leaf, the block becomes the root. @returns 0 or `-ENOSPC`, nothing changed. */
export function* makeIndex(blocks: DirectoryBlocks, handle: Handle, inode: Inode): Steps<0 | NegErrno> {
  const node = nodeOf(inode);
  const root = yield* blocks.get(handle, node, 0);
  const afterDot = nextEntry(root, 0);
  const afterDots = nextEntry(root, afterDot);
  if (afterDot !== entryBytes(1) || recordLength(root, afterDot) < entryBytes(2))
    throw new KernelError('EUCLEAN', `${root.name} does not begin with . and ..`, { details: { ino: node.ino } });
  const entries = entriesOf(root, afterDots, () => 0);
  const leaf = yield* blocks.append(handle, inode);
  if (typeof leaf === 'number') return leaf;
  fill(leaf, entries);
  handle.join(root.meta);
  makeRoot(root, Math.min(blocks.parts.superblock.fields.defaultHashVersion, 2), leaf.logical);
  node.raw.flags |= InodeFlag.INDEX;
  return 0;
}

/** Puts an entry into the leaf of its name. @returns 0 or `-ENOSPC`. */
export function* insertIndexed(
  blocks: DirectoryBlocks,
  handle: Handle,
  inode: Inode,
  name: Uint8Array,
  ino: number,
  type: number,
): Steps<0 | NegErrno> {
  const node = nodeOf(inode);
  const { fields } = blocks.parts.superblock;
  const path = yield* pathTo(blocks, handle, node, ({ hashVersion }) => hashIn(fields, hashVersion, name).major);
  let leaf = yield* blocks.get(handle, node, leafOf(path));
  let at = findRoom(leaf, name.length);
  if (at < 0) {
    const made = yield* makeSlotRoom(blocks, handle, inode, path);
    if (made < 0) return made;
    const half = yield* splitLeaf(blocks, handle, inode, path, leaf, hashIn(fields, path.root.hashVersion, name).major);
    if (typeof half === 'number') return half;
    leaf = half;
    at = findRoom(leaf, name.length);
    if (at < 0) throw new KernelError('EUCLEAN', `${leaf.name}: no room in its block ${leaf.logical}, which was split`);
  }
  handle.join(leaf.meta);
  insertEntry(leaf, at, ino, type, name);
  return 0;
}

/** Sees to it that the lowest index block on the way has room for a slot. Whatever it does, the index is whole afterwards. */
function* makeSlotRoom(blocks: DirectoryBlocks, handle: Handle, inode: Inode, path: IndexPath): Steps<0 | NegErrno> {
  const { steps, root } = path;
  const { blockSize } = blocks.parts.geometry;
  const last = steps[steps.length - 1];
  if (slotCount(last.index) < slotLimit(blockSize, steps.length === 1)) return 0;
  if (steps.length > 1 && slotCount(root) === slotLimit(blockSize, true)) return -Errno.ENOSPC;
  if (steps.length === 1 && root.levels >= LEVELS_MAX) return -Errno.ENOSPC;
  const part = yield* blocks.append(handle, inode);
  if (typeof part === 'number') return part;
  const index = makeNode(part);
  handle.join(last.part.meta);
  handle.join(steps[0].part.meta);
  if (steps.length === 1) {
    moveSlots(root, 0, index);
    setSlotCount(root, 1);
    putSlot(root, 0, 0, part.logical);
    setLevels(root, 1);
    steps.push({ index, part, slot: last.slot });
    last.slot = 0;
    return 0;
  }
  splitNode(steps, { index, part, slot: 0 });
  return 0;
}

/** The upper half of a full node goes to a new one. */
function splitNode(steps: IndexStep[], fresh: IndexStep): void {
  const [top, full] = steps;
  const from = slotCount(full.index) >>> 1;
  const hash = slotHash(full.index, from);
  moveSlots(full.index, from, fresh.index);
  insertSlot(top.index, top.slot + 1, hash, fresh.part.logical);
  if (full.slot < from) return;
  fresh.slot = full.slot - from;
  steps[1] = fresh;
  top.slot++;
}

/** The upper half of a full leaf goes to a new one. @returns the one that `hash` belongs to; `-ENOSPC`. */
function* splitLeaf(
  blocks: DirectoryBlocks,
  handle: Handle,
  inode: Inode,
  path: IndexPath,
  full: DirectoryPart,
  hash: number,
): Steps<DirectoryPart | NegErrno> {
  const { fields } = blocks.parts.superblock;
  const entries = entriesOf(full, 0, (name) => hashIn(fields, path.root.hashVersion, name).major);
  if (entries.length < 2) throw new KernelError('EUCLEAN', `${full.name}: its block ${full.logical} is full of nothing`);
  const fresh = yield* blocks.append(handle, inode);
  if (typeof fresh === 'number') return fresh;
  entries.sort((a, b) => a.hash - b.hash);
  const half = middle(entries);
  const begins = entries[half].hash;
  handle.join(full.meta);
  fill(full, entries.slice(0, half));
  fill(fresh, entries.slice(half));
  const { steps } = path;
  const last = steps[steps.length - 1];
  handle.join(last.part.meta);
  insertSlot(last.index, last.slot + 1, (begins | (begins === entries[half - 1].hash ? 1 : 0)) >>> 0, fresh.logical);
  return hash >= begins ? fresh : full;
}

/** The first entry of the upper half, by bytes; at least one entry is in either. */
function middle(entries: readonly Moved[]): number {
  const total = entries.reduce((sum, { name }) => sum + entryBytes(name.length), 0);
  let half = 0;
  for (let bytes = 0; half < entries.length - 1; half++) {
    bytes += entryBytes(entries[half].name.length);
    if (bytes > total / 2) break;
  }
  return Math.max(half, 1);
}
