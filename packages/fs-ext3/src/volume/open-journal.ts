/**
 * The journal at mount: where its blocks are, what its superblock says, and, if the filesystem was not unmounted, the transactions that are
 * not at home.
 */
import { KernelError, run, type Steps, type TaskContext } from '@tidemark/core';
import type { GroupTable } from '../alloc/group-table.js';
import { Incompat } from '../format/features.js';
import { FileType } from '../format/inode.js';
import { getJournalSuperblock, JOURNAL_SUPERBLOCK_BYTES, type JournalSuperblock } from '../format/journal.js';
import type { Superblock } from '../format/superblock.js';
import { BlockFinder } from '../inode/block-finder.js';
import { InodeTable } from '../inode/inode-table.js';
import { Node } from '../inode/node.js';
import type { DeviceStore } from '../journal/device-store.js';
import { LogMap } from '../journal/log-map.js';
import { emptyLog, type JournalFile, recover } from '../journal/recovery.js';
import { looking } from '../metadata/block-reader.js';
import type { MetadataCache } from '../metadata/metadata-cache.js';

/** A journal whose log is empty. */
export interface OpenedJournal {
  readonly map: LogMap;
  readonly superblock: JournalSuperblock;
  readonly nextTransaction: number;
  /** Blocks were brought home: what was read before is out of date. */
  readonly hasRecovered: boolean;
}

/** Reads where the log is. @throws KernelError EUCLEAN for a journal that is no file, or has holes. */
function* mapOf(task: TaskContext, cache: MetadataCache, groups: GroupTable, superblock: Superblock): Steps<LogMap> {
  const { journalInode, inodesCount } = superblock;
  const table = new InodeTable(groups, inodesCount);
  const finder = new BlockFinder(groups);
  const map = new LogMap();
  const node = new Node();
  node.ino = journalInode;
  node.raw = yield* looking(task, cache, (look) => table.read(look, journalInode));
  const nrBlocks = Math.floor(node.raw.size / cache.blockSize);
  if ((node.raw.mode & FileType.MASK) !== FileType.REGULAR || node.raw.linksCount === 0 || nrBlocks > groups.geometry.nrBlocks)
    throw new KernelError('EUCLEAN', `${table.nameOf(journalInode)} is to be the journal, and is no file that could be`, {
      details: { ino: journalInode },
    });
  while (map.nrBlocks < nrBlocks) {
    yield* looking(task, cache, function* (look) {
      for (let i = 0; i < 64 && map.nrBlocks < nrBlocks; i++) {
        const block = yield* finder.find(look, node, map.nrBlocks);
        if (block === 0) throw new KernelError('EUCLEAN', `the journal of ${groups.name} has a hole at its block ${map.nrBlocks}`);
        map.push(block);
      }
    });
  }
  return map;
}

/**
 * Opens the journal and brings home what is in it.
 * @param mayWrite the device can be written.
 * @throws KernelError EROFS if there is something to bring home and the device cannot be written; EUCLEAN, EOPNOTSUPP, EIO.
 */
export async function openJournal(
  task: TaskContext,
  cache: MetadataCache,
  groups: GroupTable,
  superblock: Superblock,
  store: DeviceStore,
  mayWrite: boolean,
): Promise<OpenedJournal> {
  const map = await run(mapOf(task, cache, groups, superblock));
  const bytes = new Uint8Array(cache.blockSize);
  await store.read(map.blockOf(0), bytes);
  const journal: JournalFile = {
    name: `the journal of ${groups.name}`,
    superblock: getJournalSuperblock(groups.name, bytes.subarray(0, JOURNAL_SUPERBLOCK_BYTES), cache.blockSize, map.nrBlocks),
    blockOf: async (logBlock) => map.blockOf(logBlock),
  };
  const { start, sequence, maxlen } = journal.superblock;
  const needsRecovery = (superblock.featureIncompat & Incompat.RECOVER) !== 0;
  if (!mayWrite && needsRecovery && start !== 0)
    throw new KernelError('EROFS', `${groups.name} was not unmounted: its journal must be replayed first, and the device is read-only`);
  if (!mayWrite || start === 0 || needsRecovery) {
    const { nextTransaction } = mayWrite ? await recover(store, journal) : { nextTransaction: sequence };
    return { map, superblock: journal.superblock, nextTransaction, hasRecovered: needsRecovery && start !== 0 };
  }
  // What the log holds is older than the filesystem, which was unmounted by someone who did not know of it. No number in it comes again.
  const nextTransaction = (sequence + maxlen) >>> 0;
  await emptyLog(store, journal, nextTransaction);
  return { map, superblock: journal.superblock, nextTransaction, hasRecovered: false };
}
