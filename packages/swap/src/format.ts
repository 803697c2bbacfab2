/**
 * Swap areas on block devices: making one, and reading what one says.
 */
import { Bio, BioOp, type BlockDevice, errorFrom, type Kernel, KernelError, PAGE_SIZE, type StandingMemory } from '@tidemark/core';
import { encodeSwapHeader, MIN_SWAP_PAGES, parseSwapHeader, parseUuid, randomUuid, type SwapHeader, suspendSignature } from './header.js';

/** Options of `formatSwap`. */
export interface FormatSwapOptions {
  /** Up to 15 bytes of UTF-8. */
  readonly label?: string;
  /** Default: a random one. */
  readonly uuid?: string;
  /** Overwrites the image of a suspended machine too. */
  readonly force?: boolean;
}

/**
 * Writes a swap header to a device, as mkswap does; the first 1024 bytes are left alone. Everything the device held is lost.
 * @throws KernelError EINVAL (fewer than 10 pages, a bad label or uuid), EBUSY (in use, or a suspended machine's image), EROFS, EIO.
 */
export async function formatSwap(kernel: Kernel, device: BlockDevice, options: FormatSwapOptions = {}): Promise<SwapHeader> {
  const sizePages = Math.floor(device.sizeBytes / PAGE_SIZE);
  if (sizePages < MIN_SWAP_PAGES) {
    throw new KernelError('EINVAL', `${device.name} has ${sizePages} pages: a swap area needs ${MIN_SWAP_PAGES}`, {
      details: { sizePages },
    });
  }
  kernel.requireOwn(device, 'make a swap area of');
  if (device.readOnly) throw new KernelError('EROFS', `${device.name} is read-only and cannot become a swap area`);
  if (device.holder !== null) throw new KernelError('EBUSY', `${device.name} is in use by ${device.holder}; it cannot be made a swap area`);
  const uuid = options.uuid === undefined ? randomUuid(kernel.random) : parseUuid(options.uuid);
  device.hold('the making of a swap area');
  try {
    return await writeHeader(kernel, device, uuid, sizePages, options);
  } finally {
    device.unhold();
  }
}

function writeHeader(
  kernel: Kernel,
  device: BlockDevice,
  uuid: Uint8Array,
  sizePages: number,
  options: FormatSwapOptions,
): Promise<SwapHeader> {
  return withHeaderPage(kernel, device, async (page) => {
    await transfer(kernel, device, page, BioOp.READ);
    const suspended = suspendSignature(page.bytes);
    if (suspended !== null && options.force !== true) {
      throw new KernelError('EBUSY', `${device.name} holds the image of a suspended machine (${suspended}); use force to overwrite it`);
    }
    encodeSwapHeader(page.bytes, { lastPage: Math.min(sizePages - 1, 0xffff_ffff), uuid, label: options.label });
    await transfer(kernel, device, page, BioOp.WRITE);
    const status = device.can.flush ? await device.submitAndWait(kernel.task, new Bio(0).start(BioOp.FLUSH, 0, kernel.task)) : 0;
    if (status !== 0) throw errorFrom(status, `flush the swap header of ${device.name}`);
    return parseSwapHeader(page.bytes, sizePages, device.name);
  });
}

/**
 * Reads and checks the header of a swap area.
 * @throws KernelError EINVAL naming the field and its offset if it is none, EIO.
 */
export async function readSwapHeader(kernel: Kernel, device: BlockDevice): Promise<SwapHeader> {
  kernel.requireOwn(device, 'read the swap header of');
  const sizePages = Math.floor(device.sizeBytes / PAGE_SIZE);
  if (sizePages < 2)
    throw new KernelError('EINVAL', `${device.name} has ${device.sizeBytes} bytes: too small for a swap header and a page`);
  return withHeaderPage(kernel, device, async (page) => {
    await transfer(kernel, device, page, BioOp.READ);
    return parseSwapHeader(page.bytes, sizePages, device.name);
  });
}

async function withHeaderPage<T>(kernel: Kernel, device: BlockDevice, use: (page: StandingMemory) => Promise<T>): Promise<T> {
  const page = await kernel.memory.allocStanding(kernel.task, `swap header of ${device.name}`, 1);
  try {
    return await use(page);
  } finally {
    page.free();
  }
}

async function transfer(kernel: Kernel, device: BlockDevice, page: StandingMemory, op: BioOp): Promise<void> {
  const bio = new Bio(1).start(op, 0, kernel.task);
  bio.addSegment(page.address, PAGE_SIZE);
  const status = await device.submitAndWait(kernel.task, bio);
  if (status !== 0) throw errorFrom(status, `${op === BioOp.READ ? 'read' : 'write'} the swap header of ${device.name}`);
}
