/**
 * Before a mount: where the server's programs listen, and the handle of the export. Each question has a connection of its own, one after the
 * other, over the memory that the mount's second connection has later; so it takes none beside.
 */
import { Errno, encodeUtf8, errorFrom, KernelError, type NegErrno, type TaskContext } from '@tidemark/core';
import { tcpAddress } from '@tidemark/net';
import { errnoOfMountStatus, getMounted, MountStatus } from '../protocol/mount3.js';
import { MOUNT_PATH_BYTES_MAX, MOUNT_PROGRAM, MOUNT_VERSION, Mount3, NFS_PROGRAM, NFS_VERSION } from '../protocol/nfs3-constants.js';
import { getPort, PORTMAP_PROGRAM, PORTMAP_VERSION, Portmap, putGetPort } from '../protocol/portmap.js';
import type { CallSpec } from '../rpc/rpc-call.js';
import { AuthFlavor } from '../rpc/rpc-message.js';
import type { NfsTarget } from './url.js';

/** Makes one call over a connection of its own. */
export type CallOnce = <T extends object>(task: TaskContext, port: number, spec: CallSpec<T>, timeoutMs: number) => Promise<T | NegErrno>;

/** How long each question may take. */
const TIMEOUT_MS = 30_000;
/** Taking leave is a courtesy. */
const UNMOUNT_TIMEOUT_MS = 1_000;
const NOTHING = {};

/** Where a server is, and what it exports. */
export interface MountedAt {
  readonly handle: Uint8Array;
  readonly nfsPort: number;
  readonly mountPort: number;
}

/** The port of a program. @throws KernelError EPROTONOSUPPORT if the server does not have it. */
async function portOf(
  task: TaskContext,
  target: NfsTarget,
  once: CallOnce,
  program: number,
  version: number,
  what: string,
): Promise<number> {
  const answer = await once(
    task,
    target.portmapPort,
    {
      program: PORTMAP_PROGRAM,
      version: PORTMAP_VERSION,
      procedure: Portmap.GETPORT,
      put: (out) => putGetPort(out, program, version),
      get: (input) => ({ port: getPort(input) }),
    },
    TIMEOUT_MS,
  );
  if (typeof answer === 'number') throw errorFrom(answer, `${target.name}: the portmapper of ${target.host} does not say where ${what} is`);
  if (answer.port === 0) throw new KernelError('EPROTONOSUPPORT', `${target.name}: ${target.host} has no ${what} over TCP`);
  return answer.port;
}

/**
 * Asks for the handle of an export.
 * @throws KernelError naming the mount: ENOENT, EACCES, ENOTDIR and others as the mount daemon says; EPROTONOSUPPORT; EPROTO; ECONNREFUSED and
 * others of `Transport.connect`.
 */
export async function askForMount(task: TaskContext, target: NfsTarget, once: CallOnce): Promise<MountedAt> {
  const path = encodeUtf8(target.exportPath);
  if (path.length > MOUNT_PATH_BYTES_MAX)
    throw new KernelError('ENAMETOOLONG', `${target.name}: the path has ${path.length} bytes; ${MOUNT_PATH_BYTES_MAX} are the most`);
  const mountPort = target.mountPort ?? (await portOf(task, target, once, MOUNT_PROGRAM, MOUNT_VERSION, 'mount daemon'));
  const nfsPort = target.nfsPort ?? (await portOf(task, target, once, NFS_PROGRAM, NFS_VERSION, 'NFS 3'));
  const answer = await once(
    task,
    mountPort,
    {
      program: MOUNT_PROGRAM,
      version: MOUNT_VERSION,
      procedure: Mount3.MNT,
      put: (out) => out.opaque(path),
      get: (input) => {
        const status = input.u32();
        const isOk = status === MountStatus.OK;
        const { handle, flavors } = isOk ? getMounted(input) : { handle: path, flavors: [] };
        return { status: errnoOfMountStatus(status), handle: handle.slice(), flavors };
      },
    },
    TIMEOUT_MS,
  );
  if (typeof answer === 'number') throw errorFrom(answer, `${target.name}: the mount daemon does not answer`);
  const { status, handle, flavors } = answer;
  if (status < 0) throw errorFrom(status, `${target.name}: the server refuses the mount`);
  if (handle.length === 0) throw new KernelError('EPROTO', `${target.name}: the server gives an empty handle`);
  if (flavors.length > 0 && !flavors.includes(AuthFlavor.SYS))
    throw new KernelError('EACCES', `${target.name}: the server does not take AUTH_SYS, but ${flavors.join(', ')}`);
  return { handle, nfsPort, mountPort };
}

/** Tells the mount daemon that the mount is over. It need not hear it. */
export async function sayUnmounted(task: TaskContext, target: NfsTarget, once: CallOnce, mountPort: number): Promise<void> {
  const path = encodeUtf8(target.exportPath);
  await once(
    task,
    mountPort,
    { program: MOUNT_PROGRAM, version: MOUNT_VERSION, procedure: Mount3.UMNT, put: (out) => out.opaque(path), get: () => NOTHING },
    UNMOUNT_TIMEOUT_MS,
  ).catch(() => -Errno.EIO);
}

/** The address of a port of the server. */
export function addressOf(target: NfsTarget, port: number): ReturnType<typeof tcpAddress> {
  return tcpAddress(target.host, port);
}
