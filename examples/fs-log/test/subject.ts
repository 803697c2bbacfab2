/** fs-log as the conformance suite wants it. */
import type { Plugin } from '@tidemark/core';
import type { FileSystemSubject } from '@tidemark/testkit/conformance';

export function logSubject(plugin: Plugin, name = 'fs-log'): FileSystemSubject {
  return {
    name,
    plugins: [plugin],
    diskBytes: 6 * 2 ** 20,
    async create({ kernel, device, isFresh }) {
      await kernel.mount('log:disk', '/', { device, format: isFresh });
    },
    supports: {
      persistent: true,
      crashConsistent: true,
      hardLinks: true,
      symlinks: true,
      specialFiles: true,
      handles: true,
      pinnedFiles: true,
    },
  };
}
