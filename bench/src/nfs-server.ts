/**
 * Our NFS server, of a filesystem in memory, against nfs-ganesha with its VFS backend on a tmpfs: copies by nfs-cp, streams by
 * our own client, and small calls in a pipeline.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { type Bench, compare, type Row, round } from './harness.js';
import { callsOf, NfsLoad } from './nfs-load.js';
import { NfsStream } from './nfs-streams.js';
import { ganeshaObstacle, type NfsServerProcess, startGanesha, startOurs, urlOf } from './nfs-servers.js';

const run = promisify(execFile);

const FILE_BYTES = 2 ** 27;
/** Page memory of our server: the tree is in it. */
const MEMORY_BYTES = 3 * 2 ** 28;
const NR_CALLS = 40_000;
const DEPTH = 16;
const FEWEST_PAIRS = 7;
const COPIES = ['in', 'out'] as const;
const STREAMS = ['write', 'read'] as const;
const CALLS = ['GETATTR', 'LOOKUP', 'READ 4 KiB'] as const;

export const nfsServer: Bench = {
  name: 'nfs',
  async *run(): AsyncGenerator<Row> {
    const peer = await startPeer();
    if (typeof peer === 'string') {
      for (const what of [...COPIES.map(copyName), ...STREAMS.map(streamName), ...CALLS.map(callName)])
        yield { ...row(this.name, what), note: peer };
      return;
    }
    const ours = await startOurs(3 * FILE_BYTES + 2 ** 24, MEMORY_BYTES);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-bench-'));
    try {
      yield* copies(this.name, ours, peer, folder);
      yield* streams(this.name, ours, peer);
      yield* calls(this.name, ours, peer);
    } finally {
      await ours.stop();
      await peer.stop();
      fs.rmSync(folder, { recursive: true });
    }
  },
};

/** nfs-ganesha, or why there is none. */
async function startPeer(): Promise<NfsServerProcess | string> {
  const obstacle = ganeshaObstacle();
  if (obstacle !== null) return obstacle;
  try {
    return await startGanesha();
  } catch (error) {
    return (error as Error).message;
  }
}

function row(bench: string, what: string): Row {
  return { bench, what, unit: '×', target: { relation: '≥', limit: 1 } };
}

function copyName(what: string): string {
  return `nfs-cp ${FILE_BYTES / 2 ** 20} MiB ${what}, NFS server ÷ ganesha on tmpfs`;
}

function streamName(what: string): string {
  return `${what} of ${FILE_BYTES / 2 ** 20} MiB by our client, NFS server ÷ ganesha on tmpfs`;
}

function callName(what: string): string {
  return `${what} × ${DEPTH}, NFS server ÷ ganesha on tmpfs`;
}

async function* copies(bench: string, ours: NfsServerProcess, peer: NfsServerProcess, folder: string): AsyncGenerator<Row> {
  const [us, them] = [await prepare(ours), await prepare(peer)];
  let nrOut = 0;
  const source = path.join(folder, 'source');
  fs.writeFileSync(source, '');
  fs.truncateSync(source, FILE_BYTES);
  try {
    for (const what of COPIES) {
      const copy = (server: NfsServerProcess) => async () => {
        const words = what === 'in' ? [source, urlOf(server, 'fresh')] : [urlOf(server, 'copy'), path.join(folder, `out-${nrOut++}`)];
        const start = performance.now();
        await run('nfs-cp', words);
        const speed = FILE_BYTES / 2 ** 20 / ((performance.now() - start) / 1e3);
        if (what === 'out') fs.unlinkSync(words[1]);
        else await (server === ours ? us : them).keepCopy();
        return speed;
      };
      const result = await compare(copy(ours), copy(peer), FEWEST_PAIRS);
      yield { ...row(bench, copyName(what)), ...result, ours: `${round(result.ours)} MiB/s`, peer: `${round(result.peer)} MiB/s` };
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    for (const what of COPIES) yield { ...row(bench, copyName(what)), note: 'nfs-cp is not installed' };
  } finally {
    us.load.close();
    them.load.close();
  }
}

async function* streams(bench: string, ours: NfsServerProcess, peer: NfsServerProcess): AsyncGenerator<Row> {
  const us = await NfsStream.mount(ours, FILE_BYTES);
  const them = await NfsStream.mount(peer, FILE_BYTES);
  for (const what of STREAMS) {
    const result = await compare(
      () => us[what](),
      () => them[what](),
      FEWEST_PAIRS,
    );
    yield { ...row(bench, streamName(what)), ...result, ours: `${round(result.ours)} MiB/s`, peer: `${round(result.peer)} MiB/s` };
  }
  await us.unmount();
  await them.unmount();
}

async function* calls(bench: string, ours: NfsServerProcess, peer: NfsServerProcess): AsyncGenerator<Row> {
  const [us, them] = [await prepare(ours), await prepare(peer)];
  for (const [i, what] of CALLS.entries()) {
    const rate =
      ({ load, calls: made }: typeof us) =>
      () =>
        load.rate(made[i].call, NR_CALLS, DEPTH);
    const result = await compare(rate(us), rate(them), FEWEST_PAIRS);
    yield { ...row(bench, callName(what)), ...result, ours: `${round(result.ours / 1e3)} k/s`, peer: `${round(result.peer / 1e3)} k/s` };
  }
  us.load.close();
  them.load.close();
}

async function prepare({ port, mountPort, exportPath }: NfsServerProcess) {
  const mounting = await NfsLoad.connect(mountPort);
  const root = await mounting.mount(exportPath);
  mounting.close();
  const load = await NfsLoad.connect(port);
  const name = 'small';
  /** nfs-cp makes its file, and fails if it is there: the one it has made takes the place of the last one. */
  const keepCopy = () => load.rename(root, 'fresh', 'copy');
  return { load, keepCopy, calls: callsOf(root, await load.make(root, name), name) };
}
