/**
 * NBD URIs (the project's `doc/uri.md`):
 *
 *     nbd://HOST[:PORT]/EXPORT               port 10809 by default; HOST may be [IPv6]
 *     nbd+unix:///EXPORT?socket=PATH
 *
 * The export's name is the path without its first slash, percent-decoded: `//disk` names `/disk`; an empty one is the default export.
 */
import { encodeUtf8, KernelError } from '@tidemark/core';
import { type SocketAddress, tcpAddress, unixAddress } from '@tidemark/net';
import { DEFAULT_PORT, STRING_MAX_BYTES } from './constants.js';

/** Where an export is. */
export interface NbdTarget {
  /** The URI, in the form of `formatUri`. */
  readonly uri: string;
  readonly address: SocketAddress;
  readonly exportName: string;
}

const URI = /^(nbd|nbd\+unix):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i;

/**
 * Parses a URI.
 * @throws KernelError EINVAL saying what is wrong with it; EPROTONOSUPPORT for TLS (`nbds`).
 */
export function parseUri(text: string): NbdTarget {
  const invalid = (why: string): KernelError => new KernelError('EINVAL', `${JSON.stringify(text)} is no NBD URI: ${why}`);
  if (/^nbds(\+unix)?:/i.test(text)) throw new KernelError('EPROTONOSUPPORT', `${JSON.stringify(text)}: TLS is not supported`);
  const match = URI.exec(text);
  if (match === null) throw invalid('want nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH');
  const [, scheme, authority, path = '', query = ''] = match;
  const decode = (part: string): string => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw invalid(`${JSON.stringify(part)} is not percent-encoded UTF-8`);
    }
  };
  const exportName = decode(path);
  checkExportName(exportName);
  let socketPath: string | null = null;
  for (const parameter of query === '' ? [] : query.split('&')) {
    const [key, value = ''] = splitOnce(parameter, '=');
    if (key !== 'socket') throw invalid(`the parameter ${JSON.stringify(key)} is not known`);
    if (socketPath !== null) throw invalid('two sockets are given');
    socketPath = decode(value);
  }
  if (scheme.toLowerCase() === 'nbd+unix') {
    if (authority !== '') throw invalid('a unix socket has no host; write nbd+unix:///EXPORT');
    if (socketPath === null || socketPath === '') throw invalid('the parameter socket=PATH is missing');
    return target(unixAddress(socketPath), exportName);
  }
  if (socketPath !== null) throw invalid('socket= goes with nbd+unix');
  const host = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]@\s]+))(?::(\d{1,5}))?$/.exec(authority);
  if (host === null) throw invalid(authority === '' ? 'the host is missing' : `${JSON.stringify(authority)} is no HOST:PORT`);
  const port = host[3] === undefined ? DEFAULT_PORT : Number(host[3]);
  if (port === 0) throw invalid('port 0 cannot be connected to');
  return target(tcpAddress(host[1] ?? decode(host[2]), port), exportName);
}

/** @throws KernelError EINVAL for a name the protocol cannot carry. */
export function checkExportName(name: string): void {
  if (name.includes('\0')) throw new KernelError('EINVAL', `the export name ${JSON.stringify(name)} holds a NUL`);
  if (/\p{Surrogate}/u.test(name)) throw new KernelError('EINVAL', `the export name ${JSON.stringify(name)} is not Unicode text`);
  if (encodeUtf8(name).length > STRING_MAX_BYTES)
    throw new KernelError('EINVAL', `an export name is longer than ${STRING_MAX_BYTES} bytes`);
}

function target(address: SocketAddress, exportName: string): NbdTarget {
  return { uri: formatUri(address, exportName), address, exportName };
}

/** The URI of an export. */
export function formatUri(address: SocketAddress, exportName: string): string {
  const path = exportName.split('/').map(encodeURIComponent).join('/');
  if (address.kind === 'unix') return `nbd+unix:///${path}?socket=${address.path.split('/').map(encodeURIComponent).join('/')}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `nbd://${host}:${address.port}/${path}`;
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
