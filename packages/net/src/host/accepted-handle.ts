/**
 * Sockets of the host that read into our memory.
 *
 * The `onread` option belongs to the constructor of a socket, and accepted sockets come without it. So their handle is wrapped anew:
 * `_handle` and the `handle` option are undocumented, and this file is the only one that knows them (test: accepted.test.ts, to be
 * run on every version of Node that is supported).
 */
import { type OnReadOpts, Socket as NodeSocket, type SocketConstructorOpts } from 'node:net';

/** What a socket reads with; `buffer` is asked for memory before each read. */
export type ReadInto = OnReadOpts & { readonly buffer: () => Uint8Array };

/** A socket that is yet to be connected. */
export function createSocket(onread: ReadInto): NodeSocket {
  return new NodeSocket({ onread, allowHalfOpen: true } as SocketConstructorOpts); // `onread` is documented; the type lacks it
}

/**
 * Takes over the connection of `shell`, a paused socket fresh from its server, which stays behind as the server's count of it.
 * @returns null if the connection is already gone.
 */
export function adoptSocket(shell: NodeSocket, onread: ReadInto): NodeSocket | null {
  const owner = shell as unknown as { _handle: object | null };
  const handle = owner._handle;
  if (handle === null || shell.destroyed) return null;
  owner._handle = null;
  const socket = new NodeSocket({ handle, onread, allowHalfOpen: true } as SocketConstructorOpts);
  socket.once('close', () => shell.destroy()); // else the server counts it for ever, and its close never ends
  return socket;
}
