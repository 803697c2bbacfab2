/** Procedures about one file: GETATTR, SETATTR, ACCESS, and those about its filesystem: FSSTAT, FSINFO, PATHCONF. */
import {
  type Caller,
  Access as Permission,
  isOwner,
  type NegErrno,
  NAME_MAX,
  permission,
  settle,
  type Steps,
  type TimesChange,
} from '@tidemark/core';
import { getSetAttributes } from '../../protocol/arguments.js';
import {
  isSameTime,
  msOfTime,
  type NewAttributes,
  putAttributes,
  putOptionalAttributes,
  putWcc,
  type TimeChange,
  timeOfMs,
} from '../../protocol/attributes.js';
import { Access, FsProperty, Nfs3, NfsStatus } from '../../protocol/nfs3-constants.js';
import { putFileSystemInfo, putFileSystemStatus, putPathLimits } from '../../protocol/results.js';
import { readHandle } from '../arguments.js';
import { type Call, nfsProcedure, type Procedure, statusOf } from '../call.js';
import { changing, type Subject } from '../subject.js';

/** Files up to 2^63 - 1 bytes are what the protocol can name; numbers are exact up to 2^53. */
const FILE_SIZE_MAX = Number.MAX_SAFE_INTEGER;
const ONE_MS = { seconds: 0, nanoseconds: 1_000_000 };

/** Sets what is asked for, as far as it is allowed; the size first, times last, since each changes what comes after it. */
export function* applyAttributes(call: Call, subject: Subject, who: Caller, wanted: NewAttributes): Steps<NegErrno> {
  const { attributes } = call.service.vfs;
  const { inode } = subject;
  if (wanted.sizeBytes !== null) {
    const refused = mayWrite(who, subject)
      ? yield* attributes.changeSize(who, inode, wanted.sizeBytes)
      : permission(who.credentials, inode, Permission.WRITE);
    if (refused < 0) return refused;
  }
  if (wanted.uid !== null || wanted.gid !== null) {
    const status = yield* attributes.changeOwner(who, inode, wanted.uid ?? -1, wanted.gid ?? -1);
    if (status < 0) return status;
  }
  if (wanted.mode !== null) {
    const status = yield* attributes.changeMode(who, inode, wanted.mode);
    if (status < 0) return status;
  }
  const times = timesOf(wanted);
  return times === null ? 0 : yield* attributes.changeTimes(who, inode, times);
}

/** The owner may write whatever the mode says: it had the file open before the mode was changed, and NFS does not know. */
export function mayWrite(who: Caller, { inode }: Subject): boolean {
  return isOwner(who.credentials, inode) || permission(who.credentials, inode, Permission.WRITE) === 0;
}

function timesOf({ atime, mtime }: NewAttributes): TimesChange | null {
  if (atime === null && mtime === null) return null;
  return { ...(atime === null ? {} : { accessed: timeOf(atime) }), ...(mtime === null ? {} : { modified: timeOf(mtime) }) };
}

function timeOf(change: Exclude<TimeChange, null>): number | 'now' {
  return change === 'server' ? 'now' : msOfTime(change);
}

const getattr = nfsProcedure(Nfs3.GETATTR, {
  read: readHandle,
  *run(call, handle) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    putAttributes(call.out.u32(NfsStatus.OK), subject.attributes);
    return NfsStatus.OK;
  },
});

const setattr = nfsProcedure(Nfs3.SETATTR, {
  isUpdate: true,
  read: (input, { handles }) => {
    const { handle, attributes, guard } = getSetAttributes(input);
    return { handle: handles.decode(handle), attributes, guard };
  },
  *run(call, { handle, attributes, guard }) {
    const subject = yield* call.changeable(handle);
    if (typeof subject === 'number') return subject;
    const { inode } = subject;
    if (guard !== null && !isSameTime(timeOfMs(inode.changedMs), guard)) return NfsStatus.NOT_SYNC;
    const status = yield* changing([subject], applyAttributes(call, subject, call.who(subject), attributes));
    const durable = yield* call.makeDurable([inode]);
    if (status < 0 || durable < 0) return statusOf(status || durable);
    putWcc(call.out.u32(NfsStatus.OK), subject.wcc);
    return NfsStatus.OK;
  },
});

/** Which of the wanted bits of ACCESS a caller has. */
function allowed(who: Caller, { inode, target }: Subject, wanted: number): number {
  const may = (what: number): boolean => permission(who.credentials, inode, what) === 0;
  let bits = may(Permission.READ) ? Access.READ : 0;
  if (may(Permission.WRITE) && !target.readOnly) bits |= Access.MODIFY | Access.EXTEND | (inode.isDirectory ? Access.DELETE : 0);
  if (may(Permission.EXECUTE)) bits |= inode.isDirectory ? Access.LOOKUP : Access.EXECUTE;
  return bits & wanted;
}

const access = nfsProcedure(Nfs3.ACCESS, {
  read: (input, service) => ({ handle: readHandle(input, service), wanted: input.u32() }),
  *run(call, { handle, wanted }) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    putOptionalAttributes(call.out.u32(NfsStatus.OK), subject.attributes);
    call.out.u32(allowed(call.who(subject), subject, wanted));
    return NfsStatus.OK;
  },
});

const fsstat = nfsProcedure(Nfs3.FSSTAT, {
  read: readHandle,
  *run(call, handle) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    const room = yield* settle(subject.inode.superblock.ops.room(call.task));
    if (typeof room === 'number') return statusOf(room);
    const { totalBytes, freeBytes, availableBytes, totalInodes, freeInodes } = room;
    const files = { totalFiles: totalInodes, freeFiles: freeInodes, availableFiles: freeInodes };
    putFileSystemStatus(call.out.u32(NfsStatus.OK), subject.attributes, { totalBytes, freeBytes, availableBytes, ...files });
    return NfsStatus.OK;
  },
});

const fsinfo = nfsProcedure(Nfs3.FSINFO, {
  read: readHandle,
  *run(call, handle) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    const { transferBytes, directoryBytes } = call.service.sizes;
    putFileSystemInfo(call.out.u32(NfsStatus.OK), subject.attributes, {
      readMax: transferBytes,
      readPreferred: transferBytes,
      readMultiple: 4096,
      writeMax: transferBytes,
      writePreferred: transferBytes,
      writeMultiple: 4096,
      directoryPreferred: directoryBytes,
      fileSizeMax: Math.min(subject.inode.superblock.maxFileSizeBytes, FILE_SIZE_MAX),
      timeDelta: ONE_MS,
      properties: FsProperty.LINK | FsProperty.SYMLINK | FsProperty.HOMOGENEOUS | FsProperty.CANSETTIME,
    });
    return NfsStatus.OK;
  },
});

const pathconf = nfsProcedure(Nfs3.PATHCONF, {
  read: readHandle,
  *run(call, handle) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    putPathLimits(call.out.u32(NfsStatus.OK), subject.attributes, { linkMax: subject.inode.superblock.maxLinks, nameBytesMax: NAME_MAX });
    return NfsStatus.OK;
  },
});

export const ATTRIBUTE_PROCEDURES: Readonly<Record<number, Procedure>> = {
  [Nfs3.GETATTR]: getattr,
  [Nfs3.SETATTR]: setattr,
  [Nfs3.ACCESS]: access,
  [Nfs3.FSSTAT]: fsstat,
  [Nfs3.FSINFO]: fsinfo,
  [Nfs3.PATHCONF]: pathconf,
};
