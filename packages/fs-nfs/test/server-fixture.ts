/** A kernel with memfs and a server on a port of this host, and NFS calls to it as one-liners. */
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import {
  type CreateResult,
  getAttributes,
  getCommitted,
  getCreated,
  getLookup,
  getMounted,
  getReadDirectoryResult,
  getRead,
  getWcc,
  getWritten,
  MOUNT_PROGRAM,
  Mount3,
  type NewAttributes,
  NFS_PROGRAM,
  Nfs3,
  NfsServer,
  type NfsServerOptions,
  NO_CHANGE,
  putCreate,
  putNewAttributes,
  type Credentials,
  type XdrReader,
  type XdrWriter,
} from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { memfs } from '@tidemark/testkit';
import { expect } from 'vitest';
import type { MovedClock } from './moved-clock.js';
import { ROOT, RpcClient } from './rpc-client.js';

export function text(of: string): Uint8Array {
  return new TextEncoder().encode(of);
}

export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** The result of a call that failed or not: its status, and the reader behind it. */
export interface Result {
  readonly status: number;
  readonly body: XdrReader;
}

/** NFS calls over one connection. */
export class NfsClient {
  credentials: Credentials = ROOT;
  constructor(readonly rpc: RpcClient) {}

  async call(procedure: number, write: (out: XdrWriter) => void): Promise<Result> {
    const body = await this.rpc.call(NFS_PROGRAM, 3, procedure, this.credentials, write);
    return { status: body.u32(), body };
  }

  /** As `call`, for one that goes well. */
  async ok(procedure: number, write: (out: XdrWriter) => void): Promise<XdrReader> {
    const { status, body } = await this.call(procedure, write);
    expect(status).toBe(0);
    return body;
  }

  async mount(path: string): Promise<Uint8Array> {
    const body = await this.rpc.call(MOUNT_PROGRAM, 3, Mount3.MNT, this.credentials, (out) => out.opaque(text(path)));
    expect(body.u32()).toBe(0);
    return Uint8Array.from(getMounted(body).handle);
  }

  async lookup(directory: Uint8Array, name: string): Promise<Uint8Array> {
    return Uint8Array.from(getLookup(await this.ok(Nfs3.LOOKUP, (out) => out.opaque(directory).opaque(text(name)))).handle);
  }

  async attributes(handle: Uint8Array) {
    return getAttributes(await this.ok(Nfs3.GETATTR, (out) => out.opaque(handle)));
  }

  async make(procedure: number, directory: Uint8Array, name: string, more: (out: XdrWriter) => void): Promise<CreateResult> {
    const body = await this.ok(procedure, (out) => more(out.opaque(directory).opaque(text(name))));
    const made = getCreated(body);
    return { ...made, handle: made.handle === null ? null : Uint8Array.from(made.handle) };
  }

  async create(directory: Uint8Array, name: string, attributes: Partial<NewAttributes> = { mode: 0o644 }): Promise<Uint8Array> {
    const body = await this.ok(Nfs3.CREATE, (out) =>
      putCreate(out, { directory, name: text(name), mode: 1, attributes: { ...NO_CHANGE, ...attributes }, verifier: null }),
    );
    return Uint8Array.from(getCreated(body).handle as Uint8Array);
  }

  async mkdir(directory: Uint8Array, name: string, mode = 0o755): Promise<Uint8Array> {
    const made = await this.make(Nfs3.MKDIR, directory, name, (out) => putNewAttributes(out, { ...NO_CHANGE, mode }));
    return made.handle as Uint8Array;
  }

  async write(handle: Uint8Array, offsetBytes: number, data: Uint8Array, stable = 2) {
    return getWritten(await this.ok(Nfs3.WRITE, writeArguments(handle, offsetBytes, data, stable)));
  }

