/**
 * Index blocks of hashed directories. The root is block 0 and looks, to who does not know, like one with `.` and a long `..`; other index
 * blocks look like one free entry. Leaves are ordinary directory blocks.
 *
 *     root  0x00 '.'  0x0c '..' with the rest of the block  0x18 zero u32  0x1c hash version  0x1d info length 8  0x1e levels  0x1f flags
 *           0x20 limit u16, count u16   0x24 block for hash 0   0x28 { hash u32, block u32 } …
 *     node  0x00 free entry of the whole block    0x08 limit, count    0x0c block for hash 0    0x10 { hash, block } …
 *
 * Both are a header and then 8-byte slots, the first of which holds limit and count where the others have a hash.
 */
import { KernelError } from '@tidemark/core';
import type { DirectoryBlock } from './directory-entry.js';
import { HashVersion } from './name-hash.js';

const ROOT_SLOTS = 0x20;
const NODE_SLOTS = 0x08;
const SLOT_BYTES = 8;
const INFO_BYTES = 8;
/** Index levels below the root at most; more needs `large_dir`. */
export const LEVELS_MAX = 1;
const BLOCK_MASK = 0x0fffffff;

/** An index block, checked. */
export interface IndexBlock {
  readonly block: DirectoryBlock;
  /** Where its slots begin. */
  readonly slotsAt: number;
}

/** What the root says of its directory. */
export interface IndexRoot extends IndexBlock {
  /** As on disk: 0 legacy, 1 half MD4, 2 TEA. */
  readonly hashVersion: HashVersion;
  /** Index levels below the root: 0 or 1. */
  readonly levels: number;
}

/** Slots an index block may have. */
export function slotLimit(blockSize: number, isRoot: boolean): number {
  return Math.floor((blockSize - (isRoot ? ROOT_SLOTS : NODE_SLOTS)) / SLOT_BYTES);
}

/** Slots in use, the one for hash 0 included. */
export function slotCount({ block, slotsAt }: IndexBlock): number {
  return block.view.getUint16(slotsAt + 2, true);
}

export function setSlotCount({ block, slotsAt }: IndexBlock, count: number): void {
  block.view.setUint16(slotsAt + 2, count, true);
}

/** Hash of slot n; 0 for the first. Its lowest bit says that the hash before it goes on here. */
export function slotHash({ block, slotsAt }: IndexBlock, n: number): number {
  return n === 0 ? 0 : block.view.getUint32(slotsAt + n * SLOT_BYTES, true);
}

/** Logical block of the directory that slot n leads to. */
export function slotBlock({ block, slotsAt }: IndexBlock, n: number): number {
  return block.view.getUint32(slotsAt + n * SLOT_BYTES + 4, true) & BLOCK_MASK;
}

/** Writes slot n. The first keeps limit and count in place of a hash. */
export function putSlot({ block, slotsAt }: IndexBlock, n: number, hash: number, logical: number): void {
  if (n > 0) block.view.setUint32(slotsAt + n * SLOT_BYTES, hash, true);
  block.view.setUint32(slotsAt + n * SLOT_BYTES + 4, logical, true);
}

/** Puts a slot in at n; there is room for it. */
export function insertSlot(index: IndexBlock, n: number, hash: number, logical: number): void {
  const count = slotCount(index);
  const { bytes } = index.block;
  const from = index.slotsAt + n * SLOT_BYTES;
  bytes.copyWithin(from + SLOT_BYTES, from, index.slotsAt + count * SLOT_BYTES);
  setSlotCount(index, count + 1);
  putSlot(index, n, hash, logical);
}

