/** Passes 3 and 4: every directory hangs on the root, by the parent its `..` names; every inode has as many links as entries name it. */
import { FileType, ReservedInode } from '../format/inode.js';
import { viewOf } from '../format/bytes.js';
import type { BlockMapReader } from './block-map-reader.js';
import type { Findings } from './findings.js';
import { BlockBuffer, type Ext3Image } from './image.js';
import { type CheckTables, NO_TYPE } from './tables.js';

const DIRECTORY_TYPE = FileType.DIRECTORY / 0x1000;
/** Where the inode of `..` stands in the first block of a directory. */
const DOTDOT_INODE_AT = 12;

export async function checkConnections(image: Ext3Image, tables: CheckTables, findings: Findings, map: BlockMapReader): Promise<void> {
  const { inodesCount } = image.superblock;
  const buffer = new BlockBuffer(image.geometry.blockSize);
  if (tables.typeOf(ReservedInode.ROOT) !== DIRECTORY_TYPE) findings.add(3, 'the root is no directory');
  for (let inode = 1; inode <= inodesCount; inode++) {
    if (tables.typeOf(inode) !== DIRECTORY_TYPE) continue;
    const parent = inode === ReservedInode.ROOT ? ReservedInode.ROOT : tables.parentOf(inode);
    if (parent === 0) {
      findings.add(3, `directory ${inode} is in no directory`);
      continue;
    }
    if (!reachesRoot(tables, inode, inodesCount)) findings.add(3, `directory ${inode} hangs on itself`);
    const block = await map.find(await image.inode(inode), 0);
    if (block === 0) continue;
    await image.readBlock(block, buffer);
    const dotdot = viewOf(buffer.bytes).getUint32(DOTDOT_INODE_AT, true);
    if (dotdot !== parent) findings.add(3, `directory ${inode}: its .. is inode ${dotdot}, and it is in ${parent}`);
  }
}

/** Climbs twice as fast and once: in a ring the two meet. */
function reachesRoot(tables: CheckTables, inode: number, inodesMax: number): boolean {
  const up = (at: number): number => (at === ReservedInode.ROOT || at === 0 || at > inodesMax ? 0 : tables.parentOf(at));
  for (let slow = inode, fast = up(inode); fast !== 0; slow = up(slow), fast = up(up(fast))) if (slow === fast) return false;
  return true;
}

export async function checkLinks(image: Ext3Image, tables: CheckTables, findings: Findings): Promise<void> {
  const { inodesCount } = image.superblock;
  for (let number = 1; number <= inodesCount; number++) {
    const type = tables.typeOf(number);
    if (type === 0 || type === NO_TYPE) continue;
    if (number < image.superblock.firstInode && number !== ReservedInode.ROOT) continue;
    const { linksCount } = await image.inode(number);
    const found = tables.linksOf(number);
    if (found === 0) findings.add(4, `inode ${number} has no name`);
    if (linksCount !== found) findings.add(4, `inode ${number} counts ${linksCount} links, and ${found} entries name it`);
  }
}
