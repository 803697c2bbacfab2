/**
 * The control socket of a server that has arrays: a unix socket that only its owner may use, one request a connection (requests.ts). What a
 * client that went away has asked for goes on.
 */
import fs from 'node:fs';
import net from 'node:net';
import { errnoName, errnoOf, isKernelError, KernelError } from '@tidemark/core';
import { removeDeadSocket } from '@tidemark/net/host';
import { attempt } from '../host-error.js';
import { factsOf, perform, type Running, type Tell } from './perform.js';
import { LINE_BYTES_MAX, type MdAnswer, type MdRequest, parseRequest } from './requests.js';
import { controlPath } from './words.js';

const CONNECTIONS_MAX = 16;
/** Time that a client has to say what it wants. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Arrays by the word they were opened by. */
export type Arrays = ReadonlyMap<string, Running>;

export class ControlServer {
  readonly #sockets = new Set<net.Socket>();

  private constructor(
    private readonly server: net.Server,
    private readonly arrays: Arrays,
  ) {
    server.maxConnections = CONNECTIONS_MAX;
    server.on('connection', (socket) => this.#serve(socket));
  }

  /** Listens. A socket file whose server died is replaced. @throws KernelError EADDRINUSE, and what the host says. */
  static async listen(word: string, arrays: Arrays): Promise<ControlServer> {
    const path = controlPath(word);
    if (fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined) await removeDeadSocket(path);
    const server = net.createServer({ allowHalfOpen: true });
    const control = new ControlServer(server, arrays);
    const before = process.umask(0o177); // nobody else may connect, not even for a moment
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(path, () => resolve());
      });
    } catch (error) {
      attempt(`listen on ${word}`, () => {
        throw error;
      });
    } finally {
      process.umask(before);
    }
    server.on('error', () => {}); // one connection that could not be accepted
    return control;
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket);
    let heard = Buffer.alloc(0);
    const timer = setTimeout(() => socket.destroy(), REQUEST_TIMEOUT_MS);
    const giveUp = (): void => void socket.destroy();
    const hear = (bytes: Buffer): void => {
      heard = Buffer.concat([heard, bytes]);
      const end = heard.indexOf('\n');
      if (end < 0 && heard.length <= LINE_BYTES_MAX) return;
      clearTimeout(timer);
      socket.off('data', hear);
      socket.off('end', giveUp);
      socket.resume(); // nothing more is listened to
      void this.#answer(socket, heard.toString('utf8', 0, Math.max(end, 0)));
    };
    socket.on('data', hear);
    socket.on('end', giveUp);
    socket.on('error', giveUp);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
  }

  async #answer(socket: net.Socket, line: string): Promise<void> {
    const say = (value: unknown): void => {
      if (socket.writable) socket.write(`${JSON.stringify(value)}\n`);
    };
    try {
      const request = parseRequest(line);
      say({ answer: await this.#perform(request, (progress) => void (socket.writableNeedDrain || say({ progress }))) });
    } catch (error) {
      say({ error: { code: errnoName(errnoOf(error)), message: isKernelError(error) ? error.message : String(error) } });
    }
    socket.end();
  }

  #perform(request: MdRequest, tell: Tell): Promise<MdAnswer> {
    if (request.verb === 'status' && request.array === null) {
      return Promise.resolve({ arrays: [...this.arrays.values()].map(factsOf), members: [], sync: null });
    }
    return perform(this.#arrayNamed(request.array), request, tell);
  }

  #arrayNamed(word: string | null): Running {
    const found = word === null ? [...this.arrays.values()] : [...this.arrays].filter((each) => isNamed(each, word)).map(([, one]) => one);
    if (found.length === 1) return found[0];
    const names = [...this.arrays.keys()].join(', ');
    throw word === null
      ? new KernelError('EINVAL', `there are several arrays; say which: ${names}`)
      : new KernelError('ENODEV', `no array ${word} is served here; there is ${names}`);
  }

  /** Stops listening, and lets go of clients. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

function isNamed([word, { raid }]: [string, Running], asked: string): boolean {
  return word === asked || raid.info().name === asked || raid.info().name === `md:${asked}`;
}
