/** What programs name as a swap area: a block device, a file by its path, an open file, a file handle; and what the swap subsystem gets. */
import { errorFrom, KernelError } from '../base/errno.js';
import { BlockDevice } from '../block/block-device.js';
import { OpenFlag } from '../vfs/mode.js';
import { type HandleOfFile, OPEN_FILE, OpenFile } from '../vfs/open-file.js';
import { nameOfFile } from '../vfs/pinned-files.js';
import { run } from '../vfs/steps.js';
import type { Kernel } from './kernel.js';
import type { SwapAreaInfo, SwapOnOptions, SwapSubsystem } from './swap-subsystem.js';

/** A device; the absolute path of a file, or the name of an area; a file. */
export type SwapTarget = BlockDevice | string | HandleOfFile | OpenFile;

/** @throws KernelError as `Kernel.swapOn`. */
export async function swapOnTarget(kernel: Kernel, swap: SwapSubsystem, target: SwapTarget, options: SwapOnOptions): Promise<SwapAreaInfo> {
  if (typeof target !== 'string') {
    const backing = backingOf(target);
    return swap.swapOn(backing, options, nameOf(backing));
  }
  const file = await openFile(kernel, target);
  try {
    return await swap.swapOn(file, options, target);
  } finally {
    file.release(); // its pin keeps it
  }
}

/** The name of the area on a target. @throws KernelError EINVAL for what is none. */
export function nameOfTarget(target: SwapTarget): string {
  return typeof target === 'string' ? target : nameOf(backingOf(target));
}

function nameOf(backing: BlockDevice | OpenFile): string {
  return backing instanceof BlockDevice ? backing.name : nameOfFile(backing.inode);
}

function backingOf(target: BlockDevice | HandleOfFile | OpenFile): BlockDevice | OpenFile {
  if (target instanceof BlockDevice || target instanceof OpenFile) return target;
  const file = typeof target === 'object' && target !== null ? (target as { readonly [OPEN_FILE]?: unknown })[OPEN_FILE] : null;
  if (file instanceof OpenFile) return file;
  throw new KernelError('EINVAL', 'a swap area is on a block device, or in a file given by its path or open');
}

async function openFile(kernel: Kernel, path: string): Promise<OpenFile> {
  kernel.requireRunning(`swap on ${path}`);
  if (!path.startsWith('/'))
    throw new KernelError(
      'EINVAL',
      `swap on ${JSON.stringify(path)}: no absolute path; a device is opened by kernel.openBlockDevice first`,
    );
  const file = await run(kernel.vfs.open(kernel.vfs.caller(), path, OpenFlag.READ_WRITE, 0));
  if (typeof file === 'number') throw errorFrom(file, `swap on ${path}`);
  return file;
}
