/** Whether a request may be served: the checks of the specification in the order that clients rely on (formats: server validation). */
import { Errno, type NegErrno } from '@tidemark/core';
import { Command, CommandFlag, TransmissionFlag } from '../protocol/constants.js';
import type { Export } from './export.js';

/**
 * Checks 3 to 7; the payload of a WRITE is consumed whatever this says.
 * @returns 0, or the status to answer with.
 */
export function checkRequest(target: Export, command: number, flags: number, offsetBytes: number, lengthBytes: number): 0 | NegErrno {
  const writes = command === Command.WRITE || command === Command.TRIM || command === Command.WRITE_ZEROES;
  if (writes && target.readOnly) return -Errno.EPERM;
  const isRange = writes || command === Command.READ || command === Command.CACHE;
  if (isRange && offsetBytes + lengthBytes > target.device.sizeBytes) {
    return command === Command.WRITE || command === Command.WRITE_ZEROES ? -Errno.ENOSPC : -Errno.EINVAL;
  }
  if (!isOffered(target, command)) return -Errno.EINVAL;
  const fua = (target.flags & TransmissionFlag.SEND_FUA) !== 0 ? CommandFlag.FUA : 0;
  const allowed = command === Command.WRITE_ZEROES ? fua | CommandFlag.NO_HOLE : fua;
  if ((flags & ~allowed) !== 0) return -Errno.EINVAL;
  if (command === Command.FLUSH) return offsetBytes === 0 && lengthBytes === 0 ? 0 : -Errno.EINVAL;
  const block = target.device.blockSizeBytes;
  if (offsetBytes % block !== 0 || lengthBytes % block !== 0) return -Errno.EINVAL;
  return lengthBytes === 0 ? -Errno.EINVAL : 0;
}

function isOffered(target: Export, command: number): boolean {
  switch (command) {
    case Command.READ:
    case Command.WRITE:
      return true;
    case Command.FLUSH:
      return (target.flags & TransmissionFlag.SEND_FLUSH) !== 0;
    case Command.TRIM:
      return (target.flags & TransmissionFlag.SEND_TRIM) !== 0;
    case Command.WRITE_ZEROES:
      return (target.flags & TransmissionFlag.SEND_WRITE_ZEROES) !== 0;
    default:
      return false; // CACHE among them: a hint that is not offered
  }
}
