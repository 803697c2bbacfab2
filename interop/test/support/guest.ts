/**
 * A real Linux kernel as a peer: Debian's cloud kernel in QEMU, with a root filesystem in memory that holds busybox, the modules and programs a
 * test names, and its script.
 *
 *     describeWith([...GUEST_PEERS, 'mount.nfs'], 'the Linux kernel', () => {
 *       it('mounts', { timeout: … }, async () => {
 *         const guest = await Guest.start({ modules: ['nfsv3'], programs: ['mount.nfs'], script: 'mount … && echo written; read _ && cat …' });
 *         await guest.until('written');
 *         guest.say('go on');
 *         const { code, console } = await guest.ended;
 *
 * The script runs under busybox's shell as root; its standard streams are the serial console, a line at a time both ways. Its network is eth0,
 * 10.0.2.15; 10.0.2.2 there is the loopback of this host. `ended` has the exit code of the script: the guest prints it last, and turns itself
 * off. KVM is used where it works (that /dev/kvm is there does not say so: inside some clouds it hangs), else the machine is emulated, ten times
 * slower: give time limits for that.
 */
import fs from 'node:fs';
import path from 'node:path';
import { CpioArchive } from './cpio.js';
import { guestKernel, type Peer, programOf } from './peers.js';
import { type Ended, run, RunningProcess, succeed, until } from './processes.js';
import { freshFile } from './sandbox.js';

/** What every guest needs; a group names more if its script runs more. */
export const GUEST_PEERS = ['qemu-system-x86_64', 'linux-image', 'busybox', 'modprobe'] as const satisfies readonly Peer[];

const NETWORK_MODULES = ['virtio_pci', 'virtio_net'];
const DISK_MODULES = ['virtio_pci', 'virtio_blk'];
const START_TIMEOUT_MS = 120_000;
/** A kernel that finds no root filesystem gives up within a second, if it runs at all. */
const KVM_PROBE_MS = 3_000;
const EXIT_LINE = /^guest: the script ended with (\d+)\r?$/m;
const READY_LINE = 'guest: ready';

export interface GuestOptions {
  /** Modules of the kernel, loaded in this order, each after what it needs: `nfsv3`, `nbd`, `raid1`. */
  readonly modules?: readonly string[];
  /** Programs that busybox does not have, with their libraries. */
  readonly programs?: readonly Peer[];
  /** Other files, by their path in the guest. */
  readonly files?: Readonly<Record<string, Uint8Array | string>>;
  /** Raw images of this host: /dev/vda, /dev/vdb … */
  readonly disks?: readonly string[];
  readonly script: string;
  /** Default 192. */
  readonly memoryMiB?: number;
  /** After this the machine is killed. */
  readonly timeoutMs: number;
}

export interface GuestEnded {
  /** The exit code of the script. */
  readonly code: number;
  /** Everything on the serial console. */
  readonly console: string;
}

/** A machine that is on, or was. */
export class Guest {
  /** @throws Error with what was on the console if the machine ended without an exit code, or was killed because its time was over. */
  readonly ended: Promise<GuestEnded>;
  readonly #process: RunningProcess;
  /** Where what was waited for last ends, on its console. */
  #seen = 0;

  private constructor(process: RunningProcess, timeoutMs: number) {
    this.#process = process;
    const timer = setTimeout(() => process.signalGroup('SIGKILL'), timeoutMs);
    this.ended = process.ended.then((ended) => {
      clearTimeout(timer);
      return resultOf(ended, timeoutMs);
    });
    this.ended.catch(() => {}); // who waits for a line learns it there
  }

  /** Switches a machine on; the script has begun. */
  static async start(options: GuestOptions): Promise<Guest> {
    const { disks = [], memoryMiB = 192, timeoutMs } = options;
    const initramfs = freshFile('initramfs', await rootFilesystem(options));
    const words = [
      ...machineWords(memoryMiB, (await isKvmUsable()) ? 'kvm' : 'tcg'),
      ...['-initrd', initramfs, '-netdev', 'user,id=n0', '-device', 'virtio-net-pci,netdev=n0,romfile='],
      ...disks.flatMap((disk) => ['-drive', `file=${disk.replaceAll(',', ',,')},format=raw,if=virtio`]),
    ];
    const guest = new Guest(new RunningProcess(programOf('qemu-system-x86_64'), words, null), timeoutMs);
    await guest.until(READY_LINE, START_TIMEOUT_MS);
    return guest;
  }

  /**
   * Waits for a line that begins with `text`, behind the one that was waited for before.
   * @returns the rest of the line. @throws Error with its console if the guest ends without it, or the time does.
   */
  async until(text: string, timeoutMs = START_TIMEOUT_MS): Promise<string> {
    let rest: string | null = null;
    try {
      await until(
        `the guest to say ${JSON.stringify(text)}`,
        () => {
          rest = this.#next(text);
          return rest !== null || this.#process.isOver;
        },
        timeoutMs,
      );
      if (rest === null) throw new Error(`the guest ended without saying ${JSON.stringify(text)}`);
    } catch (error) {
      const { stdout, stderr } = this.#process;
      throw new Error(`${(error as Error).message}; its console:\n${stdout}\n${stderr}`);
    }
    return rest;
  }

