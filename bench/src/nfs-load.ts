/** A load of NFS calls over one connection: the same call again and again, so many in flight, replies counted and their status looked at. */
import { once } from 'node:events';
import net from 'node:net';
import {
  AuthFlavor,
  type Credentials,
  getCreated,
  getMounted,
  LAST_FRAGMENT,
  MOUNT_PROGRAM,
  Mount3,
  NFS_PROGRAM,
  Nfs3,
  NO_CHANGE,
  putCall,
  putCreate,
  XdrReader,
  XdrWriter,
} from '@tidemark/fs-nfs';

const ROOT: Credentials = { flavor: AuthFlavor.SYS, uid: 0, gid: 0, groups: [] };
/** Fragment head, xid, reply, accepted, verifier, accept status. */
const STATUS_AT = 4 + 24;
const NO_NAME = new Uint8Array(0);
let nextXid = Math.floor(Math.random() * 2 ** 31);

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function message(program: number, procedure: number, write: (out: XdrWriter) => void): Uint8Array {
  const bytes = new Uint8Array(1 << 17);
  const out = new XdrWriter().reset(bytes, 0, bytes.length);
  putCall(out.u32(0), { xid: 1, program, version: 3, procedure }, ROOT, NO_NAME);
  write(out);
  out.patch(0, LAST_FRAGMENT + out.length - 4);
  return bytes.slice(0, out.length);
}

export class NfsLoad {
  readonly #socket: net.Socket;
  readonly #received: Uint8Array;
  #length = 0;
  #onReply: (reply: Uint8Array) => void = () => {};

  private constructor(socket: net.Socket, received: Uint8Array) {
    this.#socket = socket;
    this.#received = received;
  }

  static async connect(port: number): Promise<NfsLoad> {
    const received = new Uint8Array(1 << 20);
    const chunk = new Uint8Array(1 << 18);
    let load: NfsLoad | null = null;
    const onread = { buffer: chunk, callback: (n: number) => load?.take(chunk.subarray(0, n)) ?? true };
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true, onread });
    load = new NfsLoad(socket, received);
    await once(socket, 'connect');
    return load;
  }

  take(chunk: Uint8Array): true {
    this.#received.set(chunk, this.#length);
    this.#length += chunk.length;
    let at = 0;
    const view = new DataView(this.#received.buffer);
    while (this.#length - at >= 4) {
      const end = at + 4 + (view.getUint32(at) & 0x7fff_ffff);
      if (end > this.#length) break;
      this.#onReply(this.#received.subarray(at, end));
      at = end;
    }
    this.#received.copyWithin(0, at, this.#length);
    this.#length -= at;
    return true;
  }

  /** One call, with an xid of its own: servers keep the replies of changes, and would give the last one again. @returns what stands behind the status, which must be 0. */
  async #call(call: Uint8Array): Promise<XdrReader> {
    const reply = new Promise<Uint8Array>((resolve) => {
      this.#onReply = (bytes) => resolve(Uint8Array.from(bytes));
    });
    new DataView(call.buffer, call.byteOffset).setUint32(4, nextXid++);
    this.#socket.write(call);
    const bytes = await reply;
    const input = new XdrReader().reset(bytes, STATUS_AT, bytes.length);
    const status = input.u32();
    if (status !== 0) throw new Error(`the server answers with status ${status}`);
    return input;
  }

  /** The handle of an export; for a connection to the port of MOUNT. */
  async mount(exportPath: string): Promise<Uint8Array> {
    const body = await this.#call(message(MOUNT_PROGRAM, Mount3.MNT, (out) => out.opaque(bytesOf(exportPath))));
    return Uint8Array.from(getMounted(body).handle);
  }

  /** Makes a file of 4 KiB. @returns its handle. */
  async make(root: Uint8Array, name: string): Promise<Uint8Array> {
    const attributes = { ...NO_CHANGE, mode: 0o644 };
    const create = message(NFS_PROGRAM, Nfs3.CREATE, (out) =>
      putCreate(out, { directory: root, name: bytesOf(name), mode: 0, attributes, verifier: null }),
    );
    const handle = Uint8Array.from(getCreated(await this.#call(create)).handle as Uint8Array);
    const data = new Uint8Array(4096).fill(7);
    const FILE_SYNC = 2;
    await this.#call(message(NFS_PROGRAM, Nfs3.WRITE, (out) => out.opaque(handle).u64(0).u32(data.length).u32(FILE_SYNC).opaque(data)));
    return handle;
  }

  /** Gives a file another name. */
  async rename(root: Uint8Array, from: string, to: string): Promise<void> {
    await this.#call(message(NFS_PROGRAM, Nfs3.RENAME, (out) => out.opaque(root).opaque(bytesOf(from)).opaque(root).opaque(bytesOf(to))));
  }

  /** Calls a second: `count` calls of one kind, `depth` in flight. */
  async rate(call: Uint8Array, count: number, depth: number): Promise<number> {
    const start = performance.now();
    await new Promise<void>((resolve, reject) => {
      let nrSent = 0;
      let nrDone = 0;
      const send = (): void => {
        nrSent++;
        this.#socket.write(call);
      };
      this.#onReply = (reply) => {
        if (new DataView(reply.buffer, reply.byteOffset).getUint32(STATUS_AT) !== 0) reject(new Error('a call failed'));
        if (++nrDone === count) resolve();
        else if (nrSent < count) send();
      };
      this.#socket.cork();
      while (nrSent < Math.min(depth, count)) send();
      this.#socket.uncork();
    });
    return count / ((performance.now() - start) / 1e3);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** The calls that are measured, of a file under a root. */
export function callsOf(root: Uint8Array, file: Uint8Array, name: string): { readonly what: string; readonly call: Uint8Array }[] {
  const nfs = (procedure: number, write: (out: XdrWriter) => void): Uint8Array => message(NFS_PROGRAM, procedure, write);
  return [
    { what: 'GETATTR', call: nfs(Nfs3.GETATTR, (out) => out.opaque(file)) },
    { what: 'LOOKUP', call: nfs(Nfs3.LOOKUP, (out) => out.opaque(root).opaque(bytesOf(name))) },
    { what: 'READ 4 KiB', call: nfs(Nfs3.READ, (out) => out.opaque(file).u64(0).u32(4096)) },
  ];
}
