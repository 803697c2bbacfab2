/**
 * Finishes, at mount, what a crash interrupted: inodes without a name are deleted, those that were being cut are cut. Where errors were seen,
 * nothing is trusted so far: the list stays as it is, for a check to deal with.
 */
import { errorFrom, run, settle, type TaskContext } from '@tidemark/core';
import { FsState } from '../format/superblock.js';
import { deleteNode, truncate } from '../inode/truncate.js';
import type { Node } from '../inode/node.js';
import { looking } from '../metadata/block-reader.js';
import { allocObject } from './heap.js';
import { type Parts, wallMs } from './parts.js';

/** @throws KernelError EIO, ENOMEM. A list that makes no sense is given up, and the filesystem has errors. */
export async function processOrphans(parts: Parts, task: TaskContext): Promise<void> {
  const { superblock, orphans, journal, clock, nodes, credits } = parts;
  if (superblock.fields.lastOrphan === 0 || (superblock.fields.state & FsState.ERROR) !== 0) return;
  const list = await collect(parts, task);
  if (list === null) {
    superblock.fields.state |= FsState.ERROR;
    const given = await run(
      journal.do(task, credits.inode, (handle) => {
        superblock.change(handle, { lastOrphan: 0 });
        return settle(0);
      }),
    );
    if (given < 0) throw errorFrom(given, `give up the orphans of ${parts.name}`);
    return;
  }
  for (const node of list) orphans.found(node);
  for (const node of list) {
    const steps = node.raw.linksCount === 0 ? deleteNode(parts, task, node, wallMs(clock)) : truncate(parts, task, node);
    const status = await run(steps);
    if (status < 0) throw errorFrom(status, `finish inode ${node.ino} of ${parts.name}`);
    nodes.free(node);
  }
}

/** The list as it is on disk, the newest first; null if it makes no sense. */
async function collect(parts: Parts, task: TaskContext): Promise<Node[] | null> {
  const { superblock, table, cache, memory, nodes, geometry } = parts;
  const { firstInode, inodesCount, lastOrphan } = superblock.fields;
  const list: Node[] = [];
  const seen = new Set<number>();
  for (let ino = lastOrphan; ino !== 0; ) {
    if (ino < firstInode || ino > inodesCount || seen.has(ino)) {
      for (const node of list) nodes.free(node);
      return null;
    }
    seen.add(ino);
    const node = await run(allocObject(task, memory, nodes));
    if (typeof node === 'number') throw errorFrom(node, `read the orphans of ${parts.name}`);
    node.ino = ino;
    node.raw = await run(looking(task, cache, (look) => table.read(look, ino)));
    list.push(node);
    ino = node.raw.dtime;
    if (node.raw.linksCount > 0 && !node.hasBlocks(geometry.blockSize)) ino = -1; // nothing of it can be cut
  }
  return list;
}
