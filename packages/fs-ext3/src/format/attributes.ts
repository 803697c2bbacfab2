/**
 * Extended attributes: a list of entries that grows from the start, values that grow from the end. Little-endian.
 *
 *     entry   name_len u8 | name_index u8 | value_offs u16 | value_inum u32 = 0 | value_size u32 | hash u32 | name, padded to 4
 *     list    entries, then a zero word
 *
 * In the inode: magic u32 at 128 + extra_isize, then the list; offsets count from the first entry. In a block: a header of 32 bytes (magic,
 * refcount, blocks = 1, hash), then the list, sorted; offsets count from the start of the block. A block may be shared by inodes.
 */
import { KernelError } from '@tidemark/core';
import { copyOf, viewOf } from './bytes.js';

const ATTRIBUTE_MAGIC = 0xea020000;
const BLOCK_HEADER_BYTES = 32;
const ENTRY_BYTES = 16;
const INODE_HEADER_BYTES = 4;
/** Inodes that may share a block. */
export const REFERENCES_MAX = 1024;
export const ATTRIBUTE_NAME_BYTES_MAX = 255;

/** `name_index`: the prefix that is not stored. */
const PREFIXES: readonly (readonly [index: number, prefix: string, isWhole: boolean])[] = [
  [1, 'user.', false],
  [2, 'system.posix_acl_access', true],
  [3, 'system.posix_acl_default', true],
  [4, 'trusted.', false],
  [6, 'security.', false],
  [7, 'system.', false],
];

