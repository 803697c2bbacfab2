/**
 * @tidemark/net: the seam between the kernel and stream sockets. Host transports are in `@tidemark/net/host`.
 *
 * @packageDocumentation
 */
export { formatAddress, parseAddress, type SocketAddress, tcpAddress, UNIX_PATH_MAX_BYTES, unixAddress } from './address.js';
export { ReceiveSlot } from './receive-slot.js';
export type { Socket, SocketHandler } from './socket.js';
export {
  type AcceptedConnection,
  type ConnectionEnd,
  type ConnectOptions,
  findTransport,
  type Listener,
  type ListenOptions,
  type Transport,
} from './transport.js';
