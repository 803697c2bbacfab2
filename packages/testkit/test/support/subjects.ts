/** What is put to the conformance suites. */
import type { Plugin } from '@tidemark/core';
import type { FileSystemSubject } from '@tidemark/testkit/conformance';

/** memfs, or what was made of it. */
export function memfsSubject(plugin: Plugin, name = 'memfs'): FileSystemSubject {
  return {
    name,
    plugins: [plugin],
    create: async ({ kernel }) => void (await kernel.mount('memfs:2MiB', '/')),
    supports: {
      hardLinks: true,
      symlinks: true,
      specialFiles: true,
      xattrs: true,
      exchange: true,
      punch: true,
      seekHoles: true,
      handles: true,
    },
  };
}
