/**
 * Attributes of NFSv3 (RFC 1813, 2.6): what a file is, what a change reports, and what is to be set.
 *
 *     fattr3         84 bytes: type, mode, nlink, uid, gid, size, used, rdev, fsid, fileid, atime, mtime, ctime
 *     post_op_attr   bool, fattr3          wcc_data   bool, { size, mtime, ctime } before; post_op_attr after
 *     sattr3         for each of mode, uid, gid, size: bool and value; for both times: don't, the server's, or the client's
 */
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';
import { NfsType } from './nfs3-constants.js';

export const FATTR_BYTES = 84;
/** Largest `wcc_data`. */
export const WCC_BYTES = 4 + 24 + 4 + FATTR_BYTES;
const TYPE_MASK = 0xf000;
const PERMISSION_MASK = 0xfff;
const NANOSECONDS = 1_000_000_000;
const MS = 1000;

/** Type bits of a mode, by `ftype3`. */
const MODE_OF_TYPE: Readonly<Record<number, number>> = {
  [NfsType.REGULAR]: 0x8000,
  [NfsType.DIRECTORY]: 0x4000,
  [NfsType.BLOCK]: 0x6000,
  [NfsType.CHARACTER]: 0x2000,
  [NfsType.SYMLINK]: 0xa000,
  [NfsType.SOCKET]: 0xc000,
  [NfsType.FIFO]: 0x1000,
};

/** A time on the wire. */
export interface NfsTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** The attributes of a file. */
export interface FileAttributes {
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Of 64 bits, the low 53: compared with itself only. */
  readonly fsid: number;
  readonly fileid: number;
  readonly atime: NfsTime;
  readonly mtime: NfsTime;
  readonly ctime: NfsTime;
}

/** What tells one state of a file from another. */
export interface WeakAttributes {
  readonly sizeBytes: number;
  readonly mtime: NfsTime;
  readonly ctime: NfsTime;
}

/** `wcc_data`. */
export interface WeakCacheData {
  readonly before: WeakAttributes | null;
  readonly after: FileAttributes | null;
}

export const NO_WCC: WeakCacheData = { before: null, after: null };

/** A time in milliseconds as it goes on the wire, to the nanosecond as far as a number holds it. */
export function timeOfMs(timeMs: number): NfsTime {
  const seconds = Math.floor(timeMs / MS);
  const nanoseconds = Math.round((timeMs - seconds * MS) * 1_000_000);
  return nanoseconds >= NANOSECONDS ? { seconds: seconds + 1, nanoseconds: 0 } : { seconds, nanoseconds };
}

export function msOfTime({ seconds, nanoseconds }: NfsTime): number {
  return seconds * MS + nanoseconds / 1_000_000;
}

export function isSameTime(a: NfsTime, b: NfsTime): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds;
}

/** The `ftype3` of a mode; 0 for a mode of no type. */
export function typeOfMode(mode: number): number {
  const bits = mode & TYPE_MASK;
  for (const type of Object.values(NfsType)) if (MODE_OF_TYPE[type] === bits) return type;
  return 0;
}

/** The type bits of an `ftype3`. */
export function modeOfType(type: number): number {
  return MODE_OF_TYPE[type] ?? 0;
}

/** A 64-bit identifier folded into 53 bits. */
export function getIdentifier(input: XdrReader): number {
  const high = input.u32();
  const low = input.u32();
  return ((high & 0x1fffff) ^ (high >>> 21)) * 2 ** 32 + low;
}

export function getTime(input: XdrReader): NfsTime {
  const seconds = input.u32();
  const nanoseconds = input.u32();
  if (nanoseconds >= NANOSECONDS) input.fail(`a time has ${nanoseconds} nanoseconds`);
  return { seconds, nanoseconds };
}

export function putTime(out: XdrWriter, { seconds, nanoseconds }: NfsTime): void {
  out.u32(seconds).u32(nanoseconds);
}

