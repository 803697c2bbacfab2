/**
 * Stream sockets as the kernel sees them: received bytes are already in the connection's slot when the handler is called, and what is
 * sent is arena memory, by reference.
 *
 * Order of a handler's calls: `onReceive` any number of times; at most one `onEnd`, after the last byte; exactly one `onClose`, after
 * which the host refers neither to the slot nor to any memory given to `send`, and nothing more is called.
 */
import type { KernelError } from '@tidemark/core';
import type { ReceiveSlot } from './receive-slot.js';

/** Who looks at a socket's bytes. */
export interface SocketHandler {
  /**
   * More bytes stand in `socket.slot`.
   * @returns false to stop being read; `socket.resume()` goes on.
   */
  onReceive(socket: Socket): boolean;
  /** The peer sends no more. Sending to it may still work. */
  onEnd(socket: Socket): void;
  /** The socket is gone; `error` says why, null after an orderly close. */
  onClose(socket: Socket, error: KernelError | null): void;
}

/** One connected stream. */
export interface Socket {
  /** The other end, for messages: `127.0.0.1:50312`. */
  readonly peer: string;
  readonly slot: ReceiveSlot;
  /** May be exchanged while connected: a handshake hands over to what follows it. */
  handler: SocketHandler;
  /** False from `destroy`, `closeWhenSent` or the loss of the connection on. */
  readonly isOpen: boolean;
  /** Bytes given to `send` and not yet taken by the host: the measure of back-pressure. */
  readonly nrUnsentBytes: number;
  /**
   * Sends `bytes`, which must stay untouched until `onSent` or `onClose`. Everything sent in one turn of the event loop leaves in one
   * call to the host. Ignored on a socket that is not open: `onClose` is on its way.
   */
  send(bytes: Uint8Array, onSent: (() => void) | null): void;
  /** Stops reading after the read in progress. */
  pause(): void;
  /** Reads on, unless bytes of the slot are in the way (`ReceiveSlot.takeUp`); call again when they are not. */
  resume(): void;
  /** Sends what is queued, then tells the peer that no more comes. Receiving goes on. */
  end(): void;
  /** Sends what is queued, then closes. */
  closeWhenSent(): void;
  /** Closes at once; `error` is what `onClose` is told. */
  destroy(error?: KernelError): void;
}
