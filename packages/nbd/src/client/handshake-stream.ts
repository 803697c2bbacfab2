/**
 * The client's end of a socket during the handshake: waits for so many bytes, one message at a time. What follows the handshake takes
 * the socket over by setting its `handler`.
 */
import { KernelError, type MaybePromise } from '@tidemark/core';
import type { ReceiveSlot, Socket, SocketHandler } from '@tidemark/net';

export class HandshakeStream implements SocketHandler {
  #socket: Socket | null = null;
  #wanted = 0;
  #resolve: (() => void) | null = null;
  #reject: ((error: KernelError) => void) | null = null;
  #ended: KernelError | null = null;
  #onClosed: (() => void) | null = null;
  #isClosed = false;

  constructor(
    readonly slot: ReceiveSlot,
    private readonly name: string,
  ) {}

  /**
   * Waits until `lengthBytes` stand in the slot.
   * @throws KernelError EPROTO for more than a slot holds; ECONNRESET, or what ended the connection.
   */
  need(lengthBytes: number): MaybePromise<void> {
    if (this.slot.length >= lengthBytes) return;
    if (lengthBytes > this.slot.sizeBytes / 2)
      throw new KernelError('EPROTO', `${this.name} sent a handshake message of ${lengthBytes} bytes`);
    if (this.#ended !== null) throw this.#ended;
    this.#wanted = lengthBytes;
    this.#socket?.resume(); // reading stops on a full slot; what was in it has been taken since
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  onReceive(socket: Socket): boolean {
    this.#socket = socket;
    if (this.#resolve !== null && this.slot.length >= this.#wanted) {
      const resolve = this.#resolve;
      this.#resolve = this.#reject = null;
      resolve();
    }
    return true;
  }

  onEnd(): void {
    this.fail(new KernelError('ECONNRESET', `${this.name} closed the connection during the handshake`));
  }

  /** Ends the wait in progress and every later one. */
  fail(error: KernelError): void {
    this.#ended ??= error;
    this.#reject?.(this.#ended);
    this.#resolve = this.#reject = null;
  }

  onClose(_socket: Socket, error: KernelError | null): void {
    this.#isClosed = true;
    this.fail(error ?? new KernelError('ECONNRESET', `${this.name} closed the connection during the handshake`));
    this.#onClosed?.();
  }

  /** Waits until the socket is gone and the slot is free again. */
  closed(): MaybePromise<void> {
    if (!this.#isClosed) return new Promise((resolve) => (this.#onClosed = resolve));
  }
}
