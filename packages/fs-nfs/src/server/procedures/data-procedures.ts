/** READ and COMMIT. WRITE is in write-call.ts: its data come through the receive slot. */
import { Access as Permission, isOwner, PAGE_SIZE, permission, settle, type Steps } from '@tidemark/core';
import { getRange } from '../../protocol/arguments.js';
import { FATTR_BYTES } from '../../protocol/attributes.js';
import { Nfs3, NfsStatus } from '../../protocol/nfs3-constants.js';
import { putCommitted, putRead } from '../../protocol/results.js';
import { padded } from '../../xdr/xdr-reader.js';
import { type Call, nfsProcedure, type Procedure, statusOf } from '../call.js';
import { flushPinned, pinOf, readPinned } from '../pinned-calls.js';
import { changing, type Subject } from '../subject.js';
import { mayWrite } from './attribute-procedures.js';

/** Status, attributes, count, end, length: what stands before the data of a READ. */
const READ_HEAD_BYTES = 4 + 4 + FATTR_BYTES + 4 + 4 + 4;

/** What may not be read or written at all is refused with this. */
export function statusOfType({ inode }: Subject): number {
  if (inode.isRegular) return NfsStatus.OK;
  return inode.isDirectory ? NfsStatus.ISDIR : NfsStatus.INVAL;
}

/** Its owner may read a file whatever its mode; and what may be executed may be read, page by page. */
function mayRead(call: Call, subject: Subject): boolean {
  const { credentials } = call.who(subject);
  const may = (what: number): boolean => permission(credentials, subject.inode, what) === 0;
  return isOwner(credentials, subject.inode) || may(Permission.READ) || may(Permission.EXECUTE);
}

const read = nfsProcedure(Nfs3.READ, {
  read: (input, { handles, sizes }) => {
    const { handle, offsetBytes, countBytes } = getRange(input);
    return { handle: handles.decode(handle), offsetBytes, countBytes: Math.min(countBytes, sizes.transferBytes) };
  },
  resultBytes: ({ countBytes }) => READ_HEAD_BYTES + padded(countBytes),
  *run(call, { handle, offsetBytes, countBytes }) {
    const subject = yield* call.subject(handle);
    if (typeof subject === 'number') return subject;
    const status = statusOfType(subject);
    if (status !== NfsStatus.OK) return status;
    if (!mayRead(call, subject)) return NfsStatus.ACCES;
    const { out } = call;
    const { files, vfs } = call.service;
    const { inode } = subject;
    const start = out.position;
    out.space(READ_HEAD_BYTES);
    let got = 0;
    if (offsetBytes < inode.sizeBytes && countBytes > 0) {
      const pin = pinOf(call, subject, offsetBytes, countBytes);
      const served = pin === null ? files.get(inode) : null;
      try {
        const into = out.space(countBytes);
        if (pin !== null) got = yield* readPinned(call, pin, offsetBytes, into);
        else if (served !== null) got = yield* settle(vfs.data.read(call.who(subject), served.file, into, offsetBytes));
      } finally {
        if (served !== null) files.put(served);
      }
      if (got < 0) return statusOf(got);
    }
    out.back(start);
    const isEnd = offsetBytes + got >= inode.sizeBytes;
    putRead(out.u32(NfsStatus.OK), { attributes: subject.attributes, countBytes: got, isEnd });
    out.space(got);
    out.space(padded(got) - got).fill(0);
    return NfsStatus.OK;
  },
});

/** Makes everything that was written to a file stable. @returns the status. */
export function* commitFile(call: Call, subject: Subject, dataOnly: boolean): Steps<number> {
  const { files, vfs, verifier } = call.service;
  const served = files.get(subject.inode);
  try {
    const { nrWrites } = served;
    const status = yield* vfs.data.sync(call.task, served.file, dataOnly);
    if (status < 0) {
      verifier.change(); // what others wrote to this file, or to the same disk, may be gone as well
      return statusOf(status);
    }
    served.nrCommitted = Math.max(served.nrCommitted, nrWrites);
    call.caller.entitled?.committed(subject.inode);
    return NfsStatus.OK;
  } finally {
    files.put(served);
  }
}

const commit = nfsProcedure(Nfs3.COMMIT, {
  read: (input, { handles }) => handles.decode(getRange(input).handle),
  *run(call, handle) {
    const subject = yield* call.changeable(handle);
    if (typeof subject === 'number') return subject;
    if (!subject.inode.isRegular) return NfsStatus.INVAL;
    if (!mayWrite(call.who(subject), subject)) return NfsStatus.ACCES;
    const pin = pinOf(call, subject, 0, PAGE_SIZE);
    const status = yield* pin === null ? changing([subject], commitFile(call, subject, false)) : flushPinned(call, pin);
    if (status !== NfsStatus.OK && status !== 'again') return status; // after 'again' the verifier is another, and says so
    putCommitted(call.out.u32(NfsStatus.OK), { wcc: subject.wcc, verifier: call.service.verifier.bytes });
    return NfsStatus.OK;
  },
});

export const DATA_PROCEDURES: Readonly<Record<number, Procedure>> = { [Nfs3.READ]: read, [Nfs3.COMMIT]: commit };
