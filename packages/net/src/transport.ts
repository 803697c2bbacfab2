/**
 * Transports: what connects and listens. The host's are in `@tidemark/net/host`; plugins register theirs under `TRANSPORT`.
 */
import {
  type AbortSignalLike,
  type DependencyContainer,
  KernelError,
  type LocalClient,
  resolveEach,
  TRANSPORT,
  type WriteoutNode,
} from '@tidemark/core';
import { formatAddress, type SocketAddress } from './address.js';
import type { ReceiveSlot } from './receive-slot.js';
import type { Socket, SocketHandler } from './socket.js';

/** What a socket needs from whoever owns the connection. */
export interface ConnectionEnd {
  /** Free for this socket until its `onClose`. */
  readonly slot: ReceiveSlot;
  readonly handler: SocketHandler;
}

export interface ConnectOptions extends ConnectionEnd {
  /** Longest wait for the connection. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignalLike | null;
  /** Whose connection it is. The transport enters it in the kernel's table of local connections for as long as it lasts (M16). */
  readonly client?: LocalClient | null;
  /**
   * The connection is part of somebody's writeout (M12): on a packet transport it may be handed reserve memory and is exempt from receive
   * limits, on a host stream it is read to the end. Default false.
   */
  readonly memalloc?: boolean;
}

export interface ListenOptions {
  /** Connections of strangers at once; what comes beyond them is accepted and closed. Clients of this kernel are not counted. */
  readonly maxConnections: number;
  /** As `ConnectOptions.memalloc`, for every connection that is accepted. Default false. */
  readonly memalloc?: boolean;
  /**
   * Called for each connection, before a byte of it is read: takes the memory it needs. Null or an error refuses it.
   * @param client the client of this kernel whose connection it is, as the transport has found in the kernel's table by the addresses of both
   * ends and by nothing else (M16); null for a stranger's.
   */
  accept(peer: string, client: LocalClient | null): Promise<AcceptedConnection | null>;
  /** A connection was refused: too many, or `accept` failed. */
  onRefused?(error: KernelError): void;
}

/** One accepted connection: its end, and where the socket is handed to it. */
export interface AcceptedConnection extends ConnectionEnd {
  /** The socket is there. */
  onOpen(socket: Socket): void;
  /** The connection went away before there was a socket; `onClose` is not called. */
  onAbandon(): void;
}

/** Something that listens. */
export interface Listener {
  /** Where it listens; the port is the real one. */
  readonly address: SocketAddress;
  readonly nrConnections: number;
  /** Stops accepting at once; ends when every accepted socket is closed too. Safe to call twice. */
  close(): Promise<void>;
}

/** One kind of transport. */
export interface Transport {
  readonly name: string;
  /** Kinds of address it serves. */
  readonly kinds: readonly SocketAddress['kind'][];
  /** Its node of the writeout graph: what writes out over its connections needs it. None: it takes no memory beyond slots. */
  readonly node?: WriteoutNode;
  /**
   * @throws KernelError naming the address: ECONNREFUSED, ENOENT (no such unix socket), ENXIO (no such host, or no way to it),
   * ETIMEDOUT, EACCES, EINTR or the signal's reason. The slot is free again when it throws.
   */
  connect(address: SocketAddress, options: ConnectOptions): Promise<Socket>;
  /** @throws KernelError naming the address: EADDRINUSE, EACCES, ENXIO, ENOENT (no such directory). */
  listen(address: SocketAddress, options: ListenOptions): Promise<Listener>;
}

/**
 * The transport for an address.
 * @throws KernelError EPROTONOSUPPORT if no plugin brought one.
 */
export function findTransport(container: DependencyContainer, address: SocketAddress): Transport {
  for (const transport of resolveEach(container, TRANSPORT) as Transport[]) {
    if (transport.kinds.includes(address.kind)) return transport;
  }
  throw new KernelError('EPROTONOSUPPORT', `no plugin brings a transport for ${formatAddress(address)}; @tidemark/net/host has one`);
}
