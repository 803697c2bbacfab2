/**
 * At shutdown servers stop before filesystems are unmounted, since they may serve them. A filesystem that itself needs a server of this kernel goes
 * before that server: as soon as nothing that is still there needs it.
 */
import { KernelError } from '../base/errno.js';
import type { WriteoutGraph } from '../mm/writeout-graph.js';
import type { Superblock } from '../vfs/superblock.js';
import type { Vfs } from '../vfs/vfs.js';

/** Unmounts what needs a server, and is needed by none and by no pin. @returns what went wrong; what is in use is left for later. */
export async function unmountOverServers(vfs: Vfs, graph: WriteoutGraph): Promise<string[]> {
  const isOver = ({ node }: Superblock): boolean => {
    if (node === null || !graph.has(node)) return false;
    const servers = graph.nodes.filter(({ kind }) => kind === 'server');
    return servers.some((server) => graph.reaches(node, server)) && !servers.some((server) => graph.reaches(server, node));
  };
  const problems: string[] = [];
  for (const superblock of vfs.mounts.superblocks().reverse()) {
    if (!isOver(superblock) || superblock.nrPins > 0) continue;
    for (const file of [...vfs.openFiles]) if (file.inode.superblock === superblock) file.release();
    try {
      await vfs.mounts.unmountSuperblock(superblock);
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'EBUSY')) problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  return problems;
}
