/** The way from the root of a directory's index to the leaf that a hash belongs to. */
import { KernelError, type Steps } from '@tidemark/core';
import { findSlot, type IndexBlock, type IndexRoot, readNode, readRoot, slotBlock, slotCount, slotHash } from '../format/htree.js';
import { hashName, type HashVersion, type NameHash } from '../format/name-hash.js';
import { type Superblock, SuperFlag } from '../format/superblock.js';
import type { BlockReader } from '../metadata/block-reader.js';
import type { Node } from '../inode/node.js';
import type { DirectoryBlocks, DirectoryPart } from './directory-blocks.js';

/** One index block on the way, and the slot that was taken. */
export interface IndexStep {
  readonly index: IndexBlock;
  readonly part: DirectoryPart;
  slot: number;
}

export interface IndexPath {
  readonly root: IndexRoot;
  /** The root first; then a node, if there is a level below it. */
  readonly steps: IndexStep[];
}

/** Hashes names as a directory's index does. @param onDisk version that its root names. */
export function hashIn(superblock: Superblock, onDisk: number, name: Uint8Array): NameHash {
  const { hashSeed0, hashSeed1, hashSeed2, hashSeed3, flags } = superblock;
  const version = (onDisk + ((flags & SuperFlag.UNSIGNED_HASH) !== 0 ? 3 : 0)) as HashVersion;
  return hashName(name, version, [hashSeed0, hashSeed1, hashSeed2, hashSeed3]);
}

/** The root of the index. @throws KernelError EUCLEAN. */
export function* rootOf(blocks: DirectoryBlocks, reader: BlockReader, node: Node): Steps<{ root: IndexRoot; part: DirectoryPart }> {
  const part = yield* blocks.get(reader, node, 0);
  return { root: readRoot(part, blocks.count(node)), part };
}

/** The way to the leaf of a hash. @throws KernelError EUCLEAN. */
export function* pathTo(blocks: DirectoryBlocks, reader: BlockReader, node: Node, hash: (root: IndexRoot) => number): Steps<IndexPath> {
  const { root, part } = yield* rootOf(blocks, reader, node);
  const wanted = hash(root);
  const steps: IndexStep[] = [{ index: root, part, slot: findSlot(root, wanted) }];
  for (let level = 0; level < root.levels; level++) {
    const above = steps[level];
    const next = yield* blocks.get(reader, node, slotBlock(above.index, above.slot));
    const index = readNode(next, blocks.count(node));
    steps.push({ index, part: next, slot: findSlot(index, wanted) });
  }
  return { root, steps };
}

/** Logical block of the leaf at the end of the way. */
export function leafOf({ steps }: IndexPath): number {
  const last = steps[steps.length - 1];
  return slotBlock(last.index, last.slot);
}

/**
 * Goes on to the next leaf.
 * @returns the hash it begins with, its lowest bit saying that the hash before goes on there; -1 if there is no next leaf.
 */
export function* toNextLeaf(blocks: DirectoryBlocks, reader: BlockReader, node: Node, path: IndexPath): Steps<number> {
  const { steps } = path;
  let level = steps.length - 1;
  while (level >= 0 && steps[level].slot + 1 >= slotCount(steps[level].index)) level--;
  if (level < 0) return -1;
  const hash = slotHash(steps[level].index, ++steps[level].slot);
  for (level++; level < steps.length; level++) {
    const above = steps[level - 1];
    reader.put(steps[level].part.meta);
    const part = yield* blocks.get(reader, node, slotBlock(above.index, above.slot));
    steps[level] = { index: readNode(part, blocks.count(node)), part, slot: 0 };
  }
  return hash;
}

/** Whether a leaf that begins with `begins` goes on with entries of `hash`. */
export function continues(begins: number, hash: number): boolean {
  return begins >= 0 && (begins & 1) !== 0 && (begins & ~1) >>> 0 === hash;
}

/** @throws KernelError EUCLEAN if a directory's way to a leaf is longer than it can be: for loops over leaves. */
export function checkTurns(name: string, turns: number, nrBlocks: number): void {
  if (turns > nrBlocks) throw new KernelError('EUCLEAN', `${name}: its index leads to more leaves than it has blocks`);
}