/** The last slot whose hash is not greater. Binary search. */
export function findSlot(index: IndexBlock, hash: number): number {
  let low = 0;
  let high = slotCount(index) - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (slotHash(index, middle) <= hash) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Copies slots `from` … of one index block to the start of another, which has none. */
export function moveSlots(source: IndexBlock, from: number, target: IndexBlock): void {
  const count = slotCount(source) - from;
  for (let n = 0; n < count; n++) putSlot(target, n, slotHash(source, from + n), slotBlock(source, from + n));
  setSlotCount(target, count);
  setSlotCount(source, from);
}

/** Makes block 0 of a directory, which begins with `.` and `..`, the root of an index with one slot. */
export function makeRoot(block: DirectoryBlock, hashVersion: number, firstLeaf: number): IndexRoot {
  const { bytes, view } = block;
  view.setUint16(0x0c + 4, bytes.length - 0x0c, true);
  bytes.fill(0, 0x18);
  bytes[0x1c] = hashVersion;
  bytes[0x1d] = INFO_BYTES;
  view.setUint16(ROOT_SLOTS, slotLimit(bytes.length, true), true);
  const root: IndexRoot = { block, slotsAt: ROOT_SLOTS, hashVersion: hashVersion as HashVersion, levels: 0 };
  setSlotCount(root, 1);
  putSlot(root, 0, 0, firstLeaf);
  return root;
}

/** Says how many index levels are below the root. */
export function setLevels({ block }: IndexRoot, levels: number): void {
  block.bytes[0x1e] = levels;
}

/** Makes a block an index block without slots. */
export function makeNode(block: DirectoryBlock): IndexBlock {
  const { bytes, view } = block;
  bytes.fill(0);
  view.setUint16(4, bytes.length, true);
  view.setUint16(NODE_SLOTS, slotLimit(bytes.length, false), true);
  return { block, slotsAt: NODE_SLOTS };
}

/** Block 0 as the root of an index. @throws KernelError EUCLEAN naming what is wrong with it. */
export function readRoot(block: DirectoryBlock, nrBlocks: number): IndexRoot {
  const { bytes, view } = block;
  const hashVersion = bytes[0x1c] as HashVersion;
  const levels = bytes[0x1e];
  if (view.getUint32(0x18, true) !== 0 || hashVersion > HashVersion.TEA) throw damaged(block, `hash version ${hashVersion}`);
  if (bytes[0x1d] !== INFO_BYTES) throw damaged(block, `an info length of ${bytes[0x1d]}`);
  if (levels > LEVELS_MAX) throw damaged(block, `${levels} levels`);
  if ((bytes[0x1f] & 1) !== 0) throw damaged(block, `flags ${bytes[0x1f]}`);
  const root: IndexRoot = { block, slotsAt: ROOT_SLOTS, hashVersion, levels };
  checkSlots(root, true, nrBlocks);
  return root;
}

/** A block as an index block below the root. @throws KernelError EUCLEAN. */
export function readNode(block: DirectoryBlock, nrBlocks: number): IndexBlock {
  const { bytes, view } = block;
  if (view.getUint32(0, true) !== 0 || view.getUint16(4, true) !== bytes.length) throw damaged(block, 'an entry where an index should be');
  const node: IndexBlock = { block, slotsAt: NODE_SLOTS };
  checkSlots(node, false, nrBlocks);
  return node;
}

function checkSlots(index: IndexBlock, isRoot: boolean, nrBlocks: number): void {
  const { block, slotsAt } = index;
  const limit = block.view.getUint16(slotsAt, true);
  const count = slotCount(index);
  if (limit !== slotLimit(block.bytes.length, isRoot)) throw damaged(block, `a limit of ${limit} slots`);
  if (count < 1 || count > limit) throw damaged(block, `${count} slots of ${limit}`);
  for (let n = 0, before = 0; n < count; n++) {
    const logical = slotBlock(index, n);
    if (logical === 0 || logical >= nrBlocks) throw damaged(block, `a slot that leads to block ${logical} of ${nrBlocks}`);
    const hash = slotHash(index, n);
    if (hash < before) throw damaged(block, 'slots that are out of order');
    before = hash;
  }
}

function damaged({ name, logical }: DirectoryBlock, what: string): KernelError {
  return new KernelError('EUCLEAN', `${name}: the index in its block ${logical} has ${what}`, { details: { logicalBlock: logical } });
}
