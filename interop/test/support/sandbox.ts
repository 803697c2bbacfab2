/** A folder for the files and sockets of one test file, gone when it is over; and TCP ports that nobody else has. */
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';

let folder: string | null = null;
let nrNames = 0;

afterAll(() => {
  if (folder !== null) fs.rmSync(folder, { recursive: true, force: true });
});

/** A path nobody has used. */
export function freshPath(name: string): string {
  folder ??= fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-interop-'));
  return path.join(folder, `${nrNames++}-${name}`);
}

/** A file of `sizeBytes` zeroes, or of `content`. */
export function freshFile(name: string, content: number | Uint8Array): string {
  const file = freshPath(name);
  fs.writeFileSync(file, typeof content === 'number' ? '' : content, { mode: 0o600 });
  if (typeof content === 'number') fs.truncateSync(file, content);
  return file;
}

/** Where a server listens. */
export type Address = { readonly kind: 'unix'; readonly path: string } | { readonly kind: 'tcp'; readonly port: number };

/** An address that is free now. */
export async function freshAddress(kind: Address['kind']): Promise<Address> {
  if (kind === 'unix') return { kind, path: freshPath('sock') };
  const probe = net.createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return { kind, port };
}

/** The URI of an export there, in the form every NBD tool knows. */
export function uriOf(address: Address, exportName = ''): string {
  const name = encodeURIComponent(exportName);
  return address.kind === 'unix' ? `nbd+unix:///${name}?socket=${address.path}` : `nbd://127.0.0.1:${address.port}/${name}`;
}

/** True if somebody accepts connections there. */
export function isListening(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = address.kind === 'unix' ? net.connect(address.path) : net.connect(address.port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
