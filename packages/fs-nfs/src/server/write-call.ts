/**
 * WRITE: the data go from the receive slot into the page cache, page by page, as they come.
 *
 *     arguments → file, permission → pieces: slot → page cache → rest of the record is thrown away → [the next call may come]
 *     → made stable, if that is asked for, or if the file found no place among the open ones → answer
 *
 * A client of this kernel writes each page on a unit of the server that is kept for it (M16, entitlement.ts); when it has none left its data are
 * drained, and the answer comes when there is one again.
 *
 * Of a file that the caller has pinned they go straight to the device (pinned-calls.ts).
 *
 * What cannot be written is still read to its end, so that the stream goes on, and answered with its error: JUKEBOX if there was no memory, or
 * none within five seconds. If some of it was written, the answer says how much, and the client sends the rest again.
 */
import { Errno, type Inode, isPromise, type NegErrno, PAGE_SIZE, run, settle, type Steps, type TaskContext } from '@tidemark/core';
import { getWrite } from '../protocol/arguments.js';
import { Nfs3, NfsStatus, Stable, statusOfErrno } from '../protocol/nfs3-constants.js';
import { putWritten } from '../protocol/results.js';
import type { XdrReader } from '../xdr/xdr-reader.js';
import { answering, type Call, type NfsService } from './call.js';
import type { HandleFields } from './file-handle.js';
import type { ServedFile } from './open-files.js';
import type { Patience } from './patience.js';
import type { Payload } from './payload.js';
import { pinOf, writePinned } from './pinned-calls.js';
import { mayWrite } from './procedures/attribute-procedures.js';
import { commitFile, statusOfType } from './procedures/data-procedures.js';
import type { Subject } from './subject.js';

/** A client of this kernel has all its units out. */
const NO_UNIT: NegErrno = -Errno.EAGAIN;

/** The arguments in front of the data. */
export interface WriteHead {
  readonly handle: HandleFields | null;
  readonly offsetBytes: number;
  readonly countBytes: number;
  readonly stable: number;
}

/** Reads the arguments; the reader then stands on the data. @throws XdrError. */
export function readWriteHead(input: XdrReader, { handles, sizes }: NfsService): WriteHead {
  const { handle, offsetBytes, countBytes, stable } = getWrite(input, sizes.recordBytes);
  return { handle: handles.decode(handle), offsetBytes, countBytes, stable };
}

/** Takes a WRITE in and answers it. @param onTaken the record is over: the next one may be read. */
export function writing(call: Call, head: WriteHead, payload: Payload, patience: Patience, onTaken: () => void): Steps<void> {
  return answering(call, Nfs3.WRITE, () => write(call, head, payload, patience, onTaken));
}

function* write(call: Call, head: WriteHead, payload: Payload, patience: Patience, onTaken: () => void): Steps<number> {
  const { verifier } = call.service; // of before the write: if something is lost meanwhile, the client learns it from this answer
  const { bytes } = verifier;
  const subject = yield* writable(call, head);
  if (typeof subject === 'number') {
    yield* payload.drain();
    onTaken();
    return subject;
  }
  const pin = pinOf(call, subject, head.offsetBytes, head.countBytes);
  if (pin !== null) return yield* writePinned(call, subject, pin, head, payload, onTaken);
  const { files } = call.service;
  const served = files.get(subject.inode);
  try {
    const written = yield* takeData(call, subject, served, head, payload, patience);
    yield* payload.drain();
    onTaken();
    if (written === NO_UNIT) yield* settle(call.caller.entitled?.whenFree(call.task));
    if (written < 0) return statusOfErrno(written);
    if (written > 0) served.nrWrites++;
    let committed = head.stable;
    if (!served.isKept) committed = Stable.FILE_SYNC;
    if (committed !== Stable.UNSTABLE) {
      const status = yield* commitFile(call, subject, committed === Stable.DATA_SYNC);
      if (status !== NfsStatus.OK) return status;
    }
    putWritten(call.out.u32(NfsStatus.OK), { wcc: subject.wcc, countBytes: written, committed, verifier: bytes });
    return NfsStatus.OK;
  } finally {
    files.put(served);
  }
}

/** The file, if the caller may write there, or the status it is refused with. */
function* writable(call: Call, { handle, offsetBytes, countBytes }: WriteHead): Steps<Subject | number> {
  const subject = yield* call.changeable(handle);
  if (typeof subject === 'number') return subject;
  const status = statusOfType(subject);
  if (status !== NfsStatus.OK) return status;
  if (!mayWrite(call.who(subject), subject)) return NfsStatus.ACCES;
  return Number.isSafeInteger(offsetBytes + countBytes) ? subject : NfsStatus.FBIG;
}

/** Writes the data as they come. @returns bytes written, from the first on; a negative errno if none were. */
function* takeData(
  call: Call,
  subject: Subject,
  served: ServedFile,
  { offsetBytes, countBytes }: WriteHead,
  payload: Payload,
  patience: Patience,
): Steps<number | NegErrno> {
  const { data } = call.service.vfs;
  const { inode } = subject;
  const entitled = inode.superblock.node === null ? null : call.caller.entitled; // what only memory holds is never clean, and would keep its units
  const who = { ...call.who(subject), task: throttledBy(inode, patience.task) };
  if (entitled !== null) {
    const pages = yield* data.pagesOf(patience.task, inode); // what outlives the call is not taken on a unit
    if (typeof pages === 'number') return pages;
  }
  subject.begin();
  let inOneGo = true;
  let status: NegErrno = 0;
  let done = 0;
  while (done < countBytes) {
    const at = offsetBytes + done;
    const index = Math.floor(at / PAGE_SIZE);
    const most = entitled === null ? countBytes : Math.min((index + 1) * PAGE_SIZE - offsetBytes, countBytes);
    const taking = run(payload.take(at, most - done));
    inOneGo &&= !isPromise(taking);
    const piece = yield* settle(taking);
    if (typeof piece === 'number') {
      status = piece;
      break;
    }
    const unit = entitled === null ? null : entitled.begin(inode, index);
    let written = NO_UNIT;
    try {
      if (unit !== null || entitled === null) {
        const writer = unit === null ? who : { ...who, task: who.task.withTicket(unit.ticket) };
        const writing = run(data.write(writer, served.file, piece, at));
        inOneGo &&= !isPromise(writing);
        written = isPromise(writing) ? yield* waitWith(patience, writing) : writing;
      }
    } finally {
      payload.release();
      if (unit !== null) entitled?.end(unit);
    }
    if (written < 0) status = written;
    else done += written;
    if (written < piece.length) break;
  }
  subject.end(inOneGo);
  if (status < 0) entitled?.committed(inode); // units of pages that were not written
  return done > 0 ? done : status;
}

/** What is dirty elsewhere does not pause a server, only what is dirty of the device it writes to (M16). */
function throttledBy({ pages }: Inode, task: TaskContext): TaskContext {
  return pages === null ? task : task.localThrottle(pages.backingKey);
}

function* waitWith(patience: Patience, writing: Promise<number>): Steps<number> {
  patience.start();
  try {
    return yield* settle(writing);
  } finally {
    patience.stop();
  }
}