  /** The rest of the next line that begins with `text` and is whole, or null. */
  #next(text: string): string | null {
    const { stdout } = this.#process;
    const from = stdout.indexOf(`\n${text}`, this.#seen);
    const end = stdout.indexOf('\n', from + 1);
    if (from < 0 || end < 0) return null;
    this.#seen = end;
    return stdout.slice(from + 1 + text.length, end).trim();
  }

  /** Types a line: what `read` of the script gets. */
  say(line: string): void {
    this.#process.write(`${line}\n`);
  }

  /** Switches it off at once. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }
}

/** Runs a script in a machine of its own, to its end. */
export async function runGuest(options: GuestOptions): Promise<GuestEnded> {
  return (await Guest.start(options)).ended;
}

function resultOf({ signal, stdout, stderr }: Ended, timeoutMs: number): GuestEnded {
  const found = EXIT_LINE.exec(stdout);
  if (found !== null) return { code: Number(found[1]), console: stdout };
  const why = signal === 'SIGKILL' ? `was killed, at the latest after ${timeoutMs} ms` : 'ended without an exit code';
  throw new Error(`the guest ${why}; its console:\n${stdout}\n${stderr}`);
}

/** QEMU's words for a machine without devices but a serial console. */
function machineWords(memoryMiB: number, accelerator: 'kvm' | 'tcg'): string[] {
  return [
    ...['-accel', accelerator, '-cpu', 'max', '-m', String(memoryMiB), '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-serial', 'stdio', '-no-reboot', '-kernel', guestKernel()?.image ?? '', '-append', 'console=ttyS0 quiet panic=-1'],
  ];
}

let kvmProbe: Promise<boolean> | null = null;

/** Whether a kernel runs under KVM here as far as giving up for want of a root filesystem. */
function isKvmUsable(): Promise<boolean> {
  kvmProbe ??= probeKvm();
  return kvmProbe;
}

async function probeKvm(): Promise<boolean> {
  try {
    fs.accessSync('/dev/kvm', fs.constants.R_OK | fs.constants.W_OK);
  } catch {
    return false;
  }
  const { code } = await run(programOf('qemu-system-x86_64'), machineWords(128, 'kvm'), { timeoutMs: KVM_PROBE_MS });
  return code === 0;
}

async function rootFilesystem({ modules = [], programs = [], files = {}, disks = [], script }: GuestOptions): Promise<Buffer> {
  const archive = new CpioArchive();
  archive.directory('/proc').directory('/sys').directory('/tmp', 0o1777).directory('/run').directory('/mnt').directory('/etc');
  archive.characterDevice('/dev/console', 5, 1);
  archive.file('/bin/busybox', fs.readFileSync(programOf('busybox')));
  for (const peer of programs) await addProgram(archive, programOf(peer));
  const wanted = [...NETWORK_MODULES, ...(disks.length > 0 ? DISK_MODULES : []), ...modules];
  const loads: string[] = [];
  for (const { file, parameters } of await moduleFiles(wanted)) {
    archive.file(file, fs.readFileSync(file), 0o644);
    loads.push(`insmod ${file} ${parameters}`);
  }
  for (const [name, content] of Object.entries(files)) archive.file(name, content);
  archive.file('/script', `${script}\n`);
  archive.file('/init', initScript(loads));
  return archive.end();
}

function initScript(loads: readonly string[]): string {
  return `#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/
/bin/busybox mkdir -p /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
${loads.join('\n')}
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
stty -echo
echo
echo '${READY_LINE}'
sh /script
code=$?
echo
echo "guest: the script ended with $code"
poweroff -f
`;
}

/** A program and the libraries it is linked with, each where it is here. */
async function addProgram(archive: CpioArchive, program: string): Promise<void> {
  archive.file(path.join('/sbin', path.basename(program)), fs.readFileSync(program));
  const linked = await succeed('ldd', [program]);
  for (const [, library] of linked.matchAll(/(\/\S+) \(0x[0-9a-f]+\)/g)) archive.file(library, fs.readFileSync(library));
}

interface ModuleFile {
  readonly file: string;
  readonly parameters: string;
}

/** The files of modules and of what they need, in the order in which they are to be loaded. */
async function moduleFiles(modules: readonly string[]): Promise<ModuleFile[]> {
  const version = guestKernel()?.version ?? '';
  const found = new Map<string, ModuleFile>();
  for (const module of modules) {
    const listed = await succeed(programOf('modprobe'), ['-S', version, '--show-depends', module]);
    for (const [, file, parameters] of listed.matchAll(/^insmod (\S+) ?(.*)$/gm)) found.set(file, { file, parameters });
  }
  return [...found.values()];
}
