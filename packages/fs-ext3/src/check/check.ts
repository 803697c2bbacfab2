/**
 * Checks an image without changing it, as `e2fsck -n` does: every inode and its blocks, every directory, connections, links, bitmaps.
 *
 * Not checked: bad blocks, quotas, two entries of one name, the text of the journal's transactions, backups of the superblock.
 */
import { Compat, Incompat } from '../format/features.js';
import { FileType } from '../format/inode.js';
import { getJournalSuperblock, JOURNAL_SUPERBLOCK_BYTES } from '../format/journal.js';
import { FsState } from '../format/superblock.js';
import { isKernelError } from '@tidemark/core';
import { BlockMapReader } from './block-map-reader.js';
import { checkCounts } from './check-counts.js';
import { DirectoryChecker } from './check-directories.js';
import { InodeChecker } from './check-inodes.js';
import { checkConnections, checkLinks } from './check-links.js';
import { type Finding, Findings } from './findings.js';
import { BlockBuffer, Ext3Image, type ImageSource } from './image.js';
import { type AllocateWords, CheckTables } from './tables.js';

/** What a check came to. */
export interface CheckReport {
  readonly isClean: boolean;
  /** The journal holds transactions that are not home: the image was checked as if they had been lost. */
  readonly needsRecovery: boolean;
  readonly nrFindings: number;
  /** The first thousand. */
  readonly findings: readonly Finding[];
  readonly nrInodes: number;
  readonly nrFreeInodes: number;
  readonly nrBlocks: number;
  readonly nrFreeBlocks: number;
}

/**
 * Checks an image.
 * @throws KernelError EINVAL, EOPNOTSUPP or EUCLEAN for what cannot be checked at all: no ext3, or a superblock that makes no sense; ENOMEM;
 * what the source rejects with.
 */
export async function checkExt3(source: ImageSource, allocate: AllocateWords): Promise<CheckReport> {
  const image = await Ext3Image.open(source);
  const { superblock } = image;
  const findings = new Findings();
  const needsRecovery = (superblock.featureIncompat & Incompat.RECOVER) !== 0;
  if ((superblock.state & FsState.VALID) === 0 && !needsRecovery) findings.add(0, 'it was not unmounted cleanly');
  if ((superblock.state & FsState.ERROR) !== 0) findings.add(0, 'errors were seen when it was in use');
  if (superblock.lastOrphan !== 0 && !needsRecovery) findings.add(0, `inode ${superblock.lastOrphan} waits to be deleted`);
  const tables = new CheckTables(image.geometry, allocate);
  const map = new BlockMapReader(image);
  await guard(findings, async () => {
    await checkJournal(image, map);
    await new InodeChecker(image, tables, findings).run();
    await new DirectoryChecker(image, tables, findings, map).run();
    await checkConnections(image, tables, findings, map);
    await checkLinks(image, tables, findings);
    await checkCounts(image, tables, findings);
  });
  return {
    isClean: findings.count === 0,
    needsRecovery,
    nrFindings: findings.count,
    findings: findings.kept,
    nrInodes: superblock.inodesCount,
    nrFreeInodes: superblock.freeInodesCount,
    nrBlocks: superblock.blocksCount,
    nrFreeBlocks: superblock.freeBlocksCount,
  };
}

/** Damage to what everything else is found by ends the check. */
async function guard(findings: Findings, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isKernelError(error) || (error.code !== 'EUCLEAN' && error.code !== 'EOPNOTSUPP')) throw error;
    findings.add(0, error.message);
  }
}

async function checkJournal(image: Ext3Image, map: BlockMapReader): Promise<void> {
  const { superblock, geometry } = image;
  if ((superblock.featureCompat & Compat.HAS_JOURNAL) === 0) return;
  const inode = await image.inode(superblock.journalInode);
  const block = (inode.mode & FileType.MASK) === FileType.REGULAR ? await map.find(inode, 0) : 0;
  const buffer = new BlockBuffer(geometry.blockSize);
  if (block !== 0) await image.readBlock(block, buffer);
  getJournalSuperblock(
    image.name,
    buffer.bytes.subarray(0, JOURNAL_SUPERBLOCK_BYTES),
    geometry.blockSize,
    Math.floor(inode.size / geometry.blockSize),
  );
}
