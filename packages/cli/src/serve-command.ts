/**
 * `tidemark serve nbd` exports block devices, `tidemark serve nfs` (serve-nfs.ts) a tree, until it is told to stop.
 *
 * Each prints `listening URI` when ready and stays in the foreground. SIGTERM, SIGINT and SIGHUP drain: what was asked for is answered, devices
 * are flushed and closed, exit 0.
 */
import { type BlockDevice, formatSize, Kernel } from '@tidemark/core';
import { host } from '@tidemark/core/host';
import { NbdServer } from '@tidemark/nbd';
import { nbd } from '@tidemark/nbd/host';
import type { Command } from 'commander';
import { choiceOption, countOption, namedDevices, pathOption, sizeOption } from './grammar.js';
import { untilStopped, UsageError } from './outcome.js';
import type { NfsWords } from './serve-nfs.js';

const EXAMPLES = `
Examples:
  tidemark serve nbd disk.img                                   # the default export, on 127.0.0.1:10809
  tidemark serve nbd mem:1GiB --export scratch --listen 127.0.0.1:0
  tidemark serve nbd a=a.img b=b.img --listen unix:/run/nbd.sock --read-only
  tidemark serve nbd md:a.img,b.img --control unix:/run/md.sock  # and: tidemark md status --control unix:/run/md.sock

--json prints one object when ready, with the keys listening (the URI of the first device) and exports (a list of name, uri, device, sizeBytes, readOnly).`;

const NFS_EXAMPLES = `
Examples:
  tidemark serve nfs ext3:disk.img                              # as /, on 127.0.0.1:2049
  tidemark serve nfs memfs:64MiB --listen 127.0.0.1:0 --export /scratch --squash none
  tidemark serve nfs ext3:disk.img::/home --export /home --read-only --hosts 192.0.2.7,192.0.2.8 --listen 0.0.0.0:2049
  mount -t nfs -o vers=3,tcp,nolock,port=2049,mountport=2049,mountproto=tcp 127.0.0.1:/ /mnt
  nfs-ls 'nfs://127.0.0.1/?nfsport=2049&mountport=2049'

TREE may be a directory of one: TREE::/path. Locks are not served: clients mount with nolock. What clients hold names files by handles sealed with a
key; they stay good over restarts as long as that is the same. It is made once, and kept in nfs-handle-key below $XDG_STATE_HOME/tidemark or
~/.local/state/tidemark, or where --handle-key says.

--json prints one object when ready, with the keys listening (the URI) and exports (a list of path, uri, tree, readOnly, squash, hosts).`;

const PORT_MAX = 65_535;
const DRAIN_TIMEOUT_MS = 10_000;

interface Words {
  listen: string;
  export: string;
  readOnly?: true;
  bitmap?: string;
  degraded?: true;
  control?: string;
  memory: number;
  json?: true;
}

/** Adds the verb. */
export function serveCommand(program: Command): void {
  const serve = program.command('serve').description('Serve block devices to others');
  serve
    .command('nbd')
    .description('Export devices over NBD')
    .argument('<device...>', '[NAME=]DEVICE: mem:SIZE, file:PATH or a bare PATH, nbd://HOST:PORT/EXPORT, md:DEVICE,DEVICE…')
    .option('--listen <address>', 'HOST:PORT, :PORT (loopback) or unix:PATH; port 0 takes a free one', '127.0.0.1:10809')
    .option('--export <name>', 'name of the device that is given without NAME=', '')
    .option('--read-only', 'refuse writes; the devices are opened read-only')
    .option('--bitmap <device>', 'of an array: the file that its bitmap is in')
    .option('--degraded', 'arrays are started with members missing, too')
    .option('--control <address>', 'unix:PATH, where tidemark md reaches the arrays that are served')
    .addOption(sizeOption('--memory', 'page memory of the kernel that serves', 128 * 2 ** 20))
    .option('--json', 'print what is served as one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(serveNbd);
  serve
    .command('nfs')
    .description('Export a tree over NFS version 3')
    .argument('<tree>', 'ext3:DEVICE, memfs:SIZE; or a directory of it, TREE::/path')
    .option('--listen <address>', 'HOST:PORT, or :PORT (loopback); port 0 takes a free one', '127.0.0.1:2049')
    .option('--mount-port <n>', 'port of the MOUNT program (default: the one of NFS)', countOption('--mount-port', PORT_MAX))
    .option('--export <path>', 'the path that clients mount', '/')
    .option('--read-only', 'refuse changes; the tree is mounted read-only')
    .option('--squash <who>', 'who is taken for nobody: root, all or none', choiceOption('--squash', ['root', 'all', 'none']), 'root')
    .option('--hosts <addresses>', 'addresses of the hosts that may use it, with commas (default: all)')
    .option('--handle-key <file>', '16 secret bytes that handles are sealed with; made if it is missing', pathOption('--handle-key'))
    .addOption(sizeOption('--memory', 'page memory of the kernel that serves', 128 * 2 ** 20))
    .option('--json', 'print what is served as one JSON object')
    .addHelpText('after', NFS_EXAMPLES)
    .action(async (word: string, options: NfsWords) => (await import('./serve-nfs.js')).serveNfs(word, options));
}

async function serveNbd(words: string[], options: Words): Promise<void> {
  const named = namedDevices(words, options.export);
  const readOnly = options.readOnly ?? false;
  const arrays = named.filter(({ device }) => /^md:/i.test(device));
  const { bitmap, degraded, control } = options;
  if (bitmap !== undefined && arrays.length !== 1) throw new UsageError(`--bitmap is for one array, and ${arrays.length} are to be served`);
  // Loaded for arrays only: nobody else should hold it in memory.
  const md = arrays.length === 0 && control === undefined ? null : await import('./md/served-arrays.js');
  const stopped = untilStopped();
  const kernel = await Kernel.boot({ memory: options.memory, plugins: md === null ? [host, nbd] : [host, nbd, md.md], name: 'serve' });
  let controlServer: { close(): Promise<void> } | null = null;
  try {
    const bitmapFile = bitmap === undefined ? undefined : await kernel.openBlockDevice(bitmap);
    const exports = new Map<string, BlockDevice>();
    for (const { name, device } of named)
      exports.set(name, await kernel.openBlockDevice(device, { readOnly, ...(/^md:/i.test(device) ? { degraded, bitmapFile } : {}) }));
    if (md !== null && control !== undefined) controlServer = await md.control(kernel, control, named, exports);
    const server = await NbdServer.listen(kernel, { address: options.listen, exports, readOnly });
    const served = [...exports].map(([name, device]) => ({
      name,
      uri: server.uriOf(name),
      device: device.name,
      sizeBytes: device.sizeBytes,
      readOnly: readOnly || device.readOnly,
    }));
    const listening = server.uri;
    process.stdout.write(options.json ? `${JSON.stringify({ listening, exports: served })}\n` : `listening ${listening}\n`);
    if (!options.json) {
      for (const one of served) {
        process.stderr.write(
          `${JSON.stringify(one.name)}: ${one.device}, ${formatSize(one.sizeBytes)}${one.readOnly ? ', read-only' : ''}\n`,
        );
      }
    }
    await stopped;
  } finally {
    await controlServer?.close();
    await kernel.shutdown({ timeoutMs: DRAIN_TIMEOUT_MS });
  }
}
