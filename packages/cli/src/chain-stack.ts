/**
 * The stacks `nfs` and `full`: swap in a file on an NFS mount, whose server is in the same kernel and exports an ext3.
 *
 *     full    swap area → /mnt/swapfile → nfs client → TCP on loopback → nfs server → ext3 → nbd client → TCP on loopback → nbd server → temporary file
 *     nfs     the same without NBD: the ext3 is on the temporary file
 *
 * The swap file is pinned on both sides of the mount, and its blocks are those of the ext3. What else is written to the mount goes the long way: page
 * cache of the client, WRITE and COMMIT, page cache of the server, journal.
 */
import path from 'node:path';
import {
  type BlockDevice,
  describeRawDevice,
  deviceIoFrames,
  type Kernel,
  type NodeDescription,
  PAGE_SIZE,
  planSizes,
} from '@tidemark/core';
import { describeExt3, ext3PinFrames } from '@tidemark/fs-ext3';
import { describeNfsClient, describeNfsServer, NfsServer } from '@tidemark/fs-nfs';
import { describeNbdClient, describeNbdServer, NbdServer } from '@tidemark/nbd';
import { describeSwapArea } from '@tidemark/swap';
import { BLOCK_BYTES, diskBytes, JOURNAL_BLOCKS, makeDisk } from './ext3-stack.js';

const EXPORT_NAME = 'disk';
const FOLDERS = ['/export', '/mnt'];
/** Connections of a client of this kernel that its server keeps memory for. */
const CLIENT_CONNECTIONS = 3;

/** Room beside the swap file for an ordinary file of half its size. */
function spareBytes(nrSlots: number): number {
  return (nrSlots * PAGE_SIZE) / 2 + 2 ** 20;
}

/** What stands, as far as the demo uses it. */
export interface Chain {
  /** The mount, and where its server listens. */
  readonly mount: string;
  readonly port: number;
  /** The file of the host with the ext3 in it. */
  readonly image: string;
}

/**
 * Sets it up, with a swap file of `nrSlots` pages. All of it ends with the kernel. @param isFull with NBD below.
 * @throws KernelError for what does not fit.
 */
export async function startChainStack(kernel: Kernel, folder: string, nrSlots: number, isFull: boolean): Promise<Chain> {
  const image = path.join(folder, 'disk');
  await makeDisk(image, { nrSlots, swapFile: '/export/swapfile', folders: FOLDERS, spareBytes: spareBytes(nrSlots) });
  const file = await kernel.openBlockDevice(image);
  const device = isFull ? await overNbd(kernel, file) : file;
  await kernel.mount('ext3:disk', '/', { device });
  const exports = { '/export': { tree: '/export', squash: 'none' as const } };
  const server = await NfsServer.listen(kernel, { address: '127.0.0.1:0', exports });
  const { address } = server;
  const port = address.kind === 'tcp' ? address.port : 0;
  await kernel.mount(`nfs://127.0.0.1/export?nfsport=${port}&mountport=${port}`, '/mnt');
  await kernel.swapOn('/mnt/swapfile');
  return { mount: '/mnt', port, image };
}

async function overNbd(kernel: Kernel, file: BlockDevice): Promise<BlockDevice> {
  const server = await NbdServer.listen(kernel, { address: '127.0.0.1:0', exports: { [EXPORT_NAME]: file } });
  return kernel.openBlockDevice(server.uriOf(EXPORT_NAME));
}

/** The same nodes, for a dry run. */
export function describeChainStack(nrSlots: number, isFull: boolean): NodeDescription[] {
  const file = describeRawDevice('file:disk');
  const pinFrames = (nrFrames: number, nrUnits: number): number =>
    ext3PinFrames(nrSlots, BLOCK_BYTES, nrUnits, isFull ? planSizes(nrFrames).payloadBytes : Number.MAX_SAFE_INTEGER);
  const below: NodeDescription[] = [file];
  if (isFull) {
    const server = describeNbdServer('127.0.0.1:0', [file.name], 2, () => deviceIoFrames(1, Number.MAX_SAFE_INTEGER));
    below.unshift(describeNbdClient(`nbd://127.0.0.1:0/${EXPORT_NAME}`, server.name), server);
  }
  const volume = describeExt3({
    device: below[0].name,
    sizeBytes: diskBytes(nrSlots, spareBytes(nrSlots)),
    blockSize: BLOCK_BYTES,
    journalBlocks: JOURNAL_BLOCKS,
  });
  const server = describeNfsServer('127.0.0.1:1', [volume[0].name], CLIENT_CONNECTIONS, (nrFrames) =>
    pinFrames(nrFrames, planSizes(nrFrames).clientUnits),
  );
  const client = describeNfsClient('nfs://127.0.0.1/export', [server[0].name]);
  const area = describeSwapArea({ device: client[2].name, name: '/mnt/swapfile', nrSlots, pinFrames: () => 0 });
  return [area, ...client, ...server, ...volume, ...below];
}
