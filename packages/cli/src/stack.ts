/**
 * Stacks: what a writeout goes through, set up in one kernel. The demo runs on one; `reserves` and `graph` show one.
 *
 *     nbd     swap area → nbd client → unix socket → nbd server → temporary file
 *     DEVICE  the device alone
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type BlockDevice, type Kernel, PAGE_SIZE } from '@tidemark/core';
import { NbdServer } from '@tidemark/nbd';
import { endOnSignal } from './outcome.js';

/** Stacks that have a name. */
export const STACKS = ['nbd'] as const;

/** Slots beyond the working set: readahead and clusters need not fit to the page. */
const SLACK_PAGES = 256;
const EXPORT_NAME = 'demo';

/** Starts a server on a file in `folder`, opens it as a client, and swaps on it. All of it ends with the kernel. */
export async function startNbdStack(kernel: Kernel, folder: string, swapBytes: number): Promise<BlockDevice> {
  const store = path.join(folder, 'swap');
  fs.writeFileSync(store, '');
  fs.truncateSync(store, (Math.ceil(swapBytes / PAGE_SIZE) + 1 + SLACK_PAGES) * PAGE_SIZE);
  const file = await kernel.openBlockDevice(store);
  const server = await NbdServer.listen(kernel, { address: `unix:${path.join(folder, 'nbd.sock')}`, exports: { [EXPORT_NAME]: file } });
  const device = await kernel.openBlockDevice(server.uriOf(EXPORT_NAME));
  await kernel.swapOn(device, { format: true });
  return device;
}

/** Runs `work` with a temporary folder that is gone afterwards, also when a signal ends the process; `onSignal` runs before that. */
export async function withTemporaryFolder<T>(onSignal: () => void, work: (folder: string) => Promise<T>): Promise<T> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-demo-'));
  const remove = (): void => fs.rmSync(folder, { recursive: true, force: true });
  const disarm = endOnSignal(() => {
    onSignal();
    remove();
  });
  try {
    return await work(folder);
  } finally {
    disarm();
    remove();
  }
}
