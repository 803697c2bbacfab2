/**
 * `@tidemark/fs-nfs`: NFS version 3 over ONC RPC.
 *
 * What is here so far: the messages. A client and a server are not.
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