/** One attribute. */
export interface Attribute {
  /** Which prefix its name has. */
  readonly index: number;
  /** The rest of its name: bytes. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** A name with its prefix, split; null for a prefix that cannot be stored. `name` is one character a byte. */
export function splitAttributeName(name: string): { index: number; rest: string } | null {
  for (const [index, prefix, isWhole] of PREFIXES) {
    if (isWhole ? name === prefix : name.startsWith(prefix) && name.length > prefix.length)
      return { index, rest: name.slice(prefix.length) };
  }
  return null;
}

/** The prefix of an index, or null if it is not known. */
export function attributePrefix(index: number): string | null {
  return PREFIXES.find(([known]) => known === index)?.[1] ?? null;
}

/** Bytes between two sizes of a list: the entry and the padded value. */
export function attributeBytes({ name, value }: Attribute): number {
  return padded(ENTRY_BYTES + name.length) + padded(value.length);
}

/** True if `attributes` fit into `spaceBytes` of an inode, magic included. */
export function fitsInode(attributes: readonly Attribute[], spaceBytes: number): boolean {
  return listBytes(attributes) + INODE_HEADER_BYTES <= spaceBytes;
}

/** True if they fit into a block of their own. */
export function fitsBlock(attributes: readonly Attribute[], blockSize: number): boolean {
  return listBytes(attributes) + BLOCK_HEADER_BYTES <= blockSize;
}

function listBytes(attributes: readonly Attribute[]): number {
  return attributes.reduce((sum, attribute) => sum + attributeBytes(attribute), 4);
}

const padded = (bytes: number): number => (bytes + 3) & ~3;

/** Attributes in the spare part of an inode; none if it holds none. @throws KernelError EUCLEAN naming whose they are and what is wrong. */
export function getInodeAttributes(name: string, space: Uint8Array): Attribute[] {
  if (space.length < INODE_HEADER_BYTES + 4) return [];
  const view = viewOf(space);
  if (view.getUint32(0, true) !== ATTRIBUTE_MAGIC) return [];
  const list = space.subarray(INODE_HEADER_BYTES);
  return getList(`the attributes in ${name}`, list, 0, 0);
}

/** Writes attributes into the spare part of an inode; they fit. None leaves it empty. */
export function putInodeAttributes(space: Uint8Array, attributes: readonly Attribute[]): void {
  space.fill(0);
  if (attributes.length === 0) return;
  viewOf(space).setUint32(0, ATTRIBUTE_MAGIC, true);
  putList(space.subarray(INODE_HEADER_BYTES), 0, attributes, false);
}

/** An attribute block. */
export interface AttributeBlock {
  readonly references: number;
  /** Of all its entries; equal blocks have equal ones. 0: must not be shared. */
  readonly hash: number;
  readonly attributes: Attribute[];
}

/** Reads an attribute block. @throws KernelError EUCLEAN. */
export function getAttributeBlock(name: string, bytes: Uint8Array): AttributeBlock {
  const view = viewOf(bytes);
  const references = view.getUint32(4, true);
  const nrBlocks = view.getUint32(8, true);
  if (view.getUint32(0, true) !== ATTRIBUTE_MAGIC || nrBlocks !== 1 || references < 1 || references > REFERENCES_MAX)
    throw new KernelError('EUCLEAN', `${name} is no attribute block: ${references} references, ${nrBlocks} blocks`);
  return { references, hash: view.getUint32(12, true), attributes: getList(name, bytes, BLOCK_HEADER_BYTES, 0) };
}

/** Writes an attribute block with one reference; the attributes fit. */
export function putAttributeBlock(bytes: Uint8Array, attributes: readonly Attribute[]): void {
  bytes.fill(0);
  const view = viewOf(bytes);
  view.setUint32(0, ATTRIBUTE_MAGIC, true);
  view.setUint32(4, 1, true);
  view.setUint32(8, 1, true);
  const sorted = [...attributes].sort(compareAttributes);
  view.setUint32(12, putList(bytes, BLOCK_HEADER_BYTES, sorted, true), true);
}

/** Changes how many inodes share a block. */
export function setReferences(bytes: Uint8Array, references: number): void {
  viewOf(bytes).setUint32(4, references, true);
}

/** The order of entries in a block: prefix, length of the name, name. */
function compareAttributes(a: Attribute, b: Attribute): number {
  if (a.index !== b.index) return a.index - b.index;
  if (a.name.length !== b.name.length) return a.name.length - b.name.length;
  for (let i = 0; i < a.name.length; i++) if (a.name[i] !== b.name[i]) return a.name[i] - b.name[i];
  return 0;
}

function getList(whose: string, bytes: Uint8Array, first: number, base: number): Attribute[] {
  const view = viewOf(bytes);
  const damaged = (at: number, why: string): KernelError =>
    new KernelError('EUCLEAN', `${whose}: the entry at byte ${at} ${why}`, { details: { offsetBytes: at } });
  const found: (Attribute & { from: number })[] = [];
  let at = first;
  for (;;) {
    if (at + 4 > bytes.length) throw damaged(at, 'is beyond the end');
    if (view.getUint32(at, true) === 0) break;
    if (at + ENTRY_BYTES > bytes.length) throw damaged(at, 'is cut off');
    const nameBytes = bytes[at];
    const from = base + view.getUint16(at + 2, true);
    const size = view.getUint32(at + 8, true);
    const next = at + padded(ENTRY_BYTES + nameBytes);
    if (next + 4 > bytes.length) throw damaged(at, `has a name of ${nameBytes} bytes, which leaves no room for an end`);
    if (view.getUint32(at + 4, true) !== 0) throw damaged(at, 'has its value in an inode, which ext3 does not');
    if (size > bytes.length || (size > 0 && from + padded(size) > bytes.length))
      throw damaged(at, `has ${size} bytes at ${from}, which is outside`);
    found.push({
      index: bytes[at + 1],
      name: copyOf(bytes, at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes),
      value: size === 0 ? new Uint8Array(0) : copyOf(bytes, from, from + size),
      from,
    });
    at = next;
  }
  for (const { value, from } of found) if (value.length > 0 && from < at + 4) throw damaged(from, 'is a value that lies over the list');
  return found.map(({ index, name, value }) => ({ index, name, value }));
}

/** @returns the hash of the block. */
function putList(bytes: Uint8Array, first: number, attributes: readonly Attribute[], isHashed: boolean): number {
  const view = viewOf(bytes);
  let at = first;
  let end = bytes.length & ~3;
  let blockHash = 0;
  let isSharable = true;
  for (const { index, name, value } of attributes) {
    end -= padded(value.length);
    bytes[at] = name.length;
    bytes[at + 1] = index;
    view.setUint16(at + 2, value.length === 0 ? 0 : end, true);
    view.setUint32(at + 8, value.length, true);
    bytes.set(name, at + ENTRY_BYTES);
    bytes.set(value, end);
    if (isHashed) {
      const hash = entryHash(name, view, end, padded(value.length));
      view.setUint32(at + 12, hash, true);
      isSharable &&= hash !== 0;
      blockHash = (rotate(blockHash, 16) ^ hash) >>> 0;
    }
    at += padded(ENTRY_BYTES + name.length);
  }
  return isSharable ? blockHash : 0;
}

/** Of the name's bytes, then of the padded value's words. */
function entryHash(name: Uint8Array, view: DataView, valueAt: number, valueBytes: number): number {
  let hash = 0;
  for (const byte of name) hash = rotate(hash, 5) ^ byte;
  for (let i = 0; i < valueBytes; i += 4) hash = rotate(hash, 16) ^ view.getUint32(valueAt + i, true);
  return hash >>> 0;
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
