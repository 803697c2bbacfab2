/**
 * The stacks of stack.ts as the dry run sees them: the same nodes, described by the packages they come from. No file, socket or kernel is
 * made. What only the real device knows (its size, a server's largest payload) is taken from the working set and from this kernel's plan.
 */
import {
  describeRawDevice,
  type NodeDescription,
  PAGE_SIZE,
  parseSize,
  planSizes,
  type StackDescription,
  KernelError,
} from '@tidemark/core';
import { MOUNT_OBJECTS } from '@tidemark/fs-ext3';
import { describeNbdClient, describeNbdServer, parseUri } from '@tidemark/nbd';
import { describeSwapArea, pagedBufferTerm, swapPinFrames } from '@tidemark/swap';
import { describeChainStack } from './chain-stack.js';
import { describeExt3Stack } from './ext3-stack.js';
import { swapDeviceOf, swapFilePages } from './stack.js';

/**
 * Describes a stack by its word: `nbd`, `ext3`, `nfs`, `full`, `swap:DEVICE`, DEVICE. All but the last hold a working set, whose page cells count, too.
 * @throws KernelError EINVAL for a device nobody would open, EFBIG for a working set that no swap area holds.
 */
export function describeStack(stack: string, workingSetBytes: number): StackDescription {
  const held = [pagedBufferTerm(workingSetBytes)];
  if (stack === 'nbd') return { nodes: nbdStack(swapFilePages(workingSetBytes)), held };
  if (stack === 'ext3') return { nodes: describeExt3Stack(swapFilePages(workingSetBytes)), held: [...held, MOUNT_OBJECTS] };
  if (stack === 'nfs' || stack === 'full')
    return { nodes: describeChainStack(swapFilePages(workingSetBytes), stack === 'full'), held: [...held, MOUNT_OBJECTS] };
  const swapDevice = swapDeviceOf(stack);
  if (swapDevice === null) return { nodes: [describeDevice(stack)], held: [] };
  const device = describeDevice(swapDevice);
  return { nodes: [swapOn(device, swapPagesOf(swapDevice, workingSetBytes)), device], held };
}

function nbdStack(nrSlots: number): NodeDescription[] {
  const file = describeRawDevice('file:swap');
  const server = describeNbdServer('127.0.0.1:0', [file.name], 2, (nrFrames) => swapPinFrames(nrFrames, Number.MAX_SAFE_INTEGER));
  const client = describeNbdClient('nbd://127.0.0.1:0/demo', server.name);
  return [swapOn(client, nrSlots), client, server, file];
}

function swapOn(device: NodeDescription, nrSlots: number): NodeDescription {
  const isNbd = device.name.startsWith('nbd');
  return describeSwapArea({
    device: device.name,
    nrSlots,
    maxTransferBytes: isNbd ? (nrFrames) => planSizes(nrFrames).payloadBytes : undefined,
  });
}

function describeDevice(url: string): NodeDescription {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? 'file';
  if (scheme.startsWith('nbd')) return describeNbdClient(parseUri(url).uri, null);
  if (scheme === 'mem') {
    ramDiskBytes(url);
    return describeRawDevice(url);
  }
  if (scheme === 'file') return describeRawDevice(/^file:/i.test(url) ? url : `file:${url}`);
  throw new KernelError(
    'EINVAL',
    `no driver for block device ${JSON.stringify(url)}: want mem:SIZE, file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT`,
  );
}

/** Slots of the area: a RAM disk says its size; of any other device, as many as the working set takes. */
function swapPagesOf(device: string, workingSetBytes: number): number {
  return /^mem:/i.test(device) ? Math.floor(ramDiskBytes(device) / PAGE_SIZE) : swapFilePages(workingSetBytes);
}

/** @throws KernelError EINVAL for `mem:` and what is no size. */
function ramDiskBytes(url: string): number {
  return parseSize(url.slice('mem:'.length), 'size of a RAM disk');
}
