/**
 * `@tidemark/swap`: swap areas, and anonymous memory that is larger than memory.
 *
 * @example
 * ```ts
 * import { Kernel } from '@tidemark/core';
 * import { host } from '@tidemark/core/host';
 * import { PagedBuffer, swap } from '@tidemark/swap';
 *
 * const kernel = await Kernel.boot({ memory: '4MiB', plugins: [host, swap] });
 * await kernel.swapOn(await kernel.openBlockDevice('mem:64MiB'), { format: true });
 * const buffer = await PagedBuffer.create(kernel, { sizeBytes: '32MiB' });
 * await buffer.write(0, new Uint8Array(65_536).fill(7));
 * await kernel.shutdown();
 * ```
 *
 * @packageDocumentation
 */
export { describeSwapArea, pagedBufferTerm, type SwapAreaDescription, swapPinFrames } from './footprint.js';
export { type FormatSwapOptions, formatSwap, readSwapHeader } from './format.js';
export {
  encodeSwapHeader,
  formatUuid,
  MAX_BAD_PAGES,
  MIN_SWAP_PAGES,
  parseSwapHeader,
  parseUuid,
  type SwapHeader,
  type SwapHeaderFields,
} from './header.js';
export { PagedBuffer, type PagedBufferOptions } from './paged-buffer.js';
export { type ElementType, type NumericArray, PagedView } from './paged-view.js';
export { swap } from './plugin.js';
export { SwapManager } from './swap-manager.js';
