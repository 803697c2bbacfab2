/**
 * The operations of a mounted filesystem as core calls them: one class, whatever the plugin's record looks like, so that call sites see
 * one shape; what a plugin left out is here as the answer that stands for it.
 */
import { Errno, errnoOf, KernelError, type NegErrno } from '../base/errno.js';
import { isPromise, type MaybePromise } from '../base/maybe-promise.js';
import { PAGE_SIZE } from '../base/size.js';
import type { TaskContext } from '../task/task-context.js';
import type { SuperblockOps } from './file-system.js';
import type { Inode } from './inode.js';

const notSupported = (): NegErrno => -Errno.EOPNOTSUPP;
const nothing = (): 0 => 0;
const allData = (_task: TaskContext, inode: Inode, offset: number): number => (offset < inode.sizeBytes ? offset : -Errno.ENXIO);
const holeAtEnd = (_task: TaskContext, inode: Inode, offset: number): number => (offset < inode.sizeBytes ? inode.sizeBytes : -Errno.ENXIO);

export class Operations {
  readonly readInode: SuperblockOps['readInode'];
  readonly refresh: NonNullable<SuperblockOps['refresh']>;
  readonly open: NonNullable<SuperblockOps['open']>;
  readonly close: NonNullable<SuperblockOps['close']>;
  readonly forget: NonNullable<SuperblockOps['forget']>;
  readonly deleteInode: SuperblockOps['deleteInode'];
  readonly lookup: SuperblockOps['lookup'];
  readonly readDirectory: SuperblockOps['readDirectory'];
  readonly create: SuperblockOps['create'];
  readonly link: SuperblockOps['link'];
  readonly remove: SuperblockOps['remove'];
  readonly rename: SuperblockOps['rename'];
  readonly setAttributes: SuperblockOps['setAttributes'];
  readonly readLink: SuperblockOps['readLink'];
  readonly addressSpace: SuperblockOps['addressSpace'];
  /** False: `allocate` refuses everything, and nothing may be done before it is asked. */
  readonly canAllocate: boolean;
  readonly allocate: NonNullable<SuperblockOps['allocate']>;
  readonly seekData: NonNullable<SuperblockOps['seekData']>;
  readonly seekHole: NonNullable<SuperblockOps['seekHole']>;
  readonly getXattr: NonNullable<SuperblockOps['getXattr']>;
  readonly listXattrs: NonNullable<SuperblockOps['listXattrs']>;
  readonly setXattr: NonNullable<SuperblockOps['setXattr']>;
  readonly removeXattr: NonNullable<SuperblockOps['removeXattr']>;
  readonly room: SuperblockOps['room'];
  readonly sync: SuperblockOps['sync'];
  readonly syncInode: NonNullable<SuperblockOps['syncInode']>;
  readonly unmount: SuperblockOps['unmount'];
  /** Null: its files cannot be pinned. */
  readonly pin: NonNullable<SuperblockOps['pin']> | null;

  constructor(ops: SuperblockOps) {
    this.readInode = guarded(ops, ops.readInode);
    this.refresh = guarded(ops, ops.refresh ?? nothing);
    const { refresh } = this;
    this.open = ops.open === undefined ? (task, inode, _wanted, isNew) => (isNew ? 0 : refresh(task, inode, null)) : guarded(ops, ops.open);
    this.close = ops.close?.bind(ops) ?? nothing;
    this.forget = ops.forget?.bind(ops) ?? nothing;
    this.deleteInode = guarded(ops, ops.deleteInode);
    this.lookup = guarded(ops, ops.lookup);
    this.readDirectory = guarded(ops, ops.readDirectory);
    this.create = guarded(ops, ops.create);
    this.link = guarded(ops, ops.link);
    this.remove = guarded(ops, ops.remove);
    this.rename = guarded(ops, ops.rename);
    this.setAttributes = guarded(ops, ops.setAttributes);
    this.readLink = guarded(ops, ops.readLink);
    this.addressSpace = ops.addressSpace.bind(ops);
    this.canAllocate = ops.allocate !== undefined;
    this.allocate = guarded(ops, ops.allocate ?? notSupported);
    this.seekData = guarded(ops, ops.seekData ?? allData);
    this.seekHole = guarded(ops, ops.seekHole ?? holeAtEnd);
    this.getXattr = guarded(ops, ops.getXattr ?? notSupported);
    this.listXattrs = guarded(ops, ops.listXattrs ?? notSupported);
    this.setXattr = guarded(ops, ops.setXattr ?? notSupported);
    this.removeXattr = guarded(ops, ops.removeXattr ?? notSupported);
    this.room = guarded(ops, ops.room);
    this.sync = guarded(ops, ops.sync);
    this.syncInode = guarded(ops, ops.syncInode ?? ((task) => ops.sync(task)));
    this.unmount = guarded(ops, ops.unmount);
    this.pin = ops.pinsThrough === undefined ? null : (ops.pin?.bind(ops) ?? null);
  }
}

