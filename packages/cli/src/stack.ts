/**
 * Stacks: what a writeout goes through, set up in one kernel. The demo runs on one; `reserves` and `graph` show one.
 *
 *     nbd           swap area → nbd client → TCP on loopback → nbd server → temporary file
 *     ext3          swap area → a file of ext3 → nbd client → … (ext3-stack.ts)
 *     nfs, full     swap area → a file on an NFS mount → server of the same kernel → ext3 → … (chain-stack.ts)
 *     swap:DEVICE   swap area → the device
 *     DEVICE        the device alone
 *
 * What they would take, with nothing started, is in stack-description.ts.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type BlockDevice, formatSize, type Kernel, KernelError, MAX_SLOTS, PAGE_SIZE } from '@tidemark/core';
import { NbdServer } from '@tidemark/nbd';
import { type Chain, startChainStack } from './chain-stack.js';
import { startExt3Stack } from './ext3-stack.js';
import { attempt } from './host-error.js';
import { onWayOut } from './outcome.js';

/** Stacks that have a name. */
export const STACKS = ['nbd', 'ext3', 'nfs', 'full'] as const;
export type StackName = (typeof STACKS)[number];

/**
 * Sets up a stack that has a name, for a working set of so many bytes; all of it ends with the kernel.
 * @returns the mount of a stack that has one to write to.
 * @throws KernelError for what does not fit.
 */
export async function startStack(kernel: Kernel, stack: StackName, folder: string, workingSetBytes: number): Promise<Chain | null> {
  if (stack === 'nfs' || stack === 'full') return startChainStack(kernel, folder, swapFilePages(workingSetBytes), stack === 'full');
  if (stack === 'nbd') await startNbdStack(kernel, folder, workingSetBytes);
  else await startExt3Stack(kernel, folder, swapFilePages(workingSetBytes));
  return null;
}

export function isStackName(word: string): word is StackName {
  return (STACKS as readonly string[]).includes(word);
}

/** Slots beyond the working set: readahead and clusters need not fit to the page. */
const SLACK_PAGES = 256;
const EXPORT_NAME = 'demo';

/** Pages of the swap file that holds a working set, the header's included. @throws KernelError EFBIG for more than a swap area has. */
export function swapFilePages(workingSetBytes: number): number {
  const nrPages = Math.ceil(workingSetBytes / PAGE_SIZE) + 1 + SLACK_PAGES;
  if (nrPages <= MAX_SLOTS) return nrPages;
  throw new KernelError(
    'EFBIG',
    `a working set of ${formatSize(workingSetBytes)} is more than a swap area holds: ${formatSize(MAX_SLOTS * PAGE_SIZE)}`,
  );
}

/** The device of `swap:DEVICE`, or null for a stack that is none. */
export function swapDeviceOf(stack: string): string | null {
  return /^swap:(.+)$/s.exec(stack)?.[1] ?? null;
}

/**
 * Starts a server on a file in `folder`, opens it as a client, and swaps on it. All of it ends with the kernel. Over TCP: there the server
 * recognises the client of its own kernel, and keeps units for it (M16).
 * @throws KernelError EFBIG for more than a swap area holds, what the host says about a store of that size.
 */
export async function startNbdStack(kernel: Kernel, folder: string, swapBytes: number): Promise<BlockDevice> {
  const store = path.join(folder, 'swap');
  const storeBytes = swapFilePages(swapBytes) * PAGE_SIZE;
  attempt(`make the swap file ${store} of ${formatSize(storeBytes)} (TMPDIR says where)`, () => {
    fs.writeFileSync(store, '');
    fs.truncateSync(store, storeBytes);
  });
  const file = await kernel.openBlockDevice(store);
  const server = await NbdServer.listen(kernel, { address: '127.0.0.1:0', exports: { [EXPORT_NAME]: file } });
  const device = await kernel.openBlockDevice(server.uriOf(EXPORT_NAME));
  await kernel.swapOn(device, { format: true });
  return device;
}

/**
 * Sets a stack up by its word, runs `work` on it, and shuts the kernel down. What has no swap header yet (a RAM disk) gets one; what has
 * one keeps it.
 * @throws KernelError for what cannot be opened or does not fit.
 */
export async function withStack(kernel: Kernel, stack: string, workingSetBytes: number, work: () => void): Promise<void> {
  const run = async (open: () => Promise<unknown>): Promise<void> => {
    try {
      await open();
      work();
    } finally {
      await kernel.shutdown();
    }
  };
  if (isStackName(stack)) return withTemporaryFolder((folder) => run(() => startStack(kernel, stack, folder, workingSetBytes)));
  const device = swapDeviceOf(stack);
  if (device === null) return run(() => kernel.openBlockDevice(stack, { readOnly: true }));
  return run(async () => kernel.swapOn(await kernel.openBlockDevice(device), { format: /^mem:/i.test(device) }));
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
