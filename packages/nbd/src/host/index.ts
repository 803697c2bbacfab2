/**
 * @tidemark/nbd/host: NBD over the host's TCP and unix sockets.
 *
 * @example
 * ```ts
 * const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, nbd] });
 * const disk = await kernel.openBlockDevice('nbd://127.0.0.1:10809/disk');
 * const server = await NbdServer.listen(kernel, { address: 'unix:/run/disk.sock', exports: { copy: disk } });
 * ```
 *
 * @packageDocumentation
 */
import { definePlugin } from '@tidemark/core';
import { hostTransports } from '@tidemark/net/host';
import { nbd as withoutTransports } from '../plugin.js';

export type { NbdOpenOptions } from '../client/nbd-driver.js';
export { NbdServer, type NbdServerOptions } from '../server/nbd-server.js';

/** The NBD plugin together with the host's transports. */
export const nbd = definePlugin({ ...withoutTransports, requires: [hostTransports] });
