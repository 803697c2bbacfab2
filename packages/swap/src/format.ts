/**
 * Swap areas on block devices and in files: making one, and reading what one says.
 */
import { type BlockDevice, type Kernel, KernelError, type OpenFile, type StandingMemory } from '@tidemark/core';
import { encodeSwapHeader, MIN_SWAP_PAGES, parseSwapHeader, parseUuid, randomUuid, type SwapHeader, suspendSignature } from './header.js';
import { type SwapBacking, swapBackingOf } from './swap-backing.js';

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
 * Writes a swap header to a device or a file, as mkswap does; the first 1024 bytes are left alone. Everything it held is lost.
 * @throws KernelError EINVAL (fewer than 10 pages, a bad label or uuid), EBUSY (in use, or a suspended machine's image), EROFS, EIO.
 */
export async function formatSwap(kernel: Kernel, object: BlockDevice | OpenFile, options: FormatSwapOptions = {}): Promise<SwapHeader> {
  const backing = swapBackingOf(kernel, object);
  const { name, sizePages } = backing;
  if (sizePages < MIN_SWAP_PAGES) {
    throw new KernelError('EINVAL', `${name} has ${sizePages} pages: a swap area needs ${MIN_SWAP_PAGES}`, { details: { sizePages } });
  }
  backing.require('make a swap area of');
  if (backing.readOnly) throw new KernelError('EROFS', `${name} is read-only and cannot become a swap area`);
  if (backing.holder !== null) throw new KernelError('EBUSY', `${name} is in use by ${backing.holder}; it cannot be made a swap area`);
  const uuid = options.uuid === undefined ? randomUuid(kernel.random) : parseUuid(options.uuid);
  return backing.holding('the making of a swap area', () => writeHeader(kernel, backing, uuid, options));
}

function writeHeader(kernel: Kernel, backing: SwapBacking, uuid: Uint8Array, options: FormatSwapOptions): Promise<SwapHeader> {
  const { name, sizePages } = backing;
  return withHeaderPage(kernel, name, async (page) => {
    await backing.readHeader(page);
    const suspended = suspendSignature(page.bytes);
    if (suspended !== null && options.force !== true) {
      throw new KernelError('EBUSY', `${name} holds the image of a suspended machine (${suspended}); use force to overwrite it`);
    }
    encodeSwapHeader(page.bytes, { lastPage: Math.min(sizePages - 1, 0xffff_ffff), uuid, label: options.label });
    await backing.writeHeader(page);
    return parseSwapHeader(page.bytes, sizePages, name);
  });
}

/**
 * Reads and checks the header of a swap area.
 * @throws KernelError EINVAL naming the field and its offset if it is none, EIO.
 */
export async function readSwapHeader(kernel: Kernel, object: BlockDevice | OpenFile): Promise<SwapHeader> {
  const backing = swapBackingOf(kernel, object);
  backing.require('read the swap header of');
  const { name, sizePages } = backing;
  if (sizePages < 2) throw new KernelError('EINVAL', `${name} has ${sizePages} pages: too small for a swap header and a page`);
  return withHeaderPage(kernel, name, async (page) => {
    await backing.readHeader(page);
    return parseSwapHeader(page.bytes, sizePages, name);
  });
}

async function withHeaderPage<T>(kernel: Kernel, name: string, use: (page: StandingMemory) => Promise<T>): Promise<T> {
  const page = await kernel.memory.allocStanding(kernel.task, `swap header of ${name}`, 1);
  try {
    return await use(page);
  } finally {
    page.free();
  }
}
