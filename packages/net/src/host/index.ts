/**
 * @tidemark/net/host: TCP and unix-socket transports of the host.
 *
 * @packageDocumentation
 */
import { CLOCK, type Clock, definePlugin, KERNEL, TRANSPORT } from '@tidemark/core';
import type { SocketAddress } from '../address.js';
import type { Socket } from '../socket.js';
import type { ConnectOptions, Listener, ListenOptions, Transport } from '../transport.js';
import { connectHostSocket } from './host-connect.js';
import { listenHostSocket, type Recognise } from './host-listener.js';

export { removeDeadSocket } from './host-listener.js';

/** Streams of the host: TCP and unix sockets. */
export class HostTransport implements Transport {
  readonly name = 'host';
  readonly kinds = ['tcp', 'unix'] as const;

  /** @param recognise whose connection an accepted one is: the kernel's table of local connections. Default: nobody's. */
  constructor(
    private readonly clock: Clock,
    private readonly recognise: Recognise = () => null,
  ) {}

  connect(address: SocketAddress, options: ConnectOptions): Promise<Socket> {
    return connectHostSocket(this.clock, address, options);
  }

  listen(address: SocketAddress, options: ListenOptions): Promise<Listener> {
    return listenHostSocket(address, options, this.recognise);
  }
}

/** Registers the host's transports under `TRANSPORT`. */
export const hostTransports = definePlugin({
  name: 'host-transports',
  register(container) {
    container.register(TRANSPORT, {
      useFactory: (c) => {
        const { localConnections } = c.resolve(KERNEL);
        return new HostTransport(c.resolve<Clock>(CLOCK), (clientEnd, serverEnd) => localConnections.recognise(clientEnd, serverEnd));
      },
    });
  },
});
