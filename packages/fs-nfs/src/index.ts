/**
 * `@tidemark/fs-nfs`: NFS version 3 over ONC RPC: a client, which is a filesystem plugin, and a server.
 *
 * @example
 * ```ts
 * const kernel = await Kernel.boot({ memory: '32MiB', plugins: [host, hostTransports, memfs] });
 * await kernel.mount('memfs:8MiB', '/');
 * const server = await NfsServer.listen(kernel, { address: '127.0.0.1:2049', exports: { '/': '/' } });
 * ```
 *
 * @packageDocumentation
 */
export * from './protocol/arguments.js';
export * from './protocol/attributes.js';
export * from './protocol/mount3.js';
export * from './protocol/nfs3-constants.js';
export * from './protocol/portmap.js';
export * from './protocol/results.js';
export * from './rpc/rpc-message.js';
export { XdrError, XdrReader } from './xdr/xdr-reader.js';
export { XdrWriter } from './xdr/xdr-writer.js';
export { LAST_FRAGMENT } from './rpc/record-stream.js';
export type { NfsExportOptions } from './server/export-table.js';
export { NfsServer, type NfsServerOptions } from './server/nfs-server.js';
export { nfs } from './client/plugin.js';
export { describeNfsClient, nfsClientFootprints, type NfsClientFootprints, type NfsClientSizes, nfsClientSizes } from './client/sizes.js';
export {
  NFS_NUMBER_OPTIONS,
  NFS_OPTION_NAMES,
  type NfsOptionLimit,
  type NfsMountOptions,
  type NfsTarget,
  parseNfsUrl,
} from './client/url.js';
export { describeNfsServer, nfsServerFootprint, type NfsServerSizes, nfsServerSizes } from './server/sizes.js';
