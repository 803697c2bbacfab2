/** A client made of a bare host socket: says exactly the bytes it is told to, and waits for exact bytes. */
import { connect, type Socket } from 'node:net';
import { parseUri } from '@tidemark/nbd';

export const REQUEST = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, WRITE_ZEROES: 6 } as const;

export class RawClient {
  readonly socket: Socket;
  #chunks: Buffer[] = [];
  #nrBuffered = 0;
  #wake: () => void = () => {};
  ended = false;

  private constructor(uri: string) {
    const { address } = parseUri(uri);
    this.socket = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
    this.socket.on('error', () => this.#finish());
    this.socket.on('close', () => this.#finish());
    this.socket.on('end', () => this.#finish());
    this.socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#nrBuffered += chunk.length;
      this.#wake();
    });
  }

  static async open(uri: string): Promise<RawClient> {
    const client = new RawClient(uri);
    await new Promise<void>((resolve, reject) => {
      client.socket.once('connect', resolve);
      client.socket.once('error', reject);
    });
    return client;
  }

  #finish(): void {
    this.ended = true;
    this.#wake();
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  async read(lengthBytes: number): Promise<Buffer> {
    while (this.#nrBuffered < lengthBytes) {
      if (this.ended) throw new Error(`the server closed after ${this.#nrBuffered} of ${lengthBytes} bytes`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const buffered = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#chunks = [buffered.subarray(lengthBytes)];
    this.#nrBuffered -= lengthBytes;
    return buffered.subarray(0, lengthBytes);
  }

  /** Waits until the server has closed. @returns what it sent before. */
  async untilClosed(): Promise<Buffer> {
    while (!this.ended) await new Promise<void>((resolve) => (this.#wake = resolve));
    return Buffer.concat(this.#chunks);
  }

  /** The greeting, and the answer to it. */
  async greet(flags = 3): Promise<void> {
    const greeting = await this.read(18);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT' || greeting.readUInt16BE(16) !== 3) throw new Error('no NBD greeting');
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags);
    this.send(answer);
  }

  option(option: number, data: Uint8Array = Buffer.alloc(0)): void {
    const header = Buffer.alloc(16);
    header.write('IHAVEOPT', 'latin1');
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(data.length, 12);
    this.send(header, data);
  }

  async optionReply(): Promise<{ option: number; type: number; data: Buffer }> {
    const header = await this.read(20);
    if (header.readUInt32BE(0) !== 0x0003e889 || header.readUInt32BE(4) !== 0x045565a9) throw new Error('no option reply');
    return { option: header.readUInt32BE(8), type: header.readUInt32BE(12), data: await this.read(header.readUInt32BE(16)) };
  }

  /** GO with requests for information. @returns the replies up to the final one. */
  async go(name = '', requests: number[] = [3], option = 7): Promise<{ type: number; data: Buffer }[]> {
    this.option(option, goData(name, requests));
    const replies = [];
    for (;;) {
      const reply = await this.optionReply();
      replies.push(reply);
      if (reply.type !== 3) return replies;
    }
  }

  request(command: number, cookie: number, offsetBytes: number | bigint, lengthBytes: number, flags = 0, payload?: Uint8Array): void {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(0x25609513, 0);
    header.writeUInt16BE(flags, 4);
    header.writeUInt16BE(command, 6);
    header.writeBigUInt64BE(BigInt(cookie), 8);
    header.writeBigUInt64BE(BigInt(offsetBytes), 16);
    header.writeUInt32BE(lengthBytes, 24);
    this.send(header, payload ?? Buffer.alloc(0));
  }

  /** A simple reply without data. */
  async reply(): Promise<{ error: number; cookie: number }> {
    const header = await this.read(16);
    if (header.readUInt32BE(0) !== 0x67446698) throw new Error('no simple reply');
    return { error: header.readUInt32BE(4), cookie: Number(header.readBigUInt64BE(8)) };
  }

  /** One chunk of a structured reply. */
  async chunk(): Promise<{ isLast: boolean; type: number; cookie: number; payload: Buffer }> {
    const header = await this.read(20);
    if (header.readUInt32BE(0) !== 0x668e33ef) throw new Error('no chunk');
    const payload = await this.read(header.readUInt32BE(16));
    return { isLast: header.readUInt16BE(4) === 1, type: header.readUInt16BE(6), cookie: Number(header.readBigUInt64BE(8)), payload };
  }

  /** The answer to one option, all its replies. */
  async optionReplies(): Promise<{ type: number; data: Buffer }[]> {
    const replies = [];
    for (;;) {
      const reply = await this.optionReply();
      replies.push(reply);
      if (reply.type !== 4) return replies;
    }
  }

  close(): void {
    this.socket.destroy();
  }
}

export function goData(name: string, requests: number[]): Buffer {
  const text = Buffer.from(name);
  const data = Buffer.alloc(6 + text.length + 2 * requests.length);
  data.writeUInt32BE(text.length);
  text.copy(data, 4);
  data.writeUInt16BE(requests.length, 4 + text.length);
  for (let i = 0; i < requests.length; i++) data.writeUInt16BE(requests[i], 6 + text.length + 2 * i);
  return data;
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function metaData(name: string, queries: string[]): Buffer {
  const text = (of: string): Buffer[] => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.byteLength(of));
    return [length, Buffer.from(of)];
  };
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length);
  return Buffer.concat([...text(name), count, ...queries.flatMap(text)]);
}
