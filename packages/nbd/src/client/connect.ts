/** One attempt to reach an export: a socket, a handshake, and nothing left behind if either fails. */
import { abortErrno, type AbortSignalLike, type Clock, errorFrom, KernelError, type LocalClient } from '@tidemark/core';
import type { ReceiveSlot, Socket, SocketHandler, Transport } from '@tidemark/net';
import type { NbdTarget } from '../protocol/uri.js';
import { type ExportInfo, negotiate } from './handshake.js';
import { HandshakeStream } from './handshake-stream.js';

/** A connection that is ready for requests. */
export interface Connected {
  readonly socket: Socket;
  readonly info: ExportInfo;
  /** Hands the socket to whoever speaks on it from now on. */
  takeOver(handler: SocketHandler): void;
  /** Closes it instead, and waits until its slot is free. */
  abandon(): Promise<void>;
}

/** What an attempt is made with. */
export interface ConnectParts {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly target: NbdTarget;
  readonly slot: ReceiveSlot;
  /** What its connections are known by in this kernel. */
  readonly client: LocalClient;
  readonly timeoutMs: number;
  readonly signal?: AbortSignalLike | null;
}

/**
 * Connects and negotiates within `timeoutMs`.
 * @throws KernelError those of `Transport.connect` and of `negotiate`, ETIMEDOUT. The slot is free again when it throws.
 */
export async function connectExport(parts: ConnectParts): Promise<Connected> {
  const { transport, clock, target, slot, client, timeoutMs, signal = null } = parts;
  const { uri, address, exportName } = target;
  const stream = new HandshakeStream(slot, uri);
  const endsAtMs = clock.nowMs() + timeoutMs;
  const socket = await transport.connect(address, { slot, handler: stream, timeoutMs, signal, client, memalloc: true });
  const timer = clock.setTimer(Math.max(endsAtMs - clock.nowMs(), 1), () => {
    stream.fail(new KernelError('ETIMEDOUT', `${uri}: no handshake within ${timeoutMs} ms`));
  });
  const onAbort = (): void => {
    if (signal !== null) stream.fail(errorFrom(abortErrno(signal), `${uri}: given up`));
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  const abandon = async (): Promise<void> => {
    socket.destroy();
    await stream.closed();
  };
  try {
    const info = await negotiate(stream, socket, { uri, exportName });
    return {
      socket,
      info,
      takeOver: (handler) => {
        socket.handler = handler;
      },
      abandon,
    };
  } catch (error) {
    await abandon();
    throw error;
  } finally {
    clock.clearTimer(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
