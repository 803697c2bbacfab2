/**
 * Addresses of stream sockets, as people write them:
 *
 *     HOST:PORT      127.0.0.1:10809, localhost:10809
 *     [V6]:PORT      [::1]:10809
 *     :PORT          the loopback address 127.0.0.1
 *     unix:PATH      unix:/run/disk.sock
 */
import { encodeUtf8, KernelError } from '@tidemark/core';

/** Where a socket is, or is to be. Port 0 means "any free one" and is only for listening. */
export type SocketAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** Longest path of a unix socket in bytes: `sun_path` holds 108 with its NUL. */
export const UNIX_PATH_MAX_BYTES = 107;

/**
 * Parses an address.
 * @throws KernelError EINVAL saying what is wrong with it.
 */
export function parseAddress(text: string): SocketAddress {
  if (text.startsWith('unix:')) return unixAddress(text.slice('unix:'.length));
  const match = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(text);
  if (match === null) throw invalid(text, 'want HOST:PORT, [IPv6]:PORT or unix:PATH');
  return tcpAddress(match[1] ?? match[2], Number(match[3]));
}

/** @throws KernelError EINVAL for a port that is none. An empty host is the loopback. */
export function tcpAddress(host: string, port: number): SocketAddress {
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw invalid(`${host}:${port}`, 'a port is a number from 0 to 65535');
  return { kind: 'tcp', host: host === '' ? '127.0.0.1' : host, port };
}

/** @throws KernelError EINVAL for a path that no socket can have. */
export function unixAddress(path: string): SocketAddress {
  if (path === '') throw invalid('unix:', 'the path is missing');
  if (path.includes('\0')) throw invalid(`unix:${path}`, 'a path has no NUL');
  if (encodeUtf8(path).length > UNIX_PATH_MAX_BYTES) throw invalid(`unix:${path}`, `the path is longer than ${UNIX_PATH_MAX_BYTES} bytes`);
  return { kind: 'unix', path };
}

/** The text `parseAddress` reads. */
export function formatAddress(address: SocketAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

function invalid(text: string, why: string): KernelError {
  return new KernelError('EINVAL', `address ${JSON.stringify(text)}: ${why}`);
}
