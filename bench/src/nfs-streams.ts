/** One large file over our own NFS client, against whatever serves it: written and made stable, and read again, from less memory than it has. */
import { Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { nfs } from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { type NfsServerProcess, urlOf } from './nfs-servers.js';

const MEMORY = '32MiB';
const CHUNK_BYTES = 2 ** 18;

export class NfsStream {
  private constructor(
    private readonly kernel: Kernel,
    private readonly fileBytes: number,
  ) {}

  static async mount(server: NfsServerProcess, fileBytes: number): Promise<NfsStream> {
    const kernel = await Kernel.boot({ memory: MEMORY, plugins: [host, hostTransports, nfs] });
    await kernel.mount(urlOf(server, '').replace('/?', '?'), '/');
    return new NfsStream(kernel, fileBytes);
  }

  /** MiB a second. */
  async write(): Promise<number> {
    const chunk = new Uint8Array(CHUNK_BYTES).fill(7);
    const file = await this.kernel.fs.promises.open('/stream', 'w');
    const start = performance.now();
    for (let at = 0; at < this.fileBytes; at += chunk.length) await file.write(chunk, 0, chunk.length, at);
    await file.sync();
    await file.close();
    return this.#speed(start);
  }

  /** MiB a second. What of the file is still in memory is less than a quarter of it. */
  async read(): Promise<number> {
    const chunk = new Uint8Array(CHUNK_BYTES);
    const file = await this.kernel.fs.promises.open('/stream', 'r');
    const start = performance.now();
    for (let at = 0; at < this.fileBytes; at += chunk.length) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
      if (bytesRead !== chunk.length) throw new Error(`${bytesRead} bytes at ${at}`);
    }
    await file.close();
    return this.#speed(start);
  }

  #speed(start: number): number {
    return this.fileBytes / 2 ** 20 / ((performance.now() - start) / 1e3);
  }

  async unmount(): Promise<void> {
    await this.kernel.shutdown();
  }
}
