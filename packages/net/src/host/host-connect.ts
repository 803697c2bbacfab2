/** Connecting: one attempt, with a time limit and a signal, that leaves nothing behind when it fails. */
import { abortErrno, type Clock, errorFrom, KernelError } from '@tidemark/core';
import { formatAddress, type SocketAddress } from '../address.js';
import { endpointText } from '../endpoint.js';
import type { Socket } from '../socket.js';
import type { ConnectOptions } from '../transport.js';
import { createSocket } from './accepted-handle.js';
import { HostSocket } from './host-socket.js';
import { socketError } from './socket-errors.js';

/** See `Transport.connect`. */
export function connectHostSocket(clock: Clock, address: SocketAddress, options: ConnectOptions): Promise<Socket> {
  const peer = formatAddress(address);
  const { signal = null, timeoutMs } = options;
  if (signal?.aborted) return Promise.reject(errorFrom(abortErrno(signal), `connect to ${peer}: given up`));
  return new Promise((resolve, reject) => {
    const socket = new HostSocket(peer, options.slot, options.handler);
    const raw = createSocket(socket.onread);
    const local = address.kind === 'tcp' ? options.client?.connecting() : undefined;
    raw.once('close', () => local?.over());
    let failure: KernelError | null = null;
    const giveUp = (error: KernelError): void => {
      failure ??= error;
      raw.destroy();
    };
    const timer = clock.setTimer(timeoutMs, () =>
      giveUp(new KernelError('ETIMEDOUT', `connect to ${peer}: no answer within ${timeoutMs} ms`)),
    );
    const onAbort = (): void => {
      if (signal !== null) giveUp(errorFrom(abortErrno(signal), `connect to ${peer}: given up`));
    };
    const onError = (thrown: Error): void => {
      failure ??= socketError(thrown, `connect to ${peer}`);
    };
    const settle = (): void => {
      clock.clearTimer(timer);
      signal?.removeEventListener('abort', onAbort);
      raw.off('error', onError);
      raw.off('close', onClose);
    };
    const onClose = (): void => {
      settle();
      reject(failure ?? new KernelError('ECONNRESET', `connect to ${peer}: closed at once`));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    raw.on('error', onError);
    raw.on('close', onClose);
    raw.once('connect', () => {
      if (failure !== null) return; // given up in the same turn: the close is on its way
      settle();
      local?.connected(
        endpointText(raw.localAddress ?? '', raw.localPort ?? 0),
        endpointText(raw.remoteAddress ?? '', raw.remotePort ?? 0),
      );
      raw.setNoDelay(true);
      raw.setKeepAlive(true);
      socket.attach(raw);
      resolve(socket);
    });
    raw.connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
  });
}
