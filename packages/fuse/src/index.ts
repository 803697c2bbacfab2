/**
 * `@tidemark/fuse`: mounts a tree of a Tidemark kernel on a directory of Linux, through /dev/fuse. What meets the host is in
 * `@tidemark/fuse/host`.
 *
 * @packageDocumentation
 */
export { type ChannelHandler, type ChannelOptions, FUSE_HOST, type FuseChannel, type FuseHost } from './channel.js';
export { type FuseCounts, FuseMount, type FuseMountOptions } from './server/fuse-mount.js';
export { describeFuseMount, fuseFootprint, type FuseSizes, fuseSizes } from './server/sizes.js';
