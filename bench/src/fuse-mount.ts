/** Our FUSE mount of an ext3 in a file against fuse2fs on the same kind of file: writing and reading in order, making small files. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Bench, compare, type Row, round } from './harness.js';
import { outputOf, TIDEMARK } from './peers.js';

const DISK = '1GiB';
const FILE_MIB = 192;
const NR_FILES = 500;
const FILE_BYTES = 4096;
const FEWEST_PAIRS = 7;
/** Makes files in a directory and prints how many a second. Run as a process of its own, as whatever touches a mount. */
const MAKE_FILES = `
const fs = require('node:fs');
const [directory, count, size] = process.argv.slice(1);
const data = Buffer.alloc(Number(size), 1);
fs.mkdirSync(directory);
const start = performance.now();
for (let i = 0; i < count; i++) {
  const fd = fs.openSync(directory + '/' + i, 'wx');
  fs.writeSync(fd, data);
  fs.closeSync(fd);
}
console.log((count * 1e3) / (performance.now() - start));
fs.rmSync(directory, { recursive: true });
`;

const JOBS = [
  { what: `write of ${FILE_MIB} MiB in order, and fsync`, limit: 2, unit: 'MiB/s', speed: writeSpeed },
  { what: `read of ${FILE_MIB} MiB in order`, limit: 0.5, unit: 'MiB/s', speed: readSpeed },
  { what: 'files of 4 KiB made', limit: 0.7, unit: '/s', speed: createSpeed },
] as const;

export const fuseMount: Bench = {
  name: 'fuse',
  async *run(): AsyncGenerator<Row> {
    const why = obstacle();
    const rowOf = ({ what, limit }: (typeof JOBS)[number]): Row => ({
      bench: 'fuse',
      what: `${what}, FUSE mount of ext3 ÷ fuse2fs`,
      unit: '×',
      target: { relation: '≥', limit },
    });
    if (why !== null) {
      for (const job of JOBS) yield { ...rowOf(job), note: why };
      return;
    }
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-bench-'));
    const mounts: Mount[] = [];
    try {
      const ours = await Mount.start(folder, 'ours', (disk, at) => [process.execPath, [TIDEMARK, 'mount', `ext3:${disk}`, at]]);
      mounts.push(ours);
      const peer = await Mount.start(folder, 'peer', (disk, at) => ['fuse2fs', [disk, at, '-f', '-o', 'rw']]);
      mounts.push(peer);
      for (const job of JOBS) {
        const result = await compare(
          () => job.speed(ours.directory),
          () => job.speed(peer.directory),
          FEWEST_PAIRS,
        );
        const shown = (speed: number): string => `${round(speed)} ${job.unit}`;
        yield { ...rowOf(job), ...result, ours: shown(result.ours), peer: shown(result.peer), note: peerVersion() };
      }
    } finally {
      for (const mount of mounts) await mount.stop();
      fs.rmSync(folder, { recursive: true });
    }
  },
};

function obstacle(): string | null {
  if (process.geteuid?.() !== 0 || !fs.existsSync('/dev/fuse')) return 'needs root and /dev/fuse';
  return spawnSync('fuse2fs', ['--help']).error === undefined ? null : 'fuse2fs is not installed';
}

function peerVersion(): string {
  const { stdout, stderr } = spawnSync('fuse2fs', ['-V'], { encoding: 'utf8' });
  return /fuse2fs [\d.]+/.exec(`${stdout}${stderr}`)?.[0] ?? 'fuse2fs';
}

class Mount {
  private constructor(
    readonly directory: string,
    readonly child: ChildProcess,
  ) {}

  static async start(folder: string, name: string, commandOf: (disk: string, at: string) => [string, string[]]): Promise<Mount> {
    const disk = path.join(folder, `${name}.img`);
    const directory = path.join(folder, name);
    fs.mkdirSync(directory);
    execFileSync(process.execPath, [TIDEMARK, 'mkfs', 'ext3', disk, '--size', DISK]);
    const [command, words] = commandOf(disk, directory);
    const child = spawn(command, words, { stdio: 'ignore' });
    for (let nrTries = 0; !fs.readFileSync('/proc/mounts', 'utf8').includes(directory); nrTries++) {
      if (nrTries === 1500 || child.exitCode !== null) throw new Error(`${command} did not mount ${directory}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return new Mount(directory, child);
  }

  async stop(): Promise<void> {
    const ended = this.child.exitCode === null ? once(this.child, 'exit') : null;
    spawnSync('umount', [this.directory]);
    await ended;
  }
}

/** MiB a second. */
async function timedDd(...words: string[]): Promise<number> {
  const start = performance.now();
  await outputOf('dd', ['bs=1M', 'status=none', ...words]);
  return (FILE_MIB * 1e3) / (performance.now() - start);
}

async function writeSpeed(directory: string): Promise<number> {
  const file = path.join(directory, 'file');
  await outputOf('rm', ['-f', file]);
  return timedDd('if=/dev/zero', `of=${file}`, `count=${FILE_MIB}`, 'conv=fsync');
}

/** The operating system's own copy is dropped first. */
async function readSpeed(directory: string): Promise<number> {
  const file = path.join(directory, 'file');
  await outputOf('dd', ['status=none', `if=${file}`, 'iflag=nocache', 'count=0']);
  return timedDd(`if=${file}`, 'of=/dev/null');
}

async function createSpeed(directory: string): Promise<number> {
  const words = ['-e', MAKE_FILES, path.join(directory, 'files'), `${NR_FILES}`, `${FILE_BYTES}`];
  return Number(await outputOf(process.execPath, words));
}
