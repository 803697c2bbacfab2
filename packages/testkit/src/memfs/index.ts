/**
 * memfs, the reference filesystem: `kernel.mount('memfs:64MiB', '/')`. Options: `mode`, `uid`, `gid` of the root directory.
 */
import { CLOCK, definePlugin, FILE_SYSTEM, type FileSystemType, KernelError, MEMORY, parseSize } from '@tidemark/core';
import { MemoryFileSystem } from './memory-file-system.js';

/** Registers `memfs:SIZE`. */
export const memfs = definePlugin({
  name: 'memfs',
  register(container) {
    container.register(FILE_SYSTEM, {
      useFactory: (c): FileSystemType => ({
        schemes: ['memfs'],
        mount(_task, source, options) {
          const size = source.slice('memfs:'.length);
          if (size === '') throw new KernelError('EINVAL', `${source} says no size: memfs:64MiB`);
          const clock = c.resolve(CLOCK);
          return new MemoryFileSystem(source, c.resolve(MEMORY), parseSize(size, source), options, () => clock.wallMs?.() ?? clock.nowMs());
        },
      }),
    });
  },
});
