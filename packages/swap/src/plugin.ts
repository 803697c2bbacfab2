/** The plugin `swap`: registers the subsystem, one for each kernel. */
import { definePlugin, instanceCachingFactory, KERNEL, type Kernel, KernelError, SWAP_SUBSYSTEM } from '@tidemark/core';
import { SwapManager } from './swap-manager.js';

/** The plugin: `kernel.swapOn`, `PagedBuffer`. */
export const swap = definePlugin({
  name: 'swap',
  register(container) {
    container.register(SWAP_SUBSYSTEM, { useFactory: instanceCachingFactory((c) => new SwapManager(c.resolve(KERNEL))) });
  },
});

/** The swap manager of a kernel. @throws KernelError ENOSYS if it was booted without the plugin. */
export function swapManagerOf(kernel: Kernel): SwapManager {
  if (kernel.swap instanceof SwapManager) return kernel.swap;
  throw new KernelError('ENOSYS', 'this kernel has no anonymous memory: add swap of @tidemark/swap to its plugins');
}
