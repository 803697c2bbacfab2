/** Two kernels on loopback sockets: one with memfs and a server, one that mounts what it serves at `/`. */
import { definePlugin, FILE_SYSTEM, type FileSystemType, KERNEL, Kernel, type MountOptions, type Plugin } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import type { NfsServerOptions } from '@tidemark/fs-nfs';
import { hostTransports } from '@tidemark/net/host';
import { expect } from 'vitest';
import { mountNfs } from '../src/client/mount.js';
import type { NfsVolume } from '../src/client/volume.js';
import { type Served, serve } from './server-fixture.js';

/** The nfs plugin, and what it has mounted last. */
export function watchedNfs(): { plugin: Plugin; volume: () => NfsVolume } {
  let last: NfsVolume | null = null;
  const plugin = definePlugin({
    name: 'nfs',
    register(container) {
      container.register(FILE_SYSTEM, {
        useFactory: (c): FileSystemType => ({
          schemes: ['nfs'],
          mount: async (task, source, options) => (last = await mountNfs(c.resolve(KERNEL), task, source, options)),
        }),
      });
    },
  });
  return { plugin, volume: () => last as NfsVolume };
}

export interface Mounted {
  readonly kernel: Kernel;
  readonly fs: Kernel['fs']['promises'];
  readonly volume: NfsVolume;
  close(): Promise<void>;
}

/** Another kernel that mounts what is served. */
export async function mountServed(
  port: number,
  options: MountOptions & { memory?: string; at?: string; path?: string } = {},
): Promise<Mounted> {
  const { memory = '8MiB', at = '/', path = '/', ...rest } = options;
  const { plugin, volume } = watchedNfs();
  const kernel = await Kernel.boot({ memory, plugins: [host, hostTransports, plugin] });
  await kernel.mount(`nfs://127.0.0.1${path}?nfsport=${port}&mountport=${port}`, at, rest);
  return {
    kernel,
    fs: kernel.fs.promises,
    volume: volume(),
    close: async () => expect(await kernel.shutdown()).toEqual({ leakedFrames: 0, leakedTimers: 0, problems: [] }),
  };
}

export interface Pair extends Mounted {
  readonly server: Served;
}

/** A server and its client. */
export async function servedAndMounted(
  options: { server?: Partial<NfsServerOptions> & { memory?: string; tree?: string }; mount?: Parameters<typeof mountServed>[1] } = {},
): Promise<Pair> {
  const server = await serve({ memory: '16MiB', tree: 'memfs:8MiB', ...options.server });
  const mounted = await mountServed(server.port, options.mount);
  return {
    ...mounted,
    server,
    close: async () => {
      await mounted.close();
      await server.close();
    },
  };
}
