/** What `tidemark serve nfs` does; its words are in serve-command.ts. Loaded for this verb only, with the filesystems. */
import { isIP } from 'node:net';
import { isKernelError } from '@tidemark/core';
import { NfsServer } from '@tidemark/fs-nfs';
import { formatAddress, parseAddress, type SocketAddress } from '@tidemark/net';
import { parseTreeFile } from './files/file-word.js';
import { type Mounted, mountTree, takeDown } from './files/trees.js';
import { handleKeyOf } from './handle-key.js';
import { JobFailed, untilStopped, UsageError } from './outcome.js';

const DRAIN_TIMEOUT_MS = 10_000;

/** The options of the verb. */
export interface NfsWords {
  listen: string;
  mountPort?: number;
  export: string;
  readOnly?: true;
  squash: 'root' | 'all' | 'none';
  hosts?: string;
  handleKey?: string;
  memory: number;
  json?: true;
}

/** Serves a tree until a signal comes. @throws UsageError, KernelError (what cannot be mounted or served), JobFailed, Stalled. */
export async function serveNfs(word: string, options: NfsWords): Promise<void> {
  const { tree, path } = parseTreeFile(word);
  const address = parseAddress(options.listen);
  if (address.kind !== 'tcp') throw new UsageError(`--listen ${JSON.stringify(options.listen)}: NFS clients come by HOST:PORT`);
  const hosts = options.hosts === undefined ? undefined : hostsOf(options.hosts);
  const handleKey = handleKeyOf(options.handleKey);
  const { readOnly = false, squash } = options;
  const stopped = untilStopped();
  const mounted = await mountTree(tree ?? '', options.memory, readOnly);
  const failures: unknown[] = [];
  try {
    const server = await NfsServer.listen(mounted.kernel, {
      address: formatAddress(address),
      ...(options.mountPort === undefined ? {} : { mountPort: options.mountPort }),
      exports: { [options.export]: { tree: path, readOnly, squash, ...(hosts === undefined ? {} : { hosts }) } },
      handleKey,
    });
    const uri = uriOf(server, options.export);
    const served = { path: options.export, uri, tree: word, readOnly, squash, hosts: hosts ?? [] };
    process.stdout.write(options.json ? `${JSON.stringify({ listening: uri, exports: [served] })}\n` : `listening ${uri}\n`);
    if (!options.json) process.stderr.write(`${JSON.stringify(options.export)}: ${word}${readOnly ? ', read-only' : ''}\n`);
    await Promise.race([stopped, mounted.stall]);
    await drain(server, mounted);
  } catch (error) {
    failures.push(error);
  }
  failures.push(...(await takeDown(mounted)));
  if (failures.length > 0) throw failures[0];
}

/** Answers what was asked for and makes stable what was written. @throws JobFailed if that could not be done. */
async function drain(server: NfsServer, { stall }: Mounted): Promise<void> {
  try {
    await Promise.race([server.close({ timeoutMs: DRAIN_TIMEOUT_MS }), stall]);
  } catch (error) {
    throw isKernelError(error) ? new JobFailed(error.message, { cause: error }) : error;
  }
}

function hostsOf(words: string): string[] {
  const hosts = words.split(',').map((host) => host.trim());
  for (const host of hosts)
    if (isIP(host) === 0) throw new UsageError(`--hosts ${JSON.stringify(words)}: ${JSON.stringify(host)} is no address of a host`);
  return hosts;
}

/** The URI in the form of libnfs. */
function uriOf({ address, mountAddress }: NfsServer, path: string): string {
  const [nfs, mount] = [address, mountAddress].map(portOf);
  const host = address.kind === 'tcp' && address.host.includes(':') ? `[${address.host}]` : address.kind === 'tcp' ? address.host : '';
  return `nfs://${host}${encodeURI(path)}?nfsport=${nfs}&mountport=${mount}`;
}

function portOf(address: SocketAddress): number {
  return address.kind === 'tcp' ? address.port : 0;
}
