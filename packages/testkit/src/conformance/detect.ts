/** What a mounted filesystem can do, found by trying: for programs, and for comparing with what it claims. */
import { AllocateMode, FileType, isKernelError, type Kernel, RenameFlag } from '@tidemark/core';
import { Files } from './files.js';
import type { FileSystemSupports } from './subject.js';

/** What can be found out by trying on a mounted filesystem. */
export type DetectedSupport = Required<
  Pick<FileSystemSupports, 'readOnly' | 'hardLinks' | 'symlinks' | 'specialFiles' | 'xattrs' | 'exchange' | 'punch' | 'pinnedFiles'>
>;

/**
 * Tries what a filesystem can do, in a directory of its own that is removed again.
 * @param at the directory it is mounted at.
 * @throws KernelError for what fails otherwise than by not being supported: ENOSPC, EIO.
 */
export async function detectSupport(kernel: Kernel, at: string): Promise<DetectedSupport> {
  const files = new Files(kernel);
  const top = `${at === '/' ? '' : at}/.tidemark-support`;
  const nothing = {
    hardLinks: false,
    symlinks: false,
    specialFiles: false,
    xattrs: false,
    exchange: false,
    punch: false,
    pinnedFiles: false,
  };
  if (!(await can(() => files.mkdir(top)))) return { readOnly: true, ...nothing };
  const cleanUp: (() => Promise<unknown>)[] = [() => files.rmdir(top)];
  const make = async (name: string, work: (path: string) => Promise<unknown>): Promise<boolean> => {
    const made = await can(() => work(`${top}/${name}`));
    if (made) cleanUp.push(() => files.unlink(`${top}/${name}`));
    return made;
  };
  await make('a', (path) => files.write(path, 0, new Uint8Array(8192).fill(1)));
  await make('b', (path) => files.create(path));
  const found: DetectedSupport = {
    readOnly: false,
    hardLinks: await make('hard', (path) => files.link(`${top}/a`, path)),
    symlinks: await make('soft', (path) => files.symlink('a', path)),
    specialFiles: await make('fifo', (path) => files.mknod(path, FileType.FIFO, 0)),
    xattrs: await can(() => files.setXattr(`${top}/a`, 'user.a', new Uint8Array(1))),
    exchange: await can(() => files.rename(`${top}/a`, `${top}/b`, RenameFlag.EXCHANGE)),
    punch: await can(() => files.allocate(`${top}/a`, AllocateMode.PUNCH_HOLE, 0, 1)),
    pinnedFiles: false,
  };
  const path = (await files.stat(`${top}/a`)).sizeBytes > 0 ? `${top}/a` : `${top}/b`;
  await files.write(path, 0, new Uint8Array(8192).fill(2));
  const file = await files.open(path);
  try {
    const canPin = await can(async () => {
      const hooks = kernel.swapHooksOf(file, path);
      await (await hooks.swapActivate(kernel.task, file, { user: 'detection', nrUnits: 1 })).release();
    });
    Object.assign(found, { pinnedFiles: canPin });
  } finally {
    file.release();
    for (const undo of cleanUp.reverse()) await undo();
  }
  return found;
}

const REFUSALS = new Set(['EOPNOTSUPP', 'EPERM', 'EROFS', 'EMLINK', 'EINVAL', 'ENOSYS']);

async function can(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (isKernelError(error) && REFUSALS.has(error.code)) return false;
    throw error;
  }
}
