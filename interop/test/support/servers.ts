/** NBD servers as processes: ours, nbdkit, qemu-nbd. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Ended, run, RunningProcess, until } from './processes.js';
import { programOf } from './peers.js';
import { type Address, freshAddress, isListening, uriOf } from './sandbox.js';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const COMMAND = path.join(ROOT, 'packages/cli/bin/tidemark.js');

/** The words that run the `tidemark` command. */
export function tidemarkWords(...words: string[]): string[] {
  if (!fs.existsSync(path.join(ROOT, 'packages/cli/dist/main.js')))
    throw new Error('these tests run the built command: npm run build first');
  return [COMMAND, ...words];
}

/** Runs the `tidemark` command to its end. */
export function tidemark(...words: string[]): Promise<Ended> {
  return run(process.execPath, tidemarkWords(...words));
}

/** A server that listens. */
export interface Server {
  readonly process: RunningProcess;
  readonly address: Address;
  /** The default export. */
  readonly uri: string;
}

async function listening(process: RunningProcess, address: Address): Promise<Server> {
  await until(`${process.command} to listen`, async () => {
    if (process.isOver) throw new Error(`${process.command} ended: ${(await process.ended).stderr}`);
    return isListening(address);
  });
  return { process, address, uri: uriOf(address) };
}

/** Starts `tidemark serve nbd` with `words`. */
export async function startTidemark(kind: Address['kind'], ...words: string[]): Promise<Server> {
  const address = await freshAddress(kind);
  const listen = address.kind === 'unix' ? `unix:${address.path}` : `127.0.0.1:${address.port}`;
  return listening(new RunningProcess(process.execPath, tidemarkWords('serve', 'nbd', '--listen', listen, ...words)), address);
}

/** Starts nbdkit with `words`: options, plugin, parameters. */
export async function startNbdkit(where: Address['kind'] | Address, ...words: string[]): Promise<Server> {
  const address = typeof where === 'string' ? await freshAddress(where) : where;
  const listen = address.kind === 'unix' ? ['--unix', address.path] : ['--ipaddr', '127.0.0.1', '--port', String(address.port)];
  if (address.kind === 'unix') fs.rmSync(address.path, { force: true }); // of one that was killed
  return listening(new RunningProcess(programOf('nbdkit'), ['--foreground', '--exit-with-parent', ...listen, ...words]), address);
}

/** Starts qemu-nbd on a raw image. */
export async function startQemuNbd(kind: Address['kind'], image: string, ...words: string[]): Promise<Server> {
  const address = await freshAddress(kind);
  const listen = address.kind === 'unix' ? ['--socket', address.path] : ['--bind', '127.0.0.1', '--port', String(address.port)];
  const fixed = ['--persistent', '--shared=16', '--format=raw', '--discard=unmap'];
  return listening(new RunningProcess(programOf('qemu-nbd'), [...fixed, ...listen, ...words, image]), address);
}