/**
 * An operation that never throws and never rejects: a bug of a plugin must not leave a lock held. None has more than five arguments; they are
 * handed on one by one, because a list of them would have to be made for each call.
 */
function guarded<A extends unknown[], T>(
  ops: SuperblockOps,
  operation: (...args: A) => MaybePromise<T>,
): (...args: A) => MaybePromise<T | NegErrno> {
  const plain = operation as (...args: unknown[]) => MaybePromise<T>;
  const call = (a: unknown, b: unknown, c: unknown, d: unknown, e: unknown): MaybePromise<T | NegErrno> => {
    try {
      const answer = plain.call(ops, a, b, c, d, e);
      return isPromise(answer) ? answer.then<T | NegErrno, NegErrno>(undefined, errnoOf) : answer;
    } catch (error) {
      return errnoOf(error);
    }
  };
  return call as unknown as (...args: A) => MaybePromise<T | NegErrno>;
}

/** The operations of a filesystem that was taken away from under its users: everything fails with EIO. */
export function goneOperations(): Operations {
  const gone = (): NegErrno => -Errno.EIO;
  return new Operations({
    apiVersion: 1,
    name: 'gone',
    rootIno: 1,
    readOnly: true,
    blockSizeBytes: PAGE_SIZE,
    maxFileSizeBytes: 0,
    maxLinks: 0,
    updatesAtOnce: true,
    readInode: gone,
    deleteInode: nothing,
    lookup: gone,
    readDirectory: gone,
    create: gone,
    link: gone,
    remove: gone,
    rename: gone,
    setAttributes: gone,
    readLink: gone,
    addressSpace: () => {
      throw new KernelError('EIO', 'the filesystem was unmounted by force');
    },
    allocate: gone,
    seekData: gone,
    seekHole: gone,
    getXattr: gone,
    listXattrs: gone,
    setXattr: gone,
    removeXattr: gone,
    room: gone,
    sync: gone,
    unmount: nothing,
  });
}

/** @throws KernelError EINVAL naming what a plugin's record lacks or declares wrongly. */
export function checkSuperblockOps(source: string, ops: SuperblockOps): void {
  const bad = (what: string): never => {
    throw new KernelError('EINVAL', `the filesystem of ${source} ${what}`);
  };
  if (ops?.apiVersion !== 1) bad(`speaks version ${String(ops?.apiVersion)} of the contract, not 1`);
  if (!Number.isSafeInteger(ops.rootIno) || ops.rootIno < 1) bad(`declares ${ops.rootIno} as its root's inode number`);
  if (!Number.isSafeInteger(ops.blockSizeBytes) || ops.blockSizeBytes < 1) bad(`declares blocks of ${ops.blockSizeBytes} bytes`);
  if (!Number.isSafeInteger(ops.maxFileSizeBytes) || ops.maxFileSizeBytes < 0)
    bad(`declares files of ${ops.maxFileSizeBytes} bytes at most`);
  if (!Number.isSafeInteger(ops.maxLinks) || ops.maxLinks < 1) bad(`declares ${ops.maxLinks} names a file at most`);
  for (const what of REQUIRED) if (typeof ops[what] !== 'function') bad(`lacks the operation ${what}`);
}

const REQUIRED = [
  'readInode',
  'deleteInode',
  'lookup',
  'readDirectory',
  'create',
  'link',
  'remove',
  'rename',
  'setAttributes',
  'readLink',
  'addressSpace',
  'room',
  'sync',
  'unmount',
] as const;
