/**
 * Arguments of NFSv3's procedures (RFC 1813, 3.3): for each, what a client writes and what a server reads. Handles, names and verifiers are
 * views of the message while it is there.
 */
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';
import { getNewAttributes, getTime, type NewAttributes, type NfsTime, putNewAttributes, putTime } from './attributes.js';
import { CreateMode, HANDLE_BYTES_MAX, NfsType, PATH_BYTES_MAX, Stable, VERIFIER_BYTES } from './nfs3-constants.js';

/** Longest name that is read at all: what is longer than a server takes is for it to refuse with NAMETOOLONG. */
const NAME_BYTES_READ_MAX = 4096;

export function getHandle(input: XdrReader): Uint8Array {
  return input.opaque(HANDLE_BYTES_MAX, 'a file handle');
}

/** `diropargs3`. */
export interface DirectoryArguments {
  readonly directory: Uint8Array;
  readonly name: Uint8Array;
}

export function getDirectoryArguments(input: XdrReader): DirectoryArguments {
  return { directory: getHandle(input), name: input.opaque(NAME_BYTES_READ_MAX, 'a name') };
}

export function putDirectoryArguments(out: XdrWriter, { directory, name }: DirectoryArguments): void {
  out.opaque(directory).opaque(name);
}

export interface SetAttributesArguments {
  readonly handle: Uint8Array;
  readonly attributes: NewAttributes;
  /** The change time the file must have, or null. */
  readonly guard: NfsTime | null;
}

export function getSetAttributes(input: XdrReader): SetAttributesArguments {
  return { handle: getHandle(input), attributes: getNewAttributes(input), guard: input.bool() ? getTime(input) : null };
}

export function putSetAttributes(out: XdrWriter, { handle, attributes, guard }: SetAttributesArguments): void {
  out.opaque(handle);
  putNewAttributes(out, attributes);
  out.bool(guard !== null);
  if (guard !== null) putTime(out, guard);
}

export interface ReadArguments {
  readonly handle: Uint8Array;
  readonly offsetBytes: number;
  readonly countBytes: number;
}

/** READ and COMMIT. */
export function getRange(input: XdrReader): ReadArguments {
  return { handle: getHandle(input), offsetBytes: input.u64(), countBytes: input.u32() };
}

export function putRange(out: XdrWriter, { handle, offsetBytes, countBytes }: ReadArguments): void {
  out.opaque(handle).u64(offsetBytes).u32(countBytes);
}

export interface WriteArguments extends ReadArguments {
  readonly stable: number;
  /** Bytes of data that follow in the message. */
  readonly dataBytes: number;
}

/** The arguments in front of the data; the reader then stands on it. */
export function getWrite(input: XdrReader, maxBytes: number): WriteArguments {
  const range = getRange(input);
  const stable = input.enum(Stable.FILE_SYNC, 'how stable a write is');
  const dataBytes = input.length(maxBytes, 'the data of a write');
  if (dataBytes !== range.countBytes) input.fail(`a write of ${range.countBytes} bytes has ${dataBytes}`);
  return { ...range, stable, dataBytes };
}

/** All but the data, which follows with its padding. */
export function putWrite(out: XdrWriter, range: ReadArguments, stable: number): void {
  putRange(out, range);
  out.u32(stable).u32(range.countBytes);
}

export interface CreateArguments extends DirectoryArguments {
  readonly mode: number;
  /** Null for an exclusive creation. */
  readonly attributes: NewAttributes | null;
  /** Of an exclusive creation; else null. */
  readonly verifier: Uint8Array | null;
}

export function getCreate(input: XdrReader): CreateArguments {
  const where = getDirectoryArguments(input);
  const mode = input.enum(CreateMode.EXCLUSIVE, 'how a file is created');
  const isExclusive = mode === CreateMode.EXCLUSIVE;
  return {
    ...where,
    mode,
    attributes: isExclusive ? null : getNewAttributes(input),
    verifier: isExclusive ? input.fixed(VERIFIER_BYTES) : null,
  };
}

export function putCreate(out: XdrWriter, { mode, attributes, verifier, ...where }: CreateArguments): void {
  putDirectoryArguments(out, where);
  out.u32(mode);
  if (attributes !== null) putNewAttributes(out, attributes);
  if (verifier !== null) out.fixed(verifier);
}

