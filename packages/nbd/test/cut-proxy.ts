/** A wire between a client and a server that is cut after so many bytes, once; later connections are whole. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseUri } from '@tidemark/nbd';

export interface Cut {
  /** Which way the bytes are counted. */
  readonly direction: 'to-server' | 'to-client';
  readonly afterBytes: number;
}

export class CutProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  nrConnections = 0;
  nrCuts = 0;

  private constructor(
    private readonly uri: string,
    /** Cut of each connection in turn; those beyond are whole. */
    private readonly cuts: (Cut | null)[],
  ) {
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#join(client));
  }

  static async start(uri: string, cuts: (Cut | null)[]): Promise<CutProxy> {
    const proxy = new CutProxy(uri, cuts);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get clientUri(): string {
    return `nbd://127.0.0.1:${(this.#server.address() as { port: number }).port}/`;
  }

  #join(client: Socket): void {
    const cut = this.cuts[this.nrConnections++] ?? null;
    const { address } = parseUri(this.uri);
    const server = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
    const both = [client, server];
    const end = (): void => {
      for (const socket of both) socket.destroy();
    };
    for (const socket of both) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        end();
      });
      socket.on('end', end);
    }
    const forward = (from: Socket, to: Socket, limit: number): void => {
      let left = limit;
      from.on('data', (chunk: Buffer) => {
        if (chunk.length < left) {
          left -= chunk.length;
          to.write(chunk);
          return;
        }
        this.nrCuts++;
        const rest = chunk.subarray(0, left);
        left = 0;
        from.pause();
        to.write(rest, () => to.end(() => setImmediate(end))); // what was let through does arrive
      });
    };
    forward(client, server, cut?.direction === 'to-server' ? cut.afterBytes : Number.POSITIVE_INFINITY);
    forward(server, client, cut?.direction === 'to-client' ? cut.afterBytes : Number.POSITIVE_INFINITY);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
