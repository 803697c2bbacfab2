/** Whether a request may be served: the checks of the specification in the order that clients rely on (formats: server validation). */
import { Errno, type NegErrno } from '@tidemark/core';
import { Command, CommandFlag, TransmissionFlag } from '../protocol/constants.js';
import type { Export } from './export.js';

/** What the handshake has agreed on. */
export interface Agreed {
  /** The client asked for block sizes. */
  readonly askedBlockSize: boolean;
  /** READ and BLOCK_STATUS are answered in chunks. */
  readonly isStructured: boolean;
  /** The client wants to know of allocation. */
  readonly hasAllocation: boolean;
}

/**
 * Checks 3 to 7; the payload of a WRITE is consumed whatever this says.
 * @returns 0, or the status to answer with.
 */
export function checkRequest(
  target: Export,
  agreed: Agreed,
  command: number,
  flags: number,
  offsetBytes: number,
  lengthBytes: number,
): 0 | NegErrno {
  const writes = command === Command.WRITE || command === Command.TRIM || command === Command.WRITE_ZEROES;
  if (writes && target.readOnly) return -Errno.EPERM;
  const isRange = writes || command === Command.READ || command === Command.CACHE || command === Command.BLOCK_STATUS;
  if (isRange && offsetBytes + lengthBytes > target.device.sizeBytes) {
    return command === Command.WRITE || command === Command.WRITE_ZEROES ? -Errno.ENOSPC : -Errno.EINVAL;
  }
  if (!isOffered(target, agreed, command)) return -Errno.EINVAL;
  const fua = (target.flags & TransmissionFlag.SEND_FUA) !== 0 ? CommandFlag.FUA : 0;
  if ((flags & ~(fua | ownFlags(agreed, command))) !== 0) return -Errno.EINVAL;
  if (command === Command.FLUSH) return offsetBytes === 0 && lengthBytes === 0 ? 0 : -Errno.EINVAL;
  const block = target.device.blockSizeBytes;
  if (offsetBytes % block !== 0 || lengthBytes % block !== 0) return -Errno.EINVAL;
  return lengthBytes === 0 ? -Errno.EINVAL : 0;
}

/** Flags that only one command knows. */
function ownFlags({ isStructured }: Agreed, command: number): number {
  if (command === Command.WRITE_ZEROES) return CommandFlag.NO_HOLE;
  if (command === Command.READ) return isStructured ? CommandFlag.DF : 0;
  return command === Command.BLOCK_STATUS ? CommandFlag.REQ_ONE : 0;
}

function isOffered(target: Export, agreed: Agreed, command: number): boolean {
  switch (command) {
    case Command.READ:
    case Command.WRITE:
    case Command.CACHE:
      return true;
    case Command.BLOCK_STATUS:
      return agreed.hasAllocation;
    case Command.FLUSH:
      return (target.flags & TransmissionFlag.SEND_FLUSH) !== 0;
    case Command.TRIM:
      return (target.flags & TransmissionFlag.SEND_TRIM) !== 0;
    case Command.WRITE_ZEROES:
      return (target.flags & TransmissionFlag.SEND_WRITE_ZEROES) !== 0;
    default:
      return false;
  }
}
