/** NFS servers as processes: ours on a filesystem in memory, nfs-ganesha with its VFS backend on a tmpfs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { TIDEMARK } from './peers.js';

const START_TIMEOUT_MS = 60_000;
const RPCBIND_PORT = 111;
const TMPFS = '/dev/shm';

export interface NfsServerProcess {
  readonly name: string;
  readonly port: number;
  readonly mountPort: number;
  /** What clients mount. */
  readonly exportPath: string;
  stop(): Promise<void>;
}

/** The URL of a path, in the form of libnfs. */
export function urlOf({ port, mountPort, exportPath }: NfsServerProcess, file: string): string {
  return `nfs://127.0.0.1${exportPath}/${file}?nfsport=${port}&mountport=${mountPort}`;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ port, host: '127.0.0.1' });
    probe.once('error', () => resolve(false));
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
  });
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await listens(port))) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`${child.spawnfile} does not listen at ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function freePort(): Promise<number> {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** `tidemark serve nfs` of a memfs of `treeBytes`. */
export async function startOurs(treeBytes: number, memoryBytes: number): Promise<NfsServerProcess> {
  const port = await freePort();
  const words = [`memfs:${treeBytes}`, '--memory', String(memoryBytes), '--listen', `127.0.0.1:${port}`, '--export', '/tree'];
  const child = spawn(process.execPath, [TIDEMARK, 'serve', 'nfs', ...words, '--squash', 'none'], { stdio: 'ignore' });
  await untilListening(port, child);
  return { name: 'tidemark', port, mountPort: port, exportPath: '/tree', stop: () => stop(child) };
}

/** Why nfs-ganesha cannot be compared with here, or null. */
export function ganeshaObstacle(): string | null {
  if (process.getuid?.() !== 0) return 'nfs-ganesha wants root, for handles of files and for rpcbind';
  if (!fs.existsSync(TMPFS)) return `there is no tmpfs at ${TMPFS}`;
  return null;
}

/** nfs-ganesha on a fresh folder of a tmpfs. It wants rpcbind, which is started if there is none. */
export async function startGanesha(): Promise<NfsServerProcess> {
  const children: ChildProcess[] = [];
  if (!(await listens(RPCBIND_PORT))) {
    const rpcbind = spawn('rpcbind', ['-f'], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
    children.push(rpcbind);
    await untilListening(RPCBIND_PORT, rpcbind);
  }
  const base = fs.mkdtempSync(path.join(TMPFS, 'tidemark-bench-'));
  const tree = path.join(base, 'tree');
  fs.mkdirSync(tree);
  fs.mkdirSync(path.join(base, 'recovery'));
  const [port, mountPort] = [await freePort(), await freePort()];
  const ports = `NFS_Port = ${port}; MNT_Port = ${mountPort}; Bind_addr = 127.0.0.1;`;
  fs.writeFileSync(
    path.join(base, 'conf'),
    `NFS_CORE_PARAM { ${ports} Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { RecoveryRoot = ${path.join(base, 'recovery')}; }
EXPORT { Export_Id = 77; Path = ${tree}; Pseudo = /tree; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP; FSAL { Name = VFS; } }
`,
  );
  const words = ['-F', '-f', path.join(base, 'conf'), '-L', path.join(base, 'log'), '-p', path.join(base, 'pid'), '-N', 'EVENT'];
  const ganesha = spawn('ganesha.nfsd', words, { stdio: 'ignore' });
  children.push(ganesha);
  const end = async (): Promise<void> => {
    for (const child of children.reverse()) await stop(child);
    fs.rmSync(base, { recursive: true, force: true });
  };
  try {
    await untilListening(port, ganesha);
  } catch (error) {
    await end();
    throw error;
  }
  return { name: 'ganesha', port, mountPort, exportPath: tree, stop: end };
}
