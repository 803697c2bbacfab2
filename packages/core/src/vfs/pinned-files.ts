/**
 * Pinned files (M14): the hooks for open files of whatever filesystem. What belongs to every filesystem is done here, the rest is its `pin`.
 *
 *     pin       its writers stand still → counted → what is dirty is written → durable as it is → its pages leave memory → the filesystem pins it
 *     release   the filesystem lets go → what readers have cached goes → counted → the inode's reference is given back
 *
 * As long as it is counted (`inode.nrPins`) nobody writes, cuts, grows or punches it (ETXTBSY), and readers read it anew each time. It may be
 * unlinked: its blocks stay until the last pin goes. Its filesystem cannot be unmounted. It is the kernel's, whoever opened it.
 */
import { Errno, errorFrom, KernelError } from '../base/errno.js';
import { PAGE_SIZE } from '../base/size.js';
import type { PinnedFile, PinSpec, SwapHooks } from '../cache/pinned-file.js';
import type { WriteoutNode } from '../mm/writeout-graph.js';
import type { TaskContext } from '../task/task-context.js';
import type { Inode } from './inode.js';
import { OpenFile } from './open-file.js';

/** Times that a file's pages are written and dropped before one that somebody keeps dirtying is given up. */
const DROPS_MAX = 8;

/** For messages and for the writeout graph. */
export function nameOfFile({ ino, superblock }: Inode): string {
  return `inode ${ino} of ${superblock.name}`;
}

/** The node that a file is written through once it is pinned. @throws KernelError EOPNOTSUPP if it cannot be. */
export function pinNodeOf({ inode }: OpenFile): WriteoutNode {
  const { pinNode } = inode.superblock;
  if (pinNode !== null) return pinNode;
  throw new KernelError('EOPNOTSUPP', `${nameOfFile(inode)} cannot be pinned: its filesystem does not write in place`);
}

/** The hooks; registered by core. */
export const fileHooks: SwapHooks = {
  name: 'files',
  claims: (backing) => backing instanceof OpenFile,
  swapActivate: (task, backing, spec) => pinFile(task, backing as OpenFile, spec),
};

/** @throws KernelError EBADF, EROFS, EOPNOTSUPP, EINVAL, EBUSY naming who has it; ENOMEM, EIO and what its filesystem says. */
async function pinFile(task: TaskContext, file: OpenFile, spec: PinSpec): Promise<PinnedFile> {
  const { inode } = file;
  const name = nameOfFile(inode);
  requirePinnable(file, name, spec.user);
  const locked = await inode.dataLock.exclusive(task);
  if (locked < 0) throw errorFrom(locked, `pin ${name} for ${spec.user}`);
  try {
    return await pinLocked(task, inode, name, spec);
  } finally {
    inode.dataLock.unlockExclusive();
  }
}

function requirePinnable(file: OpenFile, name: string, user: string): void {
  const refuse = (code: 'EBADF' | 'EROFS' | 'EOPNOTSUPP' | 'EINVAL', why: string): never => {
    throw new KernelError(code, `${name} cannot be pinned for ${user}: ${why}`);
  };
  const { inode } = file;
  const { superblock } = inode;
  if (!file.isOpen || !file.mayWrite) refuse('EBADF', 'it is not open for writing');
  if (!inode.isRegular) refuse('EINVAL', 'it is no regular file');
  if (superblock.readOnly) refuse('EROFS', 'its filesystem is read-only');
  if (superblock.ops.pin === null) refuse('EOPNOTSUPP', 'its filesystem does not write in place');
  if (inode.sizeBytes < PAGE_SIZE) refuse('EINVAL', `it has ${inode.sizeBytes} bytes, less than a page`);
}

async function pinLocked(task: TaskContext, inode: Inode, name: string, spec: PinSpec): Promise<PinnedFile> {
  const { superblock } = inode;
  const { pin } = superblock.ops;
  const isHeld = spec.isHeld ?? false;
  if (!isHeld && inode.pinnedBy !== null) throw new KernelError('EBUSY', `${name} is in use by ${inode.pinnedBy}, wanted by ${spec.user}`);
  if (pin === null) throw new KernelError('EIO', `${name} is gone: its filesystem was unmounted by force`);
  inode.nrPins++;
  superblock.nrPins++;
  inode.nrRefs++;
  if (!isHeld) inode.pinnedBy = spec.user;
  const undo = (): void => {
    if (!isHeld) inode.pinnedBy = null;
    inode.nrPins--;
    superblock.nrPins--;
    superblock.put(inode);
  };
  try {
    await settleDown(task, inode, name);
    return new PinnedInode(inode, name, await pin(task, inode, spec), undo);
  } catch (error) {
    undo();
    throw error;
  }
}

/** Everything the file is, on disk and nowhere else. */
async function settleDown(task: TaskContext, inode: Inode, name: string): Promise<void> {
  const { pages, superblock } = inode;
  const insist = (status: number, what: string): void => {
    if (status < 0) throw errorFrom(status, `${what} ${name}, to pin it`);
  };
  if (pages !== null) {
    let dropped: number = -Errno.EBUSY;
    for (let i = 0; dropped === -Errno.EBUSY && i < DROPS_MAX; i++) {
      insist(await pages.sync(task, pages.errorCursor()), 'write');
      dropped = await pages.invalidate(task);
    }
    insist(dropped, 'drop the pages of');
  }
  insist(await superblock.ops.syncInode(task, inode, false), 'sync');
}

/** What the filesystem made, and what core holds for it. */
class PinnedInode implements PinnedFile {
  readonly sizePages: number;
  readonly trusted: boolean;
  readonly standingFrames: number;
  readonly nrUnits: number;
  readonly discard: PinnedFile['discard'];
  readonly transfer: PinnedFile['transfer'];
  readonly granularityBytes: number;
  readonly swapOut: PinnedFile['swapOut'];
  readonly swapIn: PinnedFile['swapIn'];
  readonly flush: PinnedFile['flush'];
  #releasing: Promise<void> | null = null;

  constructor(
    private readonly inode: Inode,
    readonly name: string,
    private readonly inner: PinnedFile,
    private readonly undo: () => void,
  ) {
    this.sizePages = inner.sizePages;
    this.trusted = inner.trusted;
    this.standingFrames = inner.standingFrames;
    this.nrUnits = inner.nrUnits;
    this.granularityBytes = inner.granularityBytes ?? PAGE_SIZE;
    this.swapOut = inner.swapOut.bind(inner);
    this.swapIn = inner.swapIn.bind(inner);
    this.flush = inner.flush.bind(inner);
    this.discard = inner.discard?.bind(inner);
    this.transfer = inner.transfer?.bind(inner);
  }

  async cutOff(): Promise<void> {
    await this.inner.cutOff?.();
  }

  /** Twice is fine. */
  release(): Promise<void> {
    this.#releasing ??= this.#release().catch((error: unknown) => {
      this.#releasing = null; // it is in use: it stays pinned
      throw error;
    });
    return this.#releasing;
  }

  async #release(): Promise<void> {
    await this.inner.release();
    const { pages, superblock } = this.inode;
    if (pages !== null) await pages.invalidate(superblock.task);
    this.undo();
  }
}
