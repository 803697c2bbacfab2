/** Arguments of calls as procedures keep them: nothing of them points into the receive slot. */
import { decodeName, NAME_MAX } from '@tidemark/core';
import { type DirectoryArguments, getHandle } from '../protocol/arguments.js';
import { NfsStatus } from '../protocol/nfs3-constants.js';
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { NfsService } from './call.js';
import type { HandleFields } from './file-handle.js';

/** A name in a directory. */
export interface Place {
  readonly handle: HandleFields | null;
  readonly name: string;
  /** What the name is refused with, or OK. */
  readonly status: number;
}

/** Reads a call that names one file. */
export function readHandle(input: XdrReader, { handles }: NfsService): HandleFields | null {
  return handles.decode(getHandle(input));
}

/** Keeps a name and its directory. */
export function placeOf({ directory, name }: DirectoryArguments, { handles }: NfsService): Place {
  const status = statusOfName(name);
  return { handle: handles.decode(directory), name: status === NfsStatus.OK ? decodeName(name) : '', status };
}

function statusOfName(name: Uint8Array): number {
  if (name.length > NAME_MAX) return NfsStatus.NAMETOOLONG;
  return name.length === 0 || name.includes(0x2f) || name.includes(0) ? NfsStatus.INVAL : NfsStatus.OK;
}
