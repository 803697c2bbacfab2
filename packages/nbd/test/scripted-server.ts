/** An NBD server that can be made to misbehave: its greeting, its answers to options, and its replies are what the test says. */
import { createServer, type Server, type Socket } from 'node:net';

export interface Request {
  readonly flags: number;
  readonly command: number;
  readonly cookie: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly payload: Buffer;
}

export interface Script {
  /** Bytes of the export. */
  sizeBytes: number;
  flags: number;
  /** Null for a server that tells no block sizes. */
  blockSizes: { min: number; preferred: number; max: number } | null;
  knowsGo: boolean;
  /** The greeting; the default is a correct one. */
  greeting?: Buffer;
  /** Raw answer to GO, instead of the correct one. */
  goAnswer?: Buffer;
  /** Answers a request; the default serves `bytes`. */
  onRequest?(request: Request, socket: Socket, server: ScriptedServer): void;
  /** Called when transmission begins. */
  onTransmission?(socket: Socket): void;
}

export class ScriptedServer {
  readonly script: Script;
  readonly bytes: Buffer;
  readonly requests: Request[] = [];
  nrConnections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(script: Partial<Script>) {
    this.script = { sizeBytes: 65536, flags: 0b0110_1101, blockSizes: { min: 1, preferred: 4096, max: 2 ** 25 }, knowsGo: true, ...script };
    this.bytes = Buffer.alloc(Math.min(this.script.sizeBytes, 2 ** 20));
    this.#server = createServer((socket) => void this.#serve(socket));
  }

  static async start(script: Partial<Script> = {}): Promise<ScriptedServer> {
    const server = new ScriptedServer(script);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get uri(): string {
    return `nbd://127.0.0.1:${(this.#server.address() as { port: number }).port}/disk`;
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(socket: Socket): Promise<void> {
    this.nrConnections++;
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    const iterator = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    let buffered = Buffer.alloc(0);
    const read = async (length: number): Promise<Buffer> => {
      while (buffered.length < length) {
        const { value, done } = await iterator.next();
        if (done === true) throw new Error('the client closed');
        buffered = Buffer.concat([buffered, value]);
      }
      const bytes = buffered.subarray(0, length);
      buffered = buffered.subarray(length);
      return bytes;
    };
    try {
      socket.write(this.script.greeting ?? Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1'));
      const noZeroes = ((await read(4)).readUInt32BE(0) & 2) !== 0;
      while (!(await this.#option(socket, read, noZeroes)));
      this.script.onTransmission?.(socket);
      for (;;) {
        const header = await read(28);
        const command = header.readUInt16BE(6);
        const length = header.readUInt32BE(24);
        const request = {
          flags: header.readUInt16BE(4),
          command,
          cookie: Buffer.from(header.subarray(8, 16)),
          offset: Number(header.readBigUInt64BE(16)),
          length,
          payload: command === 1 ? Buffer.from(await read(length)) : Buffer.alloc(0),
        };
        if (header.readUInt32BE(0) !== 0x25609513) throw new Error('the client sent no request');
        this.requests.push(request);
        if (command === 2) break;
        (this.script.onRequest ?? serve)(request, socket, this);
      }
    } catch {
      // a client that closes in the middle of something is what many tests are about
    }
    socket.end();
  }

  /** @returns true when transmission begins. */
  async #option(socket: Socket, read: (length: number) => Promise<Buffer>, noZeroes: boolean): Promise<boolean> {
    const header = await read(16);
    const option = header.readUInt32BE(8);
    await read(header.readUInt32BE(12));
    const { sizeBytes, flags, blockSizes, knowsGo, goAnswer } = this.script;
    if (option === 1) {
      const answer = Buffer.alloc(noZeroes ? 10 : 134);
      answer.writeBigUInt64BE(BigInt(sizeBytes));
      answer.writeUInt16BE(flags, 8);
      socket.write(answer);
      return true;
    }
    if (option !== 7 || !knowsGo) {
      socket.write(optionReply(option, 0x80000001));
      return false;
    }
    if (goAnswer !== undefined) {
      socket.write(goAnswer);
      return true;
    }
    const info = Buffer.alloc(12);
    info.writeBigUInt64BE(BigInt(sizeBytes), 2);
    info.writeUInt16BE(flags, 10);
    const replies = [optionReply(7, 3, info)];
    if (blockSizes !== null) replies.push(blockSizeReply(blockSizes));
    replies.push(optionReply(7, 1));
    socket.write(Buffer.concat(replies));
    return true;
  }
}

export function blockSizeReply({ min, preferred, max }: { min: number; preferred: number; max: number }): Buffer {
  const block = Buffer.alloc(14);
  block.writeUInt16BE(3);
  block.writeUInt32BE(min, 2);
  block.writeUInt32BE(preferred, 6);
  block.writeUInt32BE(max, 10);
  return optionReply(7, 3, block);
}

export function optionReply(option: number, type: number, data = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt32BE(0x0003e889);
  header.writeUInt32BE(0x045565a9, 4);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(data.length, 16);
  return Buffer.concat([header, data]);
}

export function simpleReply(cookie: Uint8Array, error = 0, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(0x67446698);
  header.writeUInt32BE(error, 4);
  header.set(cookie, 8);
  return Buffer.concat([header, data]);
}

/** Does what was asked, and makes the reply. */
export function answerTo(request: Request, server: ScriptedServer): Buffer {
  const { command, offset, length, payload, cookie } = request;
  if (command === 0) return simpleReply(cookie, 0, Buffer.from(server.bytes.subarray(offset, offset + length)));
  if (command === 1) server.bytes.set(payload, offset);
  if (command === 4 || command === 6)
    server.bytes.fill(0, Math.min(offset, server.bytes.length), Math.min(offset + length, server.bytes.length));
  return simpleReply(cookie);
}

export function serve(request: Request, socket: Socket, server: ScriptedServer): void {
  socket.write(answerTo(request, server));
}