export function getAttributes(input: XdrReader): FileAttributes {
  const type = input.u32();
  const typeBits = MODE_OF_TYPE[type];
  if (typeBits === undefined) input.fail(`a file has type ${type}`);
  return {
    mode: typeBits | (input.u32() & PERMISSION_MASK),
    nlink: input.u32(),
    uid: input.u32(),
    gid: input.u32(),
    sizeBytes: input.u64(),
    usedBytes: input.u64(),
    rdevMajor: input.u32(),
    rdevMinor: input.u32(),
    fsid: getIdentifier(input),
    fileid: getIdentifier(input),
    atime: getTime(input),
    mtime: getTime(input),
    ctime: getTime(input),
  };
}

export function putAttributes(out: XdrWriter, attributes: FileAttributes): void {
  const { mode, nlink, uid, gid, sizeBytes, usedBytes, rdevMajor, rdevMinor, fsid, fileid, atime, mtime, ctime } = attributes;
  out
    .u32(typeOfMode(mode))
    .u32(mode & PERMISSION_MASK)
    .u32(nlink)
    .u32(uid)
    .u32(gid)
    .u64(sizeBytes)
    .u64(usedBytes);
  out.u32(rdevMajor).u32(rdevMinor).u64(fsid).u64(fileid);
  putTime(out, atime);
  putTime(out, mtime);
  putTime(out, ctime);
}

/** `post_op_attr`. */
export function getOptionalAttributes(input: XdrReader): FileAttributes | null {
  return input.bool() ? getAttributes(input) : null;
}

export function putOptionalAttributes(out: XdrWriter, attributes: FileAttributes | null): void {
  out.bool(attributes !== null);
  if (attributes !== null) putAttributes(out, attributes);
}

export function getWcc(input: XdrReader): WeakCacheData {
  const before = input.bool() ? { sizeBytes: input.u64(), mtime: getTime(input), ctime: getTime(input) } : null;
  return { before, after: getOptionalAttributes(input) };
}

export function putWcc(out: XdrWriter, { before, after }: WeakCacheData): void {
  out.bool(before !== null);
  if (before !== null) {
    out.u64(before.sizeBytes);
    putTime(out, before.mtime);
    putTime(out, before.ctime);
  }
  putOptionalAttributes(out, after);
}

/** How a time is set: not at all, to the server's clock, or to a given one. */
export type TimeChange = 'server' | NfsTime | null;

/** `sattr3`: what is null stays. */
export interface NewAttributes {
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly sizeBytes: number | null;
  readonly atime: TimeChange;
  readonly mtime: TimeChange;
}

export const NO_CHANGE: NewAttributes = { mode: null, uid: null, gid: null, sizeBytes: null, atime: null, mtime: null };

const TimeHow = { DONT: 0, SERVER: 1, CLIENT: 2 } as const;

export function getNewAttributes(input: XdrReader): NewAttributes {
  return {
    mode: input.bool() ? input.u32() & PERMISSION_MASK : null,
    uid: input.bool() ? input.u32() : null,
    gid: input.bool() ? input.u32() : null,
    sizeBytes: input.bool() ? input.u64() : null,
    atime: getTimeChange(input),
    mtime: getTimeChange(input),
  };
}

export function putNewAttributes(out: XdrWriter, { mode, uid, gid, sizeBytes, atime, mtime }: NewAttributes): void {
  for (const word of [mode, uid, gid]) {
    out.bool(word !== null);
    if (word !== null) out.u32(word);
  }
  out.bool(sizeBytes !== null);
  if (sizeBytes !== null) out.u64(sizeBytes);
  putTimeChange(out, atime);
  putTimeChange(out, mtime);
}

function getTimeChange(input: XdrReader): TimeChange {
  const how = input.enum(TimeHow.CLIENT, 'how a time is set');
  if (how === TimeHow.DONT) return null;
  return how === TimeHow.SERVER ? 'server' : getTime(input);
}

function putTimeChange(out: XdrWriter, change: TimeChange): void {
  if (change === null) out.u32(TimeHow.DONT);
  else if (change === 'server') out.u32(TimeHow.SERVER);
  else {
    out.u32(TimeHow.CLIENT);
    putTime(out, change);
  }
}
