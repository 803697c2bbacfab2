/** Pass 5: bitmaps against what is in use, and the counts of groups and superblock against the bitmaps. */
import { groupBlocks, groupStart } from '../format/geometry.js';
import { FileType } from '../format/inode.js';
import type { Findings } from './findings.js';
import { BlockBuffer, type Ext3Image } from './image.js';
import type { CheckTables } from './tables.js';

const DIRECTORY_TYPE = FileType.DIRECTORY / 0x1000;

export async function checkCounts(image: Ext3Image, tables: CheckTables, findings: Findings): Promise<void> {
  const { geometry, superblock } = image;
  const bitmap = new BlockBuffer(geometry.blockSize);
  const isSet = (bit: number): boolean => ((bitmap.bytes[bit >>> 3] >>> (bit & 7)) & 1) !== 0;
  const nrBits = 8 * geometry.blockSize;
  let freeBlocks = 0;
  let freeInodes = 0;
  /** Compares one bitmap. @returns bits that should be clear, of the first `count`. */
  const compare = (what: string, group: number, count: number, isUsed: (bit: number) => boolean): number => {
    let nrWrong = 0;
    let firstWrong = -1;
    let nrFree = 0;
    for (let bit = 0; bit < nrBits; bit++) {
      const isWanted = bit >= count || isUsed(bit);
      if (!isWanted) nrFree++;
      if (isWanted === isSet(bit)) continue;
      nrWrong++;
      if (firstWrong < 0) firstWrong = bit;
    }
    if (nrWrong > 0) findings.add(5, `group ${group}: its ${what} bitmap is wrong in ${nrWrong} bits, the first of them ${firstWrong}`);
    return nrFree;
  };
  for (let group = 0; group < geometry.nrGroups; group++) {
    const { blockBitmap, inodeBitmap } = await image.descriptor(group);
    const counts = image.rawCounts(group);
    const start = groupStart(geometry, group);
    await image.readBlock(blockBitmap, bitmap);
    const nrFreeBlocks = compare('block', group, groupBlocks(geometry, group), (bit) => tables.isUsed(start + bit));
    await image.readBlock(inodeBitmap, bitmap);
    const firstInode = group * geometry.inodesPerGroup + 1;
    let usedDirs = 0;
    const nrFreeInodes = compare('inode', group, geometry.inodesPerGroup, (bit) => {
      const type = tables.typeOf(firstInode + bit);
      if (type === DIRECTORY_TYPE) usedDirs++;
      return type !== 0;
    });
    const tell = (what: string, said: number, found: number): void => {
      if (said !== found) findings.add(5, `group ${group} counts ${said} ${what}, and there are ${found}`);
    };
    tell('free blocks', counts.freeBlocks, nrFreeBlocks);
    tell('free inodes', counts.freeInodes, nrFreeInodes);
    tell('directories', counts.usedDirs, usedDirs);
    freeBlocks += nrFreeBlocks;
    freeInodes += nrFreeInodes;
  }
  if (superblock.freeBlocksCount !== freeBlocks)
    findings.add(5, `the superblock counts ${superblock.freeBlocksCount} free blocks, and there are ${freeBlocks}`);
  if (superblock.freeInodesCount !== freeInodes)
    findings.add(5, `the superblock counts ${superblock.freeInodesCount} free inodes, and there are ${freeInodes}`);
}
