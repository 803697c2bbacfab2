/**
 * One writer for each image file.
 *
 * Node has no flock, and a lock file would stay behind after a crash. So the lock is an abstract unix socket that is bound and never
 * accepts: its name is the file's device and inode number, the host refuses to bind it twice, and it goes with the process whatever
 * happens to it. The name fills all 108 bytes, because Node versions differ in how they pad a shorter one.
 *
 * Limits. Elsewhere than on Linux there are no such sockets, and only this process is kept from opening a file twice. Containers with
 * network namespaces of their own do not see each other's locks; neither do two hosts that share a filesystem; programs other than
 * Tidemark do not ask.
 */
import { createServer, type Server } from 'node:net';
import { KernelError } from '../base/errno.js';

const SOCKET_NAME_LENGTH = 108;

/** Files this process writes, as `device:inode`. One table for all kernels of the process: that is its purpose. */
const held = new Set<string>();

/** The right to write a file. */
export interface FileLock {
  /** Gives it up; once. */
  release(): Promise<void>;
}

/** Takes the lock of the file with these numbers. @throws KernelError EBUSY naming `path` if it is taken. */
export async function lockFile(path: string, device: bigint, inode: bigint): Promise<FileLock> {
  const key = `${device}:${inode}`;
  if (held.has(key)) throw new KernelError('EBUSY', `cannot open ${path}: this process has it open for writing`);
  held.add(key);
  try {
    const socket = process.platform === 'linux' ? await bind(path, `\0tidemark-file-${key}`) : null;
    return {
      release: async () => {
        if (socket !== null) await new Promise<void>((resolve) => socket.close(() => resolve()));
        held.delete(key);
      },
    };
  } catch (cause) {
    held.delete(key);
    throw cause;
  }
}

function bind(path: string, name: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const socket = createServer((peer) => peer.destroy());
    socket.unref(); // holds the name, not the process
    socket.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'EADDRINUSE'
          ? new KernelError('EBUSY', `cannot open ${path}: another process has it open for writing`, { cause })
          : new KernelError('EIO', `cannot lock ${path}: ${cause.message}`, { cause }),
      );
    });
    socket.listen(name.padEnd(SOCKET_NAME_LENGTH, '\0'), () => resolve(socket));
  });
}
