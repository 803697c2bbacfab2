/**
 * Extended attributes of an inode: in the inode where they fit, the rest in a block, which inodes may share. A shared block is not changed: its
 * user gets one of its own. Ours are not shared to begin with; what others shared stays so.
 */
import { decodeName, Errno, encodeName, KernelError, type NegErrno, type Steps, type XattrMode } from '@tidemark/core';
import {
  type Attribute,
  type AttributeBlock,
  attributePrefix,
  fitsBlock,
  fitsInode,
  getAttributeBlock,
  getInodeAttributes,
  putAttributeBlock,
  putInodeAttributes,
  setReferences,
  splitAttributeName,
} from '../format/attributes.js';
import { Compat } from '../format/features.js';
import { groupOfInode, groupStart } from '../format/geometry.js';
import type { Handle } from '../journal/handle.js';
import type { BlockReader } from '../metadata/block-reader.js';
import type { MetadataBlock } from '../metadata/metadata-block.js';
import type { Parts } from '../volume/parts.js';
import type { Node } from './node.js';

const same = (a: Attribute, b: Attribute): boolean =>
  a.index === b.index && a.name.length === b.name.length && a.name.every((byte, i) => byte === b.name[i]);

/** An attribute's name as it is stored; null for a prefix that cannot be. */
export function parseName(name: string): { index: number; name: Uint8Array } | null {
  const split = splitAttributeName(name);
  return split === null ? null : { index: split.index, name: encodeName(split.rest) };
}

export class AttributeStore {
  constructor(readonly parts: Omit<Parts, 'attributes'>) {}

  /** All attributes of an inode. @throws KernelError EUCLEAN. */
  *all(reader: BlockReader, node: Node): Steps<Attribute[]> {
    const space = yield* this.parts.table.space(reader, node);
    const inside = getInodeAttributes(this.parts.table.nameOf(node.ino), space);
    if (node.raw.attributeBlock === 0) return inside;
    const { content } = yield* this.#block(reader, node);
    return [...inside, ...content.attributes];
  }

  *#block(reader: BlockReader, { ino, raw }: Node): Steps<{ block: MetadataBlock; content: AttributeBlock }> {
    this.parts.groups.checkPointer(raw.attributeBlock, () => `${this.parts.table.nameOf(ino)}, for its attributes,`);
    const block = yield* reader.get(raw.attributeBlock);
    return { block, content: getAttributeBlock(`block ${raw.attributeBlock} of ${this.parts.name}`, block.bytes) };
  }

  *get(reader: BlockReader, node: Node, name: string): Steps<Uint8Array | NegErrno> {
    const wanted = parseName(name);
    if (wanted === null) return -Errno.EOPNOTSUPP;
    const found = (yield* this.all(reader, node)).find((attribute) => same(attribute, { ...wanted, value: attribute.value }));
    return found?.value ?? -Errno.ENODATA;
  }

  *list(reader: BlockReader, node: Node): Steps<string[]> {
    const names: string[] = [];
    for (const { index, name } of yield* this.all(reader, node)) {
      const prefix = attributePrefix(index);
      if (prefix !== null) names.push(prefix + decodeName(name));
    }
    return names;
  }

  /** Sets an attribute, or removes it (`value` null). The caller writes the inode. @returns `-ENOSPC` with nothing changed; `-EEXIST`, `-ENODATA`, `-EOPNOTSUPP`. */
  *set(handle: Handle, node: Node, name: string, value: Uint8Array | null, mode: XattrMode): Steps<0 | NegErrno> {
    const wanted = parseName(name);
    if (wanted === null) return -Errno.EOPNOTSUPP;
    const before = yield* this.all(handle, node);
    const changed: Attribute = { ...wanted, value: value ?? new Uint8Array(0) };
    const isThere = before.some((attribute) => same(attribute, changed));
    if (isThere && mode === 'create') return -Errno.EEXIST;
    if (!isThere && mode === 'replace') return -Errno.ENODATA;
    const all = before.filter((attribute) => !same(attribute, changed));
    if (value !== null) all.push(changed);
    const space = yield* this.parts.table.space(handle, node);
    const inside: Attribute[] = [];
    const outside: Attribute[] = [];
    for (const attribute of all) (fitsInode([...inside, attribute], space.length) ? inside : outside).push(attribute);
    if (outside.length > 0 && !fitsBlock(outside, this.parts.geometry.blockSize)) return -Errno.ENOSPC;
    const status = yield* this.#putBlock(handle, node, outside);
    if (status < 0) return status;
    yield* this.parts.table.write(handle, node);
    if (space.length > 0) putInodeAttributes(space, inside);
    return 0;
  }

  /** What does not fit into the inode: into its block, if that is its own, else into a new one, or none. */
  *#putBlock(handle: Handle, node: Node, attributes: readonly Attribute[]): Steps<0 | NegErrno> {
    const { blocks, geometry, superblock } = this.parts;
    if (attributes.length === 0) {
      yield* this.release(handle, node);
      return 0;
    }
    if (node.raw.attributeBlock !== 0) {
      const { block, content } = yield* this.#block(handle, node);
      if (content.references === 1) {
        handle.join(block);
        putAttributeBlock(block.bytes, attributes);
        return 0;
      }
    }
    const fresh = yield* blocks.allocate(handle, groupStart(geometry, groupOfInode(geometry, node.ino)));
    if (fresh < 0) return fresh;
    yield* this.release(handle, node);
    putAttributeBlock((yield* handle.create(fresh)).bytes, attributes);
    node.raw.attributeBlock = fresh;
    node.raw.sectors += geometry.blockSize / 512;
    if ((superblock.fields.featureCompat & Compat.EXT_ATTR) === 0)
      superblock.change(handle, { featureCompat: superblock.fields.featureCompat | Compat.EXT_ATTR });
    return 0;
  }

  /** Lets go of the block, if there is one: it is freed with its last user. */
  *release(handle: Handle, node: Node): Steps<void> {
    const { attributeBlock } = node.raw;
    if (attributeBlock === 0) return;
    const { block, content } = yield* this.#block(handle, node);
    node.raw.attributeBlock = 0;
    node.raw.sectors -= this.parts.geometry.blockSize / 512;
    if (node.raw.sectors < 0)
      throw new KernelError('EUCLEAN', `${this.parts.table.nameOf(node.ino)} counts fewer blocks than it has`, {
        details: { ino: node.ino },
      });
    if (content.references > 1) {
      handle.join(block);
      setReferences(block.bytes, content.references - 1);
      return;
    }
    handle.put(block);
    handle.revoke(attributeBlock);
    yield* this.parts.blocks.free(handle, attributeBlock, 1);
  }
}
