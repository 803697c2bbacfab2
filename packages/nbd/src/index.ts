/**
 * @tidemark/nbd: an NBD client, which is a block driver, and an NBD server, which exports block devices.
 *
 * Programs on Node take the plugin from `@tidemark/nbd/host`, which brings the host's sockets.
 *
 * @packageDocumentation
 */
export type { NbdOpenOptions } from './client/nbd-driver.js';
export { describeNbdClient, describeNbdServer } from './footprints.js';
export { nbd } from './plugin.js';
export { formatUri, type NbdTarget, parseUri } from './protocol/uri.js';
export { NbdServer, type NbdServerOptions } from './server/nbd-server.js';
