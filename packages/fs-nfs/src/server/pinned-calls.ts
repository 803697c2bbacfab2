/** WRITE, READ and COMMIT about a file that their caller has pinned (pinned-files.ts). What is not here is as for any other file. */
import { type NegErrno, settle, type Steps, WRITE_AGAIN } from '@tidemark/core';
import { NfsStatus, Stable, statusOfErrno } from '../protocol/nfs3-constants.js';
import { putWritten } from '../protocol/results.js';
import { type Call, statusOf } from './call.js';
import type { Payload } from './payload.js';
import type { ServedPin } from './pinned-files.js';
import type { Subject } from './subject.js';
import type { WriteHead } from './write-call.js';

/** The caller's pin on a file, if it covers these bytes. */
export function pinOf(call: Call, { inode }: Subject, offsetBytes: number, countBytes: number): ServedPin | null {
  const pin = inode.nrPins === 0 ? null : (call.caller.entitled?.pinOf(inode) ?? null);
  return pin?.holds(offsetBytes, countBytes) ? pin : null;
}

/** Writes the data as they come, out of the receive slot, and answers. @returns the status. */
export function* writePinned(
  call: Call,
  subject: Subject,
  pin: ServedPin,
  { offsetBytes, countBytes, stable }: WriteHead,
  payload: Payload,
  onTaken: () => void,
): Steps<number> {
  const { bytes: verifier } = call.service.verifier; // of before the write: if something is lost meanwhile, the client learns it from this answer
  let done = 0;
  let status: NegErrno = 0;
  subject.begin();
  while (done < countBytes && status === 0) {
    const piece = yield* payload.take(offsetBytes + done, countBytes - done);
    if (typeof piece === 'number') {
      status = piece;
      break;
    }
    status = yield* settle(pin.move(call.task, true, offsetBytes + done, piece));
    payload.release();
    if (status === 0) done += piece.length;
  }
  subject.end(false);
  yield* payload.drain();
  onTaken();
  if (done === 0) return statusOfErrno(status);
  if (stable !== Stable.UNSTABLE) {
    const flushed = yield* flushPinned(call, pin);
    if (flushed === 'again') return NfsStatus.JUKEBOX; // these very data may be lost: the client has them, and sends them again
    if (flushed !== NfsStatus.OK) return flushed;
  }
  putWritten(call.out.u32(NfsStatus.OK), { wcc: subject.wcc, countBytes: done, committed: stable, verifier });
  return NfsStatus.OK;
}

/** Reads into the reply. @returns bytes that were read, or a negative errno. */
export function* readPinned(call: Call, pin: ServedPin, offsetBytes: number, into: Uint8Array): Steps<number> {
  const status = yield* settle(pin.move(call.task, false, offsetBytes, into));
  return status < 0 ? status : into.length;
}

/**
 * Makes what was written to the file durable.
 * @returns the status; 'again' if something that was acknowledged may be lost, which the verifier says from now on, too.
 */
export function* flushPinned(call: Call, pin: ServedPin): Steps<number | 'again'> {
  const status = yield* settle(pin.flush(call.task));
  if (status === 0) return NfsStatus.OK;
  call.service.verifier.change();
  return status === WRITE_AGAIN ? 'again' : statusOf(status);
}
