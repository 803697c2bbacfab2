/**
 * nfs-ganesha with its VFS backend on a folder of its own, on ports of its own, on the loopback. It registers with rpcbind or does not start, so one
 * is started if none is there; both want root.
 */
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { programOf } from './peers.js';
import { RunningProcess } from './processes.js';
import { freshAddress, freshPath } from './sandbox.js';

const START_TIMEOUT_MS = 60_000;
const RPCBIND_PORT = 111;

/** Why ganesha cannot run here, or null. */
export function ganeshaObstacle(): string | null {
  return process.getuid?.() === 0 ? null : 'ganesha wants root, for handles of files and for rpcbind';
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ port, host: '127.0.0.1' });
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
}

async function untilListening(port: number, started: RunningProcess, log: () => string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await listens(port))) {
    if (started.isOver || Date.now() > deadline)
      throw new Error(`${started.command} does not listen at ${port}: ${started.stderr}\n${log()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Ganesha {
  /** The folder it exports, and what it is called there. */
  readonly folder: string;
  readonly #configuration: string;
  readonly #log: string;
  #process: RunningProcess | null = null;

  private constructor(
    readonly nfsPort: number,
    readonly mountPort: number,
  ) {
    const base = freshPath('ganesha');
    this.folder = path.join(base, 'export');
    fs.mkdirSync(this.folder, { recursive: true });
    fs.mkdirSync(path.join(base, 'recovery'));
    this.#log = path.join(base, 'log');
    this.#configuration = path.join(base, 'ganesha.conf');
    fs.writeFileSync(
      this.#configuration,
      `NFS_CORE_PARAM { NFS_Port = ${nfsPort}; MNT_Port = ${mountPort}; Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; Bind_addr = 127.0.0.1; }
NFSv4 { RecoveryRoot = ${path.join(base, 'recovery')}; Grace_Period = 2; Lease_Lifetime = 2; }
EXPORT { Export_Id = 77; Path = ${this.folder}; Pseudo = /export; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP; FSAL { Name = VFS; } }
`,
    );
  }

  /** Starts rpcbind, if there is none, and ganesha. */
  static async start(): Promise<Ganesha> {
    if (!(await listens(RPCBIND_PORT))) {
      const rpcbind = new RunningProcess(programOf('rpcbind'), ['-f']);
      await untilListening(RPCBIND_PORT, rpcbind, () => '');
    }
    const [nfs, mount] = [await freshAddress('tcp'), await freshAddress('tcp')];
    if (nfs.kind !== 'tcp' || mount.kind !== 'tcp') throw new Error('no ports');
    const ganesha = new Ganesha(nfs.port, mount.port);
    await ganesha.run();
    return ganesha;
  }

  /** Starts it again after `kill`, at the same ports. */
  async run(): Promise<void> {
    const words = ['-F', '-f', this.#configuration, '-L', this.#log, '-p', `${this.#log}.pid`, '-N', 'EVENT'];
    const started = new RunningProcess(programOf('ganesha.nfsd'), words);
    this.#process = started;
    await untilListening(this.nfsPort, started, () => (fs.existsSync(this.#log) ? fs.readFileSync(this.#log, 'utf8').slice(-2_000) : ''));
  }

  /** Ends it at once: what it had not made stable, it may have lost. */
  async kill(): Promise<void> {
    await this.#process?.kill();
    this.#process = null;
  }

  get source(): string {
    return `nfs://127.0.0.1${this.folder}?nfsport=${this.nfsPort}&mountport=${this.mountPort}`;
  }
}
