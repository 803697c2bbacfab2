/**
 * @tidemark/net/host: TCP and unix-socket transports of the host.
 *
 * @packageDocumentation
 */
import { CLOCK, type Clock, definePlugin, TRANSPORT } from '@tidemark/core';
import type { SocketAddress } from '../address.js';
import type { Socket } from '../socket.js';
import type { ConnectOptions, Listener, ListenOptions, Transport } from '../transport.js';
import { connectHostSocket } from './host-connect.js';
import { listenHostSocket } from './host-listener.js';

/** Streams of the host: TCP and unix sockets. */
export class HostTransport implements Transport {
  readonly name = 'host';
  readonly kinds = ['tcp', 'unix'] as const;

  constructor(private readonly clock: Clock) {}

  connect(address: SocketAddress, options: ConnectOptions): Promise<Socket> {
    return connectHostSocket(this.clock, address, options);
  }

  listen(address: SocketAddress, options: ListenOptions): Promise<Listener> {
    return listenHostSocket(address, options);
  }
}

/** Registers the host's transports under `TRANSPORT`. */
export const hostTransports = definePlugin({
  name: 'host-transports',
  register(container) {
    container.register(TRANSPORT, { useFactory: (c) => new HostTransport(c.resolve<Clock>(CLOCK)) });
  },
});
