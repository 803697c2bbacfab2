/**
 * `@tidemark/fuse/host`: /dev/fuse of the host, for `FuseMount`.
 *
 * @packageDocumentation
 */
import { definePlugin } from '@tidemark/core';
import { FUSE_HOST } from '../channel.js';
import { LinuxHost } from './host-channel.js';

export { type FuseCounts, FuseMount, type FuseMountOptions } from '../server/fuse-mount.js';

/** Registers what mounts on this host under `FUSE_HOST`. */
export const fuse = definePlugin({
  name: 'fuse',
  register(container) {
    container.register(FUSE_HOST, { useFactory: () => new LinuxHost() });
  },
});