  async read(handle: Uint8Array, offsetBytes: number, countBytes: number): Promise<{ data: Uint8Array; isEnd: boolean }> {
    const body = await this.ok(Nfs3.READ, (out) => out.opaque(handle).u64(offsetBytes).u32(countBytes));
    const { countBytes: got, isEnd } = getRead(body, 1 << 20);
    return { data: Uint8Array.from(body.fixed(got)), isEnd };
  }

  async commit(handle: Uint8Array) {
    return getCommitted(await this.ok(Nfs3.COMMIT, (out) => out.opaque(handle).u64(0).u32(0)));
  }

  /** REMOVE or RMDIR. */
  async remove(procedure: number, directory: Uint8Array, name: string) {
    const { status, body } = await this.call(procedure, (out) => out.opaque(directory).opaque(text(name)));
    return { status, wcc: getWcc(body) };
  }

  async list(directory: Uint8Array, isPlus: boolean, cookie = new Uint8Array(8), resultBytes = 4096) {
    const body = await this.ok(isPlus ? Nfs3.READDIRPLUS : Nfs3.READDIR, (out) => {
      out.opaque(directory).fixed(cookie).fixed(new Uint8Array(8)).u32(resultBytes);
      if (isPlus) out.u32(resultBytes);
    });
    const result = getReadDirectoryResult(body, isPlus);
    return {
      ...result,
      entries: result.entries.map((each) => ({ ...each, name: textOf(each.name), cookie: Uint8Array.from(each.cookie) })),
    };
  }

  /** Every name of a directory, by as many calls as it takes. */
  async names(directory: Uint8Array, isPlus = false, resultBytes = 4096): Promise<string[]> {
    const names: string[] = [];
    for (let cookie = new Uint8Array(8); ; ) {
      const { entries, isEnd } = await this.list(directory, isPlus, cookie, resultBytes);
      names.push(...entries.map(({ name }) => name));
      if (isEnd) return names;
      expect(entries.length).toBeGreaterThan(0);
      cookie = (entries.at(-1) as { cookie: Uint8Array<ArrayBuffer> }).cookie;
    }
  }
}

export function writeArguments(handle: Uint8Array, offsetBytes: number, data: Uint8Array, stable: number): (out: XdrWriter) => void {
  return (out) => void out.opaque(handle).u64(offsetBytes).u32(data.length).u32(stable).opaque(data);
}

export interface Served {
  readonly kernel: Kernel;
  readonly server: NfsServer;
  readonly port: number;
  connect(credentials?: Credentials): Promise<NfsClient>;
  /** Ends all of it; nothing may be left. */
  close(): Promise<void>;
}

/** A kernel with memfs at `/`, exported as `/` with root let in, unless told otherwise. */
export async function serve(
  options: Partial<NfsServerOptions> & { memory?: string; tree?: string; clock?: MovedClock } = {},
): Promise<Served> {
  const { memory = '8MiB', tree = 'memfs:2MiB', clock, ...rest } = options;
  const plugins = [host, hostTransports, memfs, ...(clock === undefined ? [] : [clock.plugin()])];
  const kernel = await Kernel.boot({ memory, plugins });
  await kernel.mount(tree, '/');
  return { ...(await serveKernel(kernel, rest)), close: () => shutDown(kernel) };
}

export async function serveKernel(kernel: Kernel, options: Partial<NfsServerOptions>): Promise<Omit<Served, 'close'>> {
  const server = await NfsServer.listen(kernel, {
    address: '127.0.0.1:0',
    exports: { '/': { tree: '/', squash: 'none' } },
    ...options,
  });
  const { address } = server;
  const port = address.kind === 'tcp' ? address.port : 0;
  const connect = async (credentials = ROOT): Promise<NfsClient> => {
    const client = new NfsClient(await RpcClient.connect(port));
    client.credentials = credentials;
    return client;
  };
  return { kernel, server, port, connect };
}

async function shutDown(kernel: Kernel): Promise<void> {
  expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] });
}
