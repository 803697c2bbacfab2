/** Where an inode keeps attributes of its own. */
import { attributeSpace, type RawInode } from '../format/inode.js';
import type { Ext3Image } from './image.js';

/** The spare bytes of an inode, or null if it has none. */
export async function attributeSpaceOf(image: Ext3Image, number: number, inode: RawInode): Promise<Uint8Array | null> {
  return attributeSpace(image.geometry.inodeSize, inode.extraBytes) === 0 ? null : image.inodeSpace(number, inode.extraBytes);
}
