/** Trees mounted on this host by the built command, each in a process of its own: so a test may touch files below it as any program does. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { describeWith, type Peer } from './peers.js';
import { RunningProcess, until } from './processes.js';
import { freshPath } from './sandbox.js';

export const TIDEMARK = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../packages/cli/bin/tidemark.js');

/** Directories something may be mounted on still, when the tests are over. */
const directories: string[] = [];

afterAll(() => {
  for (const directory of directories) spawnSync('umount', ['-l', directory]);
});

/** Why nothing can be mounted here, or null. */
function obstacle(): string | null {
  if (process.platform !== 'linux') return 'this is not Linux';
  if (process.geteuid?.() !== 0) return 'only root may mount';
  if (!fs.existsSync('/dev/fuse')) return 'there is no /dev/fuse';
  return fs.existsSync(path.join(path.dirname(TIDEMARK), '../dist/main.js')) ? null : 'the command is not built: npm run build';
}

/** A group of tests that mounts, and needs `peers`; skipped with the reason where that cannot be. */
export function describeMounting(peers: readonly Peer[], name: string, body: () => void): void {
  const why = obstacle();
  describeWith(peers, why === null ? name : `${name}: skipped, ${why}`, why === null ? body : () => {});
}

/** Runs the command to its end. @returns what it printed. */
export function tidemark(...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [TIDEMARK, ...words], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tidemark ${words.join(' ')} ended with ${status}: ${stderr}`);
  return stdout;
}

/** A mount by `tidemark mount`. */
export class HostMount {
  private constructor(
    readonly directory: string,
    readonly server: RunningProcess,
  ) {}

  static async open(tree: string, ...words: string[]): Promise<HostMount> {
    const directory = freshPath('mount');
    fs.mkdirSync(directory);
    directories.push(directory);
    return HostMount.on(directory, tree, ...words);
  }

  /** As `open`, on a directory that is there. */
  static async on(directory: string, tree: string, ...words: string[]): Promise<HostMount> {
    const server = new RunningProcess(process.execPath, [TIDEMARK, 'mount', tree, directory, ...words]);
    await until(`${tree} to be mounted (${server.stderr})`, () => server.stdout.includes('mounted') || server.isOver, 60_000);
    if (server.isOver) throw new Error(`tidemark mount ${tree} ended: ${(await server.ended).stderr}`);
    return new HostMount(directory, server);
  }

  at(...names: string[]): string {
    return path.join(this.directory, ...names);
  }

  /** Unmounts with umount(8), and waits for the server to end. @returns its exit code. */
  async unmount(): Promise<number | null> {
    const { status, stderr } = spawnSync('umount', [this.directory], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`umount: ${stderr}`);
    return (await this.server.ended).code;
  }

  /** Kills the server; what it had promised must be found by the next one. */
  async kill(): Promise<void> {
    await this.server.kill();
    spawnSync('umount', ['-l', this.directory]);
  }
}
