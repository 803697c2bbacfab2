/** A bare client of ONC RPC over TCP, for tests that send what no real client would: it frames messages, and hands replies on as they come. */
import net from 'node:net';
import { AuthFlavor, type Credentials, LAST_FRAGMENT, MOUNT_PROGRAM, NFS_PROGRAM, putCall, XdrReader, XdrWriter } from '@tidemark/fs-nfs';

const ROOT: Credentials = { flavor: AuthFlavor.SYS, uid: 0, gid: 0, groups: [0, 7] };
const MESSAGE_BYTES_MAX = 1 << 17;

/** A message as it stands behind its record mark. */
export function callMessage(xid: number, program: number, procedure: number, write: (out: XdrWriter) => void = () => {}): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES_MAX);
  const out = new XdrWriter().reset(bytes, 0, bytes.length);
  putCall(out, { xid, program, version: 3, procedure }, ROOT, new TextEncoder().encode('fuzz'));
  write(out);
  return bytes.subarray(0, out.length);
}

/** A record of one fragment. */
export function record(message: Uint8Array): Buffer {
  const mark = Buffer.alloc(4);
  mark.writeUInt32BE((LAST_FRAGMENT + message.length) >>> 0);
  return Buffer.concat([mark, message]);
}

/** One reply: its xid, and a reader behind it. */
export interface WireReply {
  readonly xid: number;
  readonly body: XdrReader;
}

export class NfsWire {
  #received: Buffer = Buffer.alloc(0);
  #onReply: (reply: WireReply) => void = () => {};
  #isClosed = false;
  readonly #closed: Promise<void>;

  private constructor(readonly socket: net.Socket) {
    socket.on('error', () => {});
    socket.on('data', (chunk) => this.#take(chunk));
    this.#closed = new Promise((resolve) =>
      socket.once('close', () => {
        this.#isClosed = true;
        resolve();
      }),
    );
  }

  static async connect(port: number): Promise<NfsWire> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new NfsWire(socket);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  onReply(take: (reply: WireReply) => void): void {
    this.#onReply = take;
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    let at = 0;
    while (this.#received.length - at >= 4) {
      const mark = this.#received.readUInt32BE(at);
      if (mark < LAST_FRAGMENT) throw new Error('a reply in several fragments');
      const end = at + 4 + (mark - LAST_FRAGMENT);
      if (end > this.#received.length) break;
      const body = new XdrReader().reset(this.#received, at + 4, end);
      at = end;
      this.#onReply({ xid: body.u32(), body });
    }
    this.#received = this.#received.subarray(at);
  }

  /** Sends messages, and a NULL with `xid` behind them. @returns false if the server has ended the connection instead of answering that. */
  async exchange(messages: readonly Uint8Array[], xid: number, take: (reply: WireReply) => void): Promise<boolean> {
    const answered = new Promise<boolean>((resolve, reject) => {
      this.#onReply = (reply) => {
        try {
          if (reply.xid === xid) resolve(true);
          else take(reply);
        } catch (error) {
          reject(error);
        }
      };
    });
    this.socket.write(Buffer.concat([...messages.map(record), record(callMessage(xid, NFS_PROGRAM, 0))]));
    return Promise.race([answered, this.#closed.then(() => false)]);
  }

  /** One call that must be accepted. @returns what stands behind the accept status. */
  async call(xid: number, program: number, procedure: number, write: (out: XdrWriter) => void = () => {}): Promise<XdrReader> {
    let found: XdrReader | null = null;
    const isAnswered = await this.exchange([callMessage(xid, program, procedure, write)], xid + 1, (reply) => {
      if (reply.xid === xid) found = copyOf(reply.body);
    });
    if (!isAnswered || found === null) throw new Error(`${program === MOUNT_PROGRAM ? 'MOUNT' : 'NFS'} ${procedure} was not answered`);
    const body = found as XdrReader;
    body.fixed(5 * 4); // REPLY, accepted, no verifier, SUCCESS
    return body;
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.#closed;
  }
}

function copyOf(reader: XdrReader): XdrReader {
  const bytes = Uint8Array.from(reader.fixed(reader.left));
  return new XdrReader().reset(bytes, 0, bytes.length);
}
