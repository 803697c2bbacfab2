/** The plugin: `kernel.mount('ext3:disk.img', '/')`. */
import { definePlugin, FILE_SYSTEM, type FileSystemType, KERNEL, SHRINKER, type Shrinker } from '@tidemark/core';
import { type Caches, mountExt3 } from './volume/mount.js';

/** Metadata of every mounted ext3, for who wants memory back. */
function shrinkerOf(caches: Caches): Shrinker {
  return {
    name: 'ext3 metadata',
    isAllocationFree: true,
    count: () => [...caches].reduce((sum, cache) => sum + cache.count(), 0),
    scan(nrFrames) {
      let freed = 0;
      for (const cache of caches) if (freed < nrFrames) freed += cache.scan(nrFrames - freed);
      return freed;
    },
  };
}

/** Registers `ext3:DEVICE` (and `ext2:DEVICE`, the same without a journal). Option `device`: a block device of the kernel, already open. */
export const ext3 = definePlugin({
  name: 'ext3',
  register(container) {
    const caches: Caches = new Set();
    container.register(SHRINKER, { useFactory: () => shrinkerOf(caches) });
    container.register(FILE_SYSTEM, {
      useFactory: (c): FileSystemType => ({
        schemes: ['ext3', 'ext2'],
        mount: (task, source, options) => mountExt3(c.resolve(KERNEL), caches, task, source, options),
      }),
    });
  },
});
