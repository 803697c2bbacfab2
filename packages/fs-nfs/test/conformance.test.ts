/** The conformance suite of `@tidemark/testkit` on the client, over a server that exports memfs from another kernel; in virtual time. */
import { CLOCK, definePlugin, Kernel, type Kernel as AnyKernel, RANDOM, SCHEDULER } from '@tidemark/core';
import { nfs, NfsServer } from '@tidemark/fs-nfs';
import { memfs } from '@tidemark/testkit';
import { describeFileSystem, type FileSystemSubject } from '@tidemark/testkit/conformance';
import { describe, it } from 'vitest';
import { pipeTransport } from './support/pipe-transport.js';

const servers = new WeakMap<AnyKernel, string>();
let nrServers = 0;

/** A kernel beside the one of a case, with its time and its randomness, that serves an empty tree. @returns the host's name. */
async function serverFor(kernel: AnyKernel): Promise<string> {
  const known = servers.get(kernel);
  if (known !== undefined) return known;
  const name = `server-${++nrServers}`;
  servers.set(kernel, name);
  const host = definePlugin({
    name: 'the same host',
    register(container) {
      container.register(CLOCK, { useValue: kernel.clock });
      container.register(SCHEDULER, { useValue: kernel.scheduler });
      container.register(RANDOM, { useValue: kernel.random });
    },
  });
  const server = await Kernel.boot({ name, memory: '16MiB', plugins: [host, pipeTransport, memfs] });
  await server.mount('memfs:2MiB', '/');
  await NfsServer.listen(server, { address: `${name}:2049`, exports: { '/': { tree: '/', squash: 'none' } } });
  return name;
}

const subject: FileSystemSubject = {
  name: 'NFS',
  plugins: [nfs, pipeTransport],
  create: async ({ kernel }) => void (await kernel.mount(`nfs://${await serverFor(kernel)}/?nfsport=2049`, '/')),
  supports: { hardLinks: true, symlinks: true, specialFiles: true, pinnedFiles: true },
};

describeFileSystem(subject, { describe, it });
