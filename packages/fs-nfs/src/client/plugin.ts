/** The plugin: `kernel.mount('nfs://server/export', '/mnt')`. */
import { definePlugin, FILE_SYSTEM, type FileSystemType, KERNEL } from '@tidemark/core';
import { mountNfs } from './mount.js';

/** Registers `nfs://HOST/EXPORT`. Options as `NfsMountOptions`. Wants a transport: `hostTransports` of `@tidemark/net/host`, or another. */
export const nfs = definePlugin({
  name: 'nfs',
  register(container) {
    container.register(FILE_SYSTEM, {
      useFactory: (c): FileSystemType => ({
        schemes: ['nfs'],
        mount: (task, source, options) => mountNfs(c.resolve(KERNEL), task, source, options),
      }),
    });
  },
});
