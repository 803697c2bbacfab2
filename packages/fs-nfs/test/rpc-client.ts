/** A client of RPC made of a bare TCP socket and the codecs: it sends what it is told, well formed or not, and gives replies by xid. */
import net from 'node:net';
import { AcceptStatus, AuthFlavor, type Credentials, LAST_FRAGMENT, NOBODY, putCall, XdrReader, XdrWriter } from '@tidemark/fs-nfs';

export const ROOT: Credentials = { flavor: AuthFlavor.SYS, uid: 0, gid: 0, groups: [] };
export function user(uid: number, gid = uid, ...groups: number[]): Credentials {
  return { flavor: AuthFlavor.SYS, uid, gid, groups };
}

const MACHINE_NAME = new TextEncoder().encode('test');
const SCRATCH = new Uint8Array(1 << 20);

/** One reply: its message behind the record mark. */
export interface RawReply {
  readonly xid: number;
  readonly bytes: Buffer;
}

export class RpcClient {
  readonly #waiting = new Map<number, (reply: RawReply) => void>();
  readonly #closers: ((why: Error) => void)[] = [];
  #received: Buffer[] = [];
  #nrReceived = 0;
  isClosed = false;
  nextXid = 1000;
  /** Replies that nobody waited for. */
  readonly stray: RawReply[] = [];

  private constructor(readonly socket: net.Socket) {
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      for (const closer of this.#closers.splice(0)) closer(new Error('the connection was closed'));
    });
  }

  static async connect(port: number): Promise<RpcClient> {
    const socket = net.connect({ port, host: '127.0.0.1' });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RpcClient(socket);
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#nrReceived += chunk.length;
    for (;;) {
      if (this.#nrReceived < 4) return;
      let all = Buffer.concat(this.#received);
      const length = all.readUInt32BE(0) - LAST_FRAGMENT;
      if (length < 0) throw new Error('a reply in several fragments');
      if (all.length < 4 + length) {
        this.#received = [all];
        return;
      }
      const bytes = Buffer.from(all.subarray(4, 4 + length));
      all = all.subarray(4 + length);
      this.#received = [all];
      this.#nrReceived = all.length;
      const reply = { xid: bytes.readUInt32BE(0), bytes };
      const waiter = this.#waiting.get(reply.xid);
      this.#waiting.delete(reply.xid);
      if (waiter === undefined) this.stray.push(reply);
      else waiter(reply);
    }
  }

  /** The reply to a call that was sent. */
  reply(xid: number): Promise<RawReply> {
    return new Promise((resolve, reject) => {
      if (this.isClosed) reject(new Error('the connection was closed'));
      this.#waiting.set(xid, resolve);
      this.#closers.push(reject);
    });
  }

  closed(): Promise<void> {
    return new Promise((resolve) => (this.isClosed ? resolve() : this.socket.once('close', () => resolve())));
  }

  /** Sends a message as one record, in fragments of given sizes; the rest is the last one. */
  send(message: Uint8Array, ...fragments: number[]): void {
    const parts: Uint8Array[] = [];
    let at = 0;
    for (const size of [...fragments, message.length]) {
      const part = message.subarray(at, at + size);
      at += part.length;
      const isLast = parts.length / 2 === fragments.length;
      const head = Buffer.alloc(4);
      head.writeUInt32BE((isLast ? LAST_FRAGMENT : 0) + part.length);
      parts.push(head, part);
    }
    this.socket.write(Buffer.concat(parts));
  }

  /** Calls, and gives the body of a reply that says success. */
  async call(
    program: number,
    version: number,
    procedure: number,
    credentials: Credentials,
    write: (out: XdrWriter) => void,
  ): Promise<XdrReader> {
    const xid = this.nextXid++;
    const replied = this.reply(xid);
    this.send(message({ xid, program, version, procedure }, credentials, write));
    return successOf(await replied);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** The bytes of a call. */
export function message(
  head: { xid: number; program: number; version: number; procedure: number },
  credentials: Credentials = NOBODY,
  write: (out: XdrWriter) => void = () => {},
): Uint8Array {
  const out = new XdrWriter().reset(SCRATCH);
  putCall(out, head, credentials, MACHINE_NAME);
  write(out);
  return out.written().slice();
}

/** The results of a reply that was accepted and says success. */
export function successOf({ bytes }: RawReply): XdrReader {
  const input = new XdrReader().reset(bytes);
  input.skip(4);
  const words = [input.u32(), input.u32(), input.u32(), input.u32(), input.u32()];
  if (words.join() !== `1,0,0,0,${AcceptStatus.SUCCESS}`) throw new Error(`the call was refused: ${words.join()}`);
  return input;
}

/** The words of a reply behind its xid. */
export function wordsOf({ bytes }: RawReply): number[] {
  return Array.from({ length: (bytes.length - 4) / 4 }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
}
