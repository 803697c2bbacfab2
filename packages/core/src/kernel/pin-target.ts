/** What programs name to have it pinned (M14): a block device, a file by its path, an open file, a file handle; and what its user gets. */
import { errorFrom, KernelError } from '../base/errno.js';
import { BlockDevice } from '../block/block-device.js';
import { OpenFlag } from '../vfs/mode.js';
import { type HandleOfFile, OPEN_FILE, OpenFile } from '../vfs/open-file.js';
import { nameOfFile } from '../vfs/pinned-files.js';
import { run } from '../vfs/steps.js';
import type { Kernel } from './kernel.js';

/** A device; the absolute path of a file; a file, open for reading and writing. */
export type PinTarget = BlockDevice | string | HandleOfFile | OpenFile;

/** What hooks claim. */
export type PinBacking = BlockDevice | OpenFile;

/**
 * Does `work` with what a target is. A file that is opened for it is closed afterwards: its pin keeps it.
 * @throws KernelError EINVAL for what is no target; ENOENT, EACCES and the like for a path.
 */
export async function withBacking<T>(
  kernel: Kernel,
  target: PinTarget,
  doing: string,
  work: (backing: PinBacking, name: string) => Promise<T>,
): Promise<T> {
  if (typeof target !== 'string') {
    const backing = backingOf(target, doing);
    return work(backing, nameOf(backing));
  }
  const file = await openFile(kernel, target, doing);
  try {
    return await work(file, target);
  } finally {
    file.release();
  }
}

/** The name of what a target is. @throws KernelError EINVAL for what is none. */
export function nameOfTarget(target: PinTarget, doing: string): string {
  return typeof target === 'string' ? target : nameOf(backingOf(target, doing));
}

function nameOf(backing: PinBacking): string {
  return backing instanceof BlockDevice ? backing.name : nameOfFile(backing.inode);
}

function backingOf(target: BlockDevice | HandleOfFile | OpenFile, doing: string): PinBacking {
  if (target instanceof BlockDevice || target instanceof OpenFile) return target;
  const file = typeof target === 'object' && target !== null ? (target as { readonly [OPEN_FILE]?: unknown })[OPEN_FILE] : null;
  if (file instanceof OpenFile) return file;
  throw new KernelError('EINVAL', `${doing}: want a block device, or a file given by its path or open`);
}

async function openFile(kernel: Kernel, path: string, doing: string): Promise<OpenFile> {
  kernel.requireRunning(`${doing} ${path}`);
  if (!path.startsWith('/'))
    throw new KernelError(
      'EINVAL',
      `${doing} ${JSON.stringify(path)}: no absolute path; a device is opened by kernel.openBlockDevice first`,
    );
  const file = await run(kernel.vfs.open(kernel.vfs.caller(), path, OpenFlag.READ_WRITE, 0));
  if (typeof file === 'number') throw errorFrom(file, `${doing} ${path}`);
  return file;
}
