/**
 * Stacks: what a writeout goes through, set up in one kernel. The demo runs on one; `reserves` and `graph` show one.
 *
 *     nbd     swap area → nbd client → unix socket → nbd server → temporary file
 *     DEVICE  the device alone
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type BlockDevice, formatSize, type Kernel, KernelError, PAGE_SIZE } from '@tidemark/core';
import { NbdServer } from '@tidemark/nbd';
import { attempt } from './host-error.js';
import { onWayOut } from './outcome.js';

/** Stacks that have a name. */
export const STACKS = ['nbd'] as const;

/** Slots beyond the working set: readahead and clusters need not fit to the page. */
const SLACK_PAGES = 256;
const EXPORT_NAME = 'demo';

/** Longest path of a unix socket: `sun_path` less its end. */
const SOCKET_PATH_BYTES_MAX = process.platform === 'linux' ? 107 : 103;

/**
 * Starts a server on a file in `folder`, opens it as a client, and swaps on it. All of it ends with the kernel.
 * @throws KernelError EFBIG or what the host says about a store of that size, EINVAL for a folder whose path is too long for a socket.
 */
export async function startNbdStack(kernel: Kernel, folder: string, swapBytes: number): Promise<BlockDevice> {
  const store = path.join(folder, 'swap');
  const socket = path.join(folder, 'nbd.sock');
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    throw new KernelError(
      'EINVAL',
      `cannot make the unix socket ${socket}: its path is longer than ${SOCKET_PATH_BYTES_MAX} bytes; set TMPDIR to a shorter one`,
    );
  }
  const storeBytes = (Math.ceil(swapBytes / PAGE_SIZE) + 1 + SLACK_PAGES) * PAGE_SIZE;
  const doing = `make the swap file ${store} of ${formatSize(storeBytes)} (TMPDIR says where)`;
  if (!Number.isSafeInteger(storeBytes)) throw new KernelError('EFBIG', `cannot ${doing}: no file is that large`);
  attempt(doing, () => {
    fs.writeFileSync(store, '');
    fs.truncateSync(store, storeBytes);
  });
  const file = await kernel.openBlockDevice(store);
  const server = await NbdServer.listen(kernel, { address: `unix:${socket}`, exports: { [EXPORT_NAME]: file } });
  const device = await kernel.openBlockDevice(server.uriOf(EXPORT_NAME));
  await kernel.swapOn(device, { format: true });
  return device;
}

/**
 * Runs `work` with a temporary folder that is gone afterwards, also when a signal or a stream that failed ends the process.
 * @throws KernelError if the host makes none.
 */
export async function withTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const parent = os.tmpdir();
  const folder = attempt(`make a temporary folder in ${parent} (set TMPDIR to another)`, () =>
    fs.mkdtempSync(path.join(parent, 'tidemark-demo-')),
  );
  const remove = (): void => fs.rmSync(folder, { recursive: true, force: true });
  const disarm = onWayOut(remove);
  try {
    return await work(folder);
  } finally {
    disarm();
    remove();
  }
}
