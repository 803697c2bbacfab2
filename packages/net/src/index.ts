/**
 * @tidemark/net: the seam between the kernel and stream sockets. Host transports are in `@tidemark/net/host`.
 *
 * @packageDocumentation
 */
export { formatAddress, parseAddress, type SocketAddress, tcpAddress, UNIX_PATH_MAX_BYTES, unixAddress } from './address.js';
export { endpointText } from './endpoint.js';
export { ReceiveSlot } from './receive-slot.js';
export { ReplyRing } from './reply-ring.js';
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
export { createPacketCounters, type PacketCounters, type PacketDrop } from './packet/counters.js';
export { Holder, Holders, type HolderSpec } from './packet/holder.js';
export {
  type LineOptions,
  type NetworkCounters,
  type NetworkInterface,
  PacketNetwork,
  type Port,
} from './packet/network.js';
export { BufferPool, PacketBuffer } from './packet/packet-buffer.js';
export { type PacketEnvironment, type PacketHostOptions, PacketTransport } from './packet/packet-transport.js';
export { clockPhysics, type Physics } from './packet/physics.js';
export { type BareHostOptions, bareHost, PACKET_TRANSPORT, packetTransport } from './packet/plugin.js';
export { emergencyRules, RECEIVE_RULES, type ReceiveRules } from './packet/rules.js';
export { describePacketTransport, type PacketSizes, packetFootprint, packetSizes } from './packet/sizes.js';
export type { UdpMessage, UdpOptions, UdpSocket } from './packet/udp/udp-layer.js';
export * from './packet/wire/bytes.js';
export * from './packet/wire/ethernet.js';
export * from './packet/wire/ipv4-address.js';
export * from './packet/wire/ipv4-header.js';
export * from './packet/wire/segment.js';
export * from './packet/wire/udp-header.js';
export type { Route } from './packet/ip/route-cache.js';