export interface MakeDirectoryArguments extends DirectoryArguments {
  readonly attributes: NewAttributes;
}

export function getMakeDirectory(input: XdrReader): MakeDirectoryArguments {
  return { ...getDirectoryArguments(input), attributes: getNewAttributes(input) };
}

export function putMakeDirectory(out: XdrWriter, { attributes, ...where }: MakeDirectoryArguments): void {
  putDirectoryArguments(out, where);
  putNewAttributes(out, attributes);
}

export interface MakeSymlinkArguments extends MakeDirectoryArguments {
  readonly target: Uint8Array;
}

export function getMakeSymlink(input: XdrReader): MakeSymlinkArguments {
  return { ...getMakeDirectory(input), target: input.opaque(PATH_BYTES_MAX, 'the target of a symbolic link') };
}

export function putMakeSymlink(out: XdrWriter, { target, ...made }: MakeSymlinkArguments): void {
  putMakeDirectory(out, made);
  out.opaque(target);
}

export interface MakeNodeArguments extends DirectoryArguments {
  /** `ftype3`; for types that cannot be made this way the rest is null. */
  readonly type: number;
  readonly attributes: NewAttributes | null;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}

export function getMakeNode(input: XdrReader): MakeNodeArguments {
  const where = getDirectoryArguments(input);
  const type = input.enum(NfsType.FIFO, 'the type of a file');
  const isDevice = type === NfsType.BLOCK || type === NfsType.CHARACTER;
  const hasAttributes = isDevice || type === NfsType.SOCKET || type === NfsType.FIFO;
  const attributes = hasAttributes ? getNewAttributes(input) : null;
  return { ...where, type, attributes, rdevMajor: isDevice ? input.u32() : 0, rdevMinor: isDevice ? input.u32() : 0 };
}

export function putMakeNode(out: XdrWriter, { type, attributes, rdevMajor, rdevMinor, ...where }: MakeNodeArguments): void {
  putDirectoryArguments(out, where);
  out.u32(type);
  if (attributes !== null) putNewAttributes(out, attributes);
  if (type === NfsType.BLOCK || type === NfsType.CHARACTER) out.u32(rdevMajor).u32(rdevMinor);
}

export interface RenameArguments {
  readonly from: DirectoryArguments;
  readonly to: DirectoryArguments;
}

export function getRename(input: XdrReader): RenameArguments {
  return { from: getDirectoryArguments(input), to: getDirectoryArguments(input) };
}

export function putRename(out: XdrWriter, { from, to }: RenameArguments): void {
  putDirectoryArguments(out, from);
  putDirectoryArguments(out, to);
}

export interface LinkArguments {
  readonly handle: Uint8Array;
  readonly to: DirectoryArguments;
}

export function getLink(input: XdrReader): LinkArguments {
  return { handle: getHandle(input), to: getDirectoryArguments(input) };
}

export function putLink(out: XdrWriter, { handle, to }: LinkArguments): void {
  out.opaque(handle);
  putDirectoryArguments(out, to);
}

export interface ReadDirectoryArguments {
  readonly handle: Uint8Array;
  /** Eight bytes: a server's cookies may be anything. */
  readonly cookie: Uint8Array;
  readonly verifier: Uint8Array;
  /** Bytes of names, numbers and cookies at most; READDIR has no such bound of its own. */
  readonly namesBytesMax: number;
  /** Bytes of the result at most. */
  readonly resultBytesMax: number;
}

export function getReadDirectory(input: XdrReader, isPlus: boolean): ReadDirectoryArguments {
  const head = { handle: getHandle(input), cookie: input.fixed(8), verifier: input.fixed(VERIFIER_BYTES) };
  const namesBytesMax = input.u32();
  return { ...head, namesBytesMax, resultBytesMax: isPlus ? input.u32() : namesBytesMax };
}

export function putReadDirectory(out: XdrWriter, args: ReadDirectoryArguments, isPlus: boolean): void {
  out.opaque(args.handle).fixed(args.cookie).fixed(args.verifier);
  if (isPlus) out.u32(args.namesBytesMax);
  out.u32(args.resultBytesMax);
}
