/**
 * The stack `ext3`: swap in a file of an ext3 that lies on an NBD device, whose server is in the same kernel and stores it in a temporary file.
 *
 *     swap area → /swapfile, pinned → ext3 → nbd client → TCP on loopback → nbd server → temporary file
 */
import fs from 'node:fs';
import path from 'node:path';
import {
  AllocateMode,
  describeRawDevice,
  deviceIoFrames,
  errorFrom,
  formatSize,
  Kernel,
  type NodeDescription,
  OpenFlag,
  PAGE_SIZE,
  planSizes,
  run,
} from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { describeExt3, ext3, ext3PinFrames, mkfs, planMkfs } from '@tidemark/fs-ext3';
import { describeNbdClient, describeNbdServer, NbdServer } from '@tidemark/nbd';
import { describeSwapArea, formatSwap, swap } from '@tidemark/swap';
import { DeviceBytes } from './files/device-bytes.js';
import { attempt } from './host-error.js';

export const BLOCK_BYTES = 4096;
export const JOURNAL_BLOCKS = 1024;
const EXPORT_NAME = 'disk';
const SWAP_FILE = '/swapfile';
const MAKER_MEMORY = '8MiB';
const MIB = 2 ** 20;

/** Bytes of a filesystem that has room for a swap file and `spareBytes` of others: their maps, bitmaps, inode tables and journal come on top. */
export function diskBytes(nrSlots: number, spareBytes = 0): number {
  return Math.ceil(((nrSlots * PAGE_SIZE + spareBytes) * 1.04) / MIB + 16) * MIB;
}

/** What is to be on a disk. */
export interface DiskLayout {
  readonly nrSlots: number;
  readonly swapFile: string;
  readonly folders: readonly string[];
  readonly spareBytes: number;
}

/**
 * Sets it up, with a swap file of `nrSlots` pages. All of it ends with the kernel. The disk is made beforehand, by a kernel of its own: that takes
 * memory which swapping on it does not.
 * @throws KernelError for what does not fit.
 */
export async function startExt3Stack(kernel: Kernel, folder: string, nrSlots: number): Promise<void> {
  const store = path.join(folder, 'disk');
  await makeDisk(store, { nrSlots, swapFile: SWAP_FILE, folders: [], spareBytes: 0 });
  const file = await kernel.openBlockDevice(store);
  const server = await NbdServer.listen(kernel, { address: '127.0.0.1:0', exports: { [EXPORT_NAME]: file } });
  const device = await kernel.openBlockDevice(server.uriOf(EXPORT_NAME));
  await kernel.mount('ext3:disk', '/', { device });
  await kernel.swapOn(SWAP_FILE);
}

/** Makes an image with folders and a swap file in it. @throws KernelError for what does not fit. */
export async function makeDisk(store: string, { nrSlots, swapFile, folders, spareBytes }: DiskLayout): Promise<void> {
  const sizeBytes = diskBytes(nrSlots, spareBytes);
  attempt(`make the disk ${store} of ${formatSize(sizeBytes)} (TMPDIR says where)`, () => {
    fs.writeFileSync(store, '');
    fs.truncateSync(store, sizeBytes);
  });
  const kernel = await Kernel.boot({ memory: MAKER_MEMORY, plugins: [host, swap, ext3], name: 'maker of the disk' });
  try {
    const device = await kernel.openBlockDevice(store);
    await DeviceBytes.with(kernel, device, async (bytes) => {
      const drawn = new Uint8Array(32);
      kernel.random.fill(drawn);
      const options = {
        blockSize: BLOCK_BYTES,
        journalSize: JOURNAL_BLOCKS * BLOCK_BYTES,
        bytesPerInode: 65_536,
        reservedPercent: 0,
        nowSeconds: Math.floor((kernel.clock.wallMs?.() ?? 0) / 1000),
        uuid: drawn.subarray(0, 16),
        hashSeed: drawn.subarray(16),
      };
      await mkfs(bytes, planMkfs(device.name, bytes.sizeBytes, options));
    });
    await kernel.mount('ext3:disk', '/', { device });
    for (const folder of folders) await kernel.fs.promises.mkdir(folder);
    await makeFile(kernel, swapFile, nrSlots * PAGE_SIZE);
    await kernel.unmount('/');
  } finally {
    await kernel.shutdown();
  }
}

/** A file without holes. */
async function makeFile(kernel: Kernel, name: string, sizeBytes: number): Promise<void> {
  const { vfs, task } = kernel;
  const file = await run(vfs.open(vfs.caller(), name, OpenFlag.READ_WRITE | OpenFlag.CREATE, 0o600));
  if (typeof file === 'number') throw errorFrom(file, `make ${name}`);
  try {
    let status = await run(vfs.data.allocate(vfs.caller(), file, AllocateMode.RESERVE, 0, sizeBytes));
    if (status === 0) status = await run(vfs.data.sync(task, file, false));
    if (status === 0) await formatSwap(kernel, file);
    if (status < 0) throw errorFrom(status, `make ${name} of ${formatSize(sizeBytes)}`);
  } finally {
    file.release();
  }
}

/** The same nodes, for a dry run. */
export function describeExt3Stack(nrSlots: number): NodeDescription[] {
  const file = 'file:disk';
  const server = describeNbdServer('127.0.0.1:0', [file], 2, () => deviceIoFrames(1, Number.MAX_SAFE_INTEGER));
  const client = describeNbdClient('nbd://127.0.0.1:0/disk', server.name);
  const volume = describeExt3({
    device: client.name,
    sizeBytes: diskBytes(nrSlots),
    blockSize: BLOCK_BYTES,
    journalBlocks: JOURNAL_BLOCKS,
  });
  const area = describeSwapArea({
    device: volume[1].name,
    name: SWAP_FILE,
    nrSlots,
    pinFrames: (nrFrames, nrUnits) => ext3PinFrames(nrSlots, BLOCK_BYTES, nrUnits, planSizes(nrFrames).payloadBytes),
  });
  return [area, ...volume, client, server, describeRawDevice(file)];
}
