/**
 * `@tidemark/lab`: the topologies in which writeout deadlocks, run in virtual time under every reserve policy.
 *
 * @packageDocumentation
 */
export * from './expected.js';
export * from './format.js';
export * from './load/anonymous.js';
export * from './matrix.js';
export * from './models/cached-file.js';
export * from './models/cow-filesystem.js';
export * from './models/ext3.js';
export * from './models/lab-kernel.js';
export * from './models/model-node.js';
export * from './models/model-device.js';
export * from './models/nbd.js';
export * from './models/nfs-client.js';
export * from './models/nfs-server.js';
export * from './models/page-stores.js';
export * from './models/remote-nfs.js';
export * from './pairs/index.js';
export * from './policies.js';
export * from './result.js';
export * from './run.js';
export * from './scopes.js';
export * from './spaces/index.js';
export * from './timeline.js';
export * from './topologies/index.js';
export * from './topology.js';
